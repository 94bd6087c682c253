// What is known of a row, in memory.
#pragma once

#include "intrinsics.cuh"

// Statistics as `RowStatistics` in src/statistics.rs has them: count, mean in two parts, m2.
struct Statistics {
    float count, mean, mean_low, m2;

    MEMBER static Statistics load(u64 address) {
        u32 word[4];
#pragma unroll
        for (u32 i = 0; i < 4; ++i) load_4(word + i, address + 4 * i);
        return {as_float(word[0]), as_float(word[1]), as_float(word[2]), as_float(word[3])};
    }
    MEMBER void store(u64 address) const {
        const u32 word[4] = {as_bits(count), as_bits(mean), as_bits(mean_low), as_bits(m2)};
#pragma unroll
        for (u32 i = 0; i < 4; ++i) store_4(address + 4 * i, word + i);
    }
};
