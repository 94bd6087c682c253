// Sums, and the largest value, over the threads that work on a row together.
#pragma once

#include "args.cuh"

constexpr u32 LANES = 32;
constexpr u32 MAX_WARPS = 16;

// `threads` neighbouring threads: a power of two up to a warp, or whole warps, then all of the
// block. The order of a sum depends on their number alone.
struct Group {
    u32 threads;
    // Consecutive ones use different memory, so that one barrier each is enough: whoever writes
    // to a half again has passed the barrier of the one between, and so has everyone read it.
    u32 half = 0;

    MEMBER explicit Group(u32 threads) : threads(threads) {}

    // Sums of each of N values, given to every thread.
    template <u32 N> MEMBER void sum(float (&value)[N]) {
        all(value, [](float a, float b) { return a + b; });
    }

    // The same for what is not always done: with a barrier more the half that comes next does not depend on it, and
    // needs no register.
    template <u32 N> MEMBER void sum_by_the_way(float (&value)[N]) {
        const u32 next = half;
        sum(value);
        if (!in_warp()) block_barrier();
        half = next;
    }

    // Whether all threads of the row are in one warp.
    MEMBER bool in_warp() const { return threads <= LANES; }

    // Whether it is so for any of the threads whose work the calling one cannot do without: those of the row, which are
    // of one opinion, and of the rows in the same warp.
    MEMBER bool any(bool so) const { return in_warp() ? any_in_warp(so) : so; }

    // The largest of values that are not negative, NaN left out.
    MEMBER float largest(float value) {
        float values[1] = {value};
        all(values, [](float a, float b) { return max_number(a, b); });
        return values[0];
    }

  private:
    // Of each of N values, all threads' put together by `both`, for which 0 changes nothing.
    template <u32 N, class Both> MEMBER void all(float (&value)[N], const Both& both) {
#pragma unroll
        for (u32 i = 0; i < N; ++i) {
            for (u32 mask = (threads < LANES ? threads : LANES) / 2; mask > 0; mask /= 2) {
                value[i] = both(value[i], shuffle_xor(value[i], mask));
            }
        }
        if (in_warp()) return;
        exchange(value);
        // Both halves of a warp do the same: every lane ends with the result.
#pragma unroll
        for (u32 i = 0; i < N; ++i) {
#pragma unroll
            for (u32 mask = MAX_WARPS / 2; mask > 0; mask /= 2) {
                value[i] = both(value[i], shuffle_xor(value[i], mask));
            }
        }
    }

    // Gives lane i of every warp, and lane i + 16, what warp i has, or zeros if there is none; the
    // threads of a warp give the same.
    template <u32 N> MEMBER void exchange(float (&value)[N]) {
        constexpr u32 MOST = 2;
        static_assert(N <= MOST, "so many have room");
        SHARED(float, partial, 2 * MOST * MAX_WARPS);
        float* mine = partial + half * MOST * MAX_WARPS;
        half ^= 1;
        const u32 lane = thread_index() % LANES, warp = thread_index() / LANES;
#pragma unroll
        for (u32 i = 0; i < N; ++i) {
            if (lane == 0) mine[i * MAX_WARPS + warp] = value[i];
        }
        block_barrier();
        const u32 from = lane % MAX_WARPS;
#pragma unroll
        for (u32 i = 0; i < N; ++i) {
            value[i] = from < threads / LANES ? mine[i * MAX_WARPS + from] : 0.0f;
        }
    }
};
