// How a thread reads its part of a row, and writes the result: rows kept in registers, rows read
// twice, and rows of any alignment.
#pragma once

#include "group.cuh"
#include "pipeline.cuh"

// Where the calling thread works.
struct Place {
    u64 row;
    u32 lane;  // among the threads of the row or segment
    bool live; // false in threads for rows past the last one, which only help with the sums
};

DEVICE Place place_in_rows(const Args& args) {
    const u64 block = block_index();
    if (args.threads > LANES) return {block, thread_index(), true};
    // A power of two: several rows a block, each within a warp.
    const u32 shift = args.row_shift;
    const u64 row = block * (block_threads() >> shift) + (thread_index() >> shift);
    return {row, thread_index() & (args.threads - 1), row < args.rows};
}

// The thread's channels of a segment.
template <class X> struct Part {
    static constexpr u32 N = X::in_16_bytes;
    u64 x;       // address of the segment
    u32 channel; // of the thread's first vector, from there
    u32 step;    // from one of its vectors to the next
    u32 end;     // channels of the segment; 0 where there is no row

    MEMBER Part(const Args& args, const Place& place, u32 first, u32 channels)
        : x(args.x + (place.row * args.x_stride + first) * X::size), channel(place.lane * N),
          step(args.threads * N), end(place.live ? channels : 0) {}
};

// Asks for a row's weight and bias, in the blocks that begin when nobody has had them in the cache:
// in the others it would cost more than it gains. No kernel that may still run writes them, as
// callers promise.
template <class X>
DEVICE void prefetch_operands(const Args& args, const Part<X>& part, u32 first, bool weight,
                              bool bias) {
    if (!weight && !bias) return;
    constexpr u32 FIRST_BLOCKS = 256;
    if (block_index() >= FIRST_BLOCKS) return;
#pragma unroll 1
    for (u32 c = part.channel; c < part.end; c += part.step) {
        if (weight) prefetch_operand(args.weight, args.weight_type, first + c);
        if (bias) prefetch_operand(args.bias, args.bias_type, first + c);
    }
}

// Weight and bias of a vector of the type of x, which they have too, as they lie in memory.
template <class X> struct RawOperands {
    Raw<4> weight, bias;

    MEMBER void load_weight(const Args& args, u64 channel, bool when) {
        const bool there = when && args.weight_type != ABSENT;
        load_bytes_if<16>(there, weight.word, args.weight + channel * X::size);
    }
    MEMBER void load_bias(const Args& args, u64 channel, bool when) {
        const bool there = when && args.bias_type != ABSENT;
        load_bytes_if<16>(there, bias.word, args.bias + channel * X::size);
    }
    MEMBER void apply(float* value, const Args& args) const {
        Operands<X::in_16_bytes> operands;
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            operands.weight[i] = weight.word[i];
            operands.bias[i] = bias.word[i];
        }
        operands.widen(args);
        operands.apply(value, args);
    }
};

// Which operands are loaded before the row is: as many as have room in registers beside it.
enum class Early { NOTHING, WEIGHT, BOTH };

// V vectors of a thread, from channel `from` of its segment on.
template <class X, u32 V> struct Vectors {
    static constexpr u32 N = X::in_16_bytes;
    static constexpr u32 TURN = 2; // vectors that are written at once
    RawOf<X, N> raw[V];

    MEMBER void load(const Part<X>& part, u32 from) {
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            const u32 c = from + k * part.step;
            load_bytes_if<16>(c < part.end, raw[k].word, part.x + u64(c) * X::size);
        }
    }

    // Calls `visit(i, x)` for the elements in order, i being the number in the vector.
    template <class Visit> MEMBER void each(const Part<X>& part, u32 from, const Visit& visit) {
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            if (from + k * part.step >= part.end) break;
#pragma unroll
            for (u32 i = 0; i < N; ++i) visit(i, widen<X>(raw[k].word, i));
            for (u32& word : raw[k].word) forget(word);
        }
    }

    // Function, affine and store, where types are constants; weights, and biases, have been loaded if
    // they are EARLY.
    template <Early EARLY, class Function, class Loaded>
    MEMBER void write_usual(const Part<X>& part, const Function& function, const Loaded& early,
                            const Args& args, u32 first, u64 y) {
        // More would be unrolled so that registers do not suffice.
        constexpr u32 UNROLLED = V < 4 ? V : 4;
        u32 c = part.channel;
#pragma unroll 1
        for (u32 done = 0; done < V; done += UNROLLED) {
#pragma unroll
            for (u32 k = 0; k < UNROLLED; ++k, c += part.step) {
                if (c >= part.end) return;
                RawOperands<X> operands;
                if constexpr (EARLY == Early::NOTHING) operands.load_weight(args, first + c, true);
                else operands = early[k];
                if constexpr (EARLY != Early::BOTH) operands.load_bias(args, first + c, true);
                finish<X, N>(function, raw[k].word, operands, args, y + u64(c) * X::size);
            }
#pragma unroll
            for (u32 k = UNROLLED; k < V; ++k) raw[k - UNROLLED] = raw[k];
        }
    }

    // Uses the vectors up. Registers have no index, so a loop over them must move them. Unrolled,
    // it would be several times the code and not fit in registers.
    template <class Function>
    MEMBER void write(const Part<X>& part, u32 from, const Function& function, const Args& args,
                      u32 first, u64 y) {
#pragma unroll 1
        for (u32 turn = 0; turn < V; turn += TURN) {
            if (from + turn * part.step >= part.end) break;
#pragma unroll
            for (u32 k = 0; k < TURN && k < V; ++k) {
                const u32 c = from + (turn + k) * part.step;
                if (c >= part.end) break;
                const OperandsInMemory<N> operands{first + c};
                finish<X, N>(function, raw[k].word, operands, args, y + u64(c) * size_of(args.y_type));
            }
#pragma unroll
            for (u32 k = TURN; k < V; ++k) raw[k - TURN] = raw[k];
        }
    }
};

// All vectors of a thread, in registers. USUAL where operands and output have the type of x.
template <class X, u32 V, bool USUAL, Early EARLY> struct KeptRow : Part<X> {
    using Part<X>::channel, Part<X>::step, Part<X>::end;
    static constexpr bool KEPT = true;
    Vectors<X, V> row;
    RawOperands<X> early[EARLY == Early::NOTHING ? 1 : V];

    MEMBER KeptRow(const Args& args, const Place& place, u32 first, u32 channels)
        : Part<X>(args, place, first, channels) {
        // Nothing that a previous kernel wrote but x: operands need not wait for it.
#pragma unroll
        for (u32 k = 0; EARLY != Early::NOTHING && k < V; ++k) {
            const u32 c = channel + k * step;
            early[k].load_weight(args, first + c, c < end);
            if (EARLY == Early::BOTH) early[k].load_bias(args, first + c, c < end);
        }
        prefetch_operands(args, *this, first, EARLY == Early::NOTHING, EARLY != Early::BOTH);
        wait_for_previous_grid();
        row.load(*this, channel);
    }

    template <class Visit> MEMBER void each(const Visit& visit) { row.each(*this, channel, visit); }

    // Uses the row up.
    template <class Function>
    MEMBER void write(const Function& function, const Args& args, u32 first, u64 y) {
        if constexpr (USUAL) row.template write_usual<EARLY>(*this, function, early, args, first, y);
        else row.write(*this, channel, function, args, first, y);
    }
};

// Vectors of one thread in memory, loaded each time they are needed, AT_ONCE at a time.
template <class X> struct ReadRow : Part<X> {
    using Part<X>::N, Part<X>::channel, Part<X>::step;
    static constexpr bool KEPT = false;
    static constexpr u32 AT_ONCE = 4;
    u32 vectors;

    MEMBER ReadRow(const Args& args, const Place& place, u32 first, u32 channels)
        : Part<X>(args, place, first, channels), vectors(args.vectors) {}

    template <class Visit> MEMBER void each(const Visit& visit) const {
#pragma unroll 1
        for (u32 k = 0; k < vectors; k += AT_ONCE) {
            Vectors<X, AT_ONCE> some;
            some.load(*this, channel + k * step);
            some.each(*this, channel + k * step, visit);
        }
    }

    template <class Function>
    MEMBER void write(const Function& function, const Args& args, u32 first, u64 y) const {
#pragma unroll 1
        for (u32 k = 0; k < vectors; k += AT_ONCE) {
            Vectors<X, AT_ONCE> some;
            some.load(*this, channel + k * step);
            some.write(*this, channel + k * step, function, args, first, y);
        }
    }
};

// The same at any alignment: measured in the same vectors, each put together from the two aligned
// ones that it lies across; written one element a thread, side by side.
template <class X> struct ReadElements : Part<X> {
    using Part<X>::N, Part<X>::channel, Part<X>::step, Part<X>::end, Part<X>::x;
    static constexpr bool KEPT = false;
    static constexpr u32 AT_ONCE = 2;  // vectors that are measured
    static constexpr u32 ELEMENTS = 8; // that are read to be written, TURN at once
    static constexpr u32 TURN = 2;
    u32 vectors;
    u32 skew; // elements from an aligned address to the row's

    MEMBER ReadElements(const Args& args, const Place& place, u32 first, u32 channels)
        : Part<X>(args, place, first, channels), vectors(args.vectors), skew(u32(x) % 16 / X::size) {}

    template <class Visit> MEMBER void each(const Visit& visit) const {
#pragma unroll 1
        for (u32 k = 0; k < vectors; k += AT_ONCE) {
            const u32 from = channel + k * step;
            Raw<8> two[AT_ONCE];
#pragma unroll
            for (u32 j = 0; j < AT_ONCE; ++j) load_two(from + j * step, two[j].word);
#pragma unroll
            for (u32 j = 0; j < AT_ONCE; ++j) {
                const u32 c = from + j * step;
                if (c >= end || k + j >= vectors) break;
                if (!is_inside(c)) load_elements(c, two[j].word);
                else pick<X>(two[j].word, skew);
#pragma unroll
                for (u32 i = 0; i < N; ++i) {
                    if (c + i < end) visit(i, widen<X>(two[j].word, i));
                }
            }
        }
    }

    // Whether the aligned vectors that the one at channel c lies across are all of the row's.
    MEMBER bool is_inside(u32 c) const {
        return c >= skew && c + (skew > 0 ? 2 * N : N) <= end + skew;
    }

    MEMBER void load_two(u32 c, u32* word) const {
        const u64 address = x + u64(c) * X::size - skew * X::size;
        load_bytes_if<16>(is_inside(c), word, address);
        load_bytes_if<16>(is_inside(c) && skew > 0, word + 4, address + 16);
    }

    MEMBER void load_elements(u32 c, u32* word) const {
        Raw<1> element[N];
#pragma unroll
        for (u32 i = 0; i < N; ++i) {
            load_bytes_if<X::size>(c + i < end, element[i].word, x + u64(c + i) * X::size);
        }
#pragma unroll
        for (u32 i = 0; i < N; ++i) {
            const u32 bits = element[i].word[0];
            if (X::size == 4) word[i] = bits;
            else word[i / 2] = i % 2 ? word[i / 2] | bits << 16 : bits;
        }
    }

    template <class Function>
    MEMBER void write(const Function& function, const Args& args, u32 first, u64 y) const {
        const u32 threads = step / N, y_size = size_of(args.y_type);
#pragma unroll 1
        for (u32 from = channel / N; from < end; from += ELEMENTS * threads) {
            Raw<1> raw[ELEMENTS];
#pragma unroll
            for (u32 i = 0; i < ELEMENTS; ++i) {
                const u32 c = from + i * threads;
                load_bytes_if<X::size>(c < end, raw[i].word, x + u64(c) * X::size);
            }
#pragma unroll 1
            for (u32 turn = 0; turn < ELEMENTS; turn += TURN) {
#pragma unroll
                for (u32 i = 0; i < TURN; ++i) {
                    const u32 c = from + (turn + i) * threads;
                    if (c >= end) break;
                    const OperandsInMemory<1> operands{first + c};
                    finish<X, 1>(function, raw[i].word, operands, args, y + u64(c) * y_size);
                }
#pragma unroll
                for (u32 i = TURN; i < ELEMENTS; ++i) raw[i - TURN] = raw[i];
            }
        }
    }
};
