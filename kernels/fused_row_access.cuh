// How a thread reads its part of a row, adds the residual, and has the results written: rows kept in
// registers, and rows read again for each pass. row_access.cuh with what may be fused.
#pragma once

#include "fused.cuh"
#include "row_access.cuh"

// What the walks over a row share: pieces of PIECE elements, of which the thread's vectors are made.
template <class X, bool WHOLE> struct FusedPart : Part<X> {
    static constexpr u32 PIECE = WHOLE ? X::in_16_bytes : 4;
    const Args& args;
    const RowIndex& at;
    u32 first; // channel that the segment begins with

    MEMBER FusedPart(const Args& args, const Place& place, const RowIndex& at, u32 first,
                     u32 channels)
        : Part<X>(args, place, first, channels), args(args), at(at), first(first) {
        this->x = args.x + (row_start(args.x_stride, args.x_token_stride, at) + first) * X::size;
    }

    // How many of the piece at channel c of the segment are there.
    MEMBER u32 count(u32 c) const { return c < this->end ? min_of(this->end - c, PIECE) : 0; }
    MEMBER static u32 min_of(u32 a, u32 b) { return a < b ? a : b; }

    // Function, affine and what follows, of the piece at channel c of the segment. USUAL where operands
    // are of the type of x.
    template <bool USUAL = false, class Function>
    MEMBER void finish(const Function& function, const SomeOfX<X, WHOLE, PIECE>& x, u32 c,
                       Output& output) const {
        const u64 channel = first + c;
        float value[PIECE];
#pragma unroll
        for (u32 i = 0; i < PIECE; ++i) value[i] = function(x[i]);
        if constexpr (USUAL) {
            RawOperands<X> operands;
            operands.load_weight(args, channel, true);
            operands.load_bias(args, channel, true);
            operands.apply(value, args);
        } else {
            affine(value, channel, count(c));
        }
        output.put<WHOLE>(value, channel, count(c));
    }

    MEMBER void affine(float (&value)[PIECE], u64 channel, u32 count) const {
        if constexpr (WHOLE) {
            OperandsInMemory<PIECE>{channel}.apply(value, args);
        } else {
            Some<false, PIECE> weight, bias;
            const u32 w = args.weight_type, b = args.bias_type;
            weight.load(args.weight + channel * size_of(w), w, count);
            bias.load(args.bias + channel * size_of(b), b, count);
            weight.widen(w, 1.0f);
            bias.widen(b, -0.0f);
            const float offset = w == ABSENT ? -0.0f : args.weight_offset;
#pragma unroll
            for (u32 i = 0; i < PIECE; ++i) {
                value[i] = multiply_add(value[i], weight[i] + offset, bias[i]);
            }
        }
    }
};

// A row of one segment, V vectors a thread, in registers. USUAL where types are constants.
template <class X, u32 V, bool USUAL> struct FusedKeptRow : FusedPart<X, true> {
    using FusedPart<X, true>::PIECE, FusedPart<X, true>::args, FusedPart<X, true>::at;
    static constexpr bool KEPT = true;
    SomeOfX<X, true, PIECE> row[V];
    // Of the type of x, where types are constants.
    Raw<4> gate[USUAL ? V : 1];

    MEMBER FusedKeptRow(const Args& args, const Place& place, const RowIndex& at, u32 channels)
        : FusedPart<X, true>(args, place, at, 0, channels) {
        // Beside rows of 16 bits there is no room for four vectors of f32.
        constexpr u32 OF_F32 = X::size == 4 ? V : V / 2;
        const u32 type = args.addend.type;
        if (type == ABSENT) load_row(0, V);
        else if (type == F32) load_and_add<Element<F32>, OF_F32>();
        else if (type == BF16) load_and_add<Element<BF16>, V / 2>();
        else load_and_add<Element<F16>, V / 2>();
        // It comes into play once the row is measured.
        if (USUAL && args.gate.type != ABSENT) {
            const u64 z = address_in(args.gate, at, 0);
#pragma unroll
            for (u32 k = 0; k < V; ++k) {
                const u32 c = channel_of(k);
                load_bytes_if<16>(c < this->end, gate[k].word, z + u64(c) * X::size);
            }
        }
    }

    MEMBER void load_row(u32 from, u32 count) {
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            const u32 c = channel_of(k);
            if (k < from || k >= from + count) continue;
            row[k].load(this->x + u64(c) * X::size, this->count(c));
        }
    }

    // AT_ONCE vectors and their addends of type A are in flight together.
    template <class A, u32 AT_ONCE> MEMBER void load_and_add() {
        const u64 addend = address_in(args.addend, at, 0), sum = address_in(args.sum, at, 0);
#pragma unroll
        for (u32 k = 0; k < V; k += AT_ONCE) {
            SomeOfX<A, true, PIECE> more[AT_ONCE];
            load_row(k, AT_ONCE);
#pragma unroll
            for (u32 j = 0; j < AT_ONCE; ++j) {
                const u32 c = channel_of(k + j);
                more[j].load(addend + u64(c) * A::size, this->count(c));
            }
#pragma unroll
            for (u32 j = 0; j < AT_ONCE; ++j) {
                const u32 c = channel_of(k + j);
                row[k + j].add(more[j], sum + u64(c) * X::size, this->count(c));
            }
        }
    }

    MEMBER u32 channel_of(u32 k) const { return this->channel + k * this->step; }

    template <class Visit> MEMBER void each(const Visit& visit) {
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            if (channel_of(k) >= this->end) break;
#pragma unroll
            for (u32 i = 0; i < PIECE; ++i) visit(i, row[k][i]);
            row[k].forget_all();
        }
    }

    template <class Function> MEMBER void write(const Function& function, Output& output) {
        if constexpr (USUAL) write_unrolled(function, output);
        else write_in_turns(function, output);
    }
    template <class Function> MEMBER void write_unrolled(const Function& function, Output& output) {
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            const u32 c = channel_of(k);
            if (c >= this->end) break;
            if (args.gate.type != ABSENT) output.gate = {true, gate[k]};
            this->template finish<true>(function, row[k], c, output);
            row[k].forget_all();
        }
    }
    // Registers have no index, so a loop over them must move them; after all turns they are back
    // where they were.
    template <class Function> MEMBER void write_in_turns(const Function& function, Output& output) {
#pragma unroll 1
        for (u32 k = 0; k < V; ++k) {
            const u32 c = channel_of(k);
            if (c < this->end) this->finish(function, row[0], c, output);
            const SomeOfX<X, true, PIECE> first = row[0];
#pragma unroll
            for (u32 to = 0; to + 1 < V; ++to) row[to] = row[to + 1];
            row[V - 1] = first;
        }
    }
};

// A segment of a row, read for each pass; the residual is added in the first.
template <class X, bool WHOLE> struct FusedReadRow : FusedPart<X, WHOLE> {
    using FusedPart<X, WHOLE>::PIECE, FusedPart<X, WHOLE>::args, FusedPart<X, WHOLE>::at;
    static constexpr bool KEPT = false;
    static constexpr u32 PIECES = X::in_16_bytes / PIECE; // of a vector
    bool adds;

    MEMBER FusedReadRow(const Args& args, const Place& place, const RowIndex& at, u32 first,
                        u32 channels, bool first_pass)
        : FusedPart<X, WHOLE>(args, place, at, first, channels),
          adds(first_pass && args.addend.type != ABSENT) {
        if (!adds) read_sum();
    }

    MEMBER void read_sum() {
        if (args.addend.type != ABSENT) this->x = address_in(args.sum, at, this->first);
    }

    // Calls `use(piece, channel in the segment)` for the pieces of the vectors in order; adds the residual to them,
    // if it has not been.
    template <class Use> MEMBER void walk(const Use& use) {
#pragma unroll 1
        for (u32 k = 0; k < args.vectors * PIECES; ++k) {
            const u32 c = this->channel + k / PIECES * this->step + k % PIECES * PIECE;
            const u32 count = this->count(c);
            if (count == 0) continue;
            SomeOfX<X, WHOLE, PIECE> some;
            some.load(this->x + u64(c) * X::size, count);
            if (adds) {
                Addend<WHOLE, PIECE> addend;
                addend.load(args, at, this->first + c, count);
                addend.add_to(some, args, at, this->first + c, count);
            }
            use(some, c);
        }
        adds = false;
        read_sum();
    }

    template <class Visit> MEMBER void each(const Visit& visit) {
        walk([&](const SomeOfX<X, WHOLE, PIECE>& some, u32 c) {
#pragma unroll
            for (u32 i = 0; i < PIECE; ++i) {
                if (WHOLE || i < this->count(c)) visit(i, some[i]);
            }
        });
    }

    template <class Function> MEMBER void write(const Function& function, Output& output) {
        walk([&](const SomeOfX<X, WHOLE, PIECE>& some, u32 c) {
            this->finish(function, some, c, output);
        });
    }
};
