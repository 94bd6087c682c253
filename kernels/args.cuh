// What every kernel is given. `Args` in src/cuda/args.rs is the same struct; a test compares
// its size with the one that the compiled kernels declare.
#pragma once

#include "intrinsics.cuh"

// Element types as numbers: `ElementType`'s order, then "there is none".
constexpr u32 F32 = 0, F16 = 1, BF16 = 2, ABSENT = 3;

struct Args {
    u64 x, y, weight, bias;  // device addresses
    u64 x_stride, y_stride;  // elements from one row to the next
    u64 rows;
    u64 channels;            // of a row; of everything where there is no row structure
    float weight_offset;     // -0 for none: adding it changes no weight
    float parameter[3];      // the function's own, see each function
    u32 y_type, weight_type, bias_type;
    u32 threads;             // of a block, for one row (row functions: for one of its segments)
    u32 row_shift;           // of a thread's index, to the number of its row in the block
    u32 vectors;             // row functions: of a thread in one segment
    u32 segments;            // row functions: parts of a row that are measured separately
    u32 rows_a_block;        // element-wise functions: that are side by side
    u32 column_blocks;       // element-wise functions: blocks side by side over a row; 0: no rows
    u32 column_magic;        // n / column_blocks is n * column_magic >> column_shift
    u32 column_shift;
    u32 reserved;            // to a multiple of 8 bytes
};
