// What every kernel is given. `Args` in src/cuda/args.rs is the same struct; a test compares
// its size with the one that the compiled kernels declare.
#pragma once

#include "intrinsics.cuh"

// Element types as numbers: `ElementType`'s order, "there is none", and `QuantizedType`'s.
constexpr u32 F32 = 0, F16 = 1, BF16 = 2, ABSENT = 3, I8 = 4, E4M3 = 5;

// Where the scale of an output of 8 bits comes from: a number in the arguments, one in memory, one
// a row in memory; or it is computed for each row, and written.
constexpr u32 SCALE_NUMBER = 0, SCALE_READ = 1, SCALE_READ_PER_ROW = 2, SCALE_COMPUTED = 3;

// How exact an element-wise function is: to the last digits of f32; far beyond those of a result
// of 16 bits; or as DyT's tanh by one instruction.
constexpr u32 PRECISION_FULL = 0, PRECISION_SHORT = 1, PRECISION_FAST = 2;

// What is done with the statistics of rows, four f32 a row: nothing; they are read instead of being
// found; or they are all that is found, and written.
constexpr u32 STATISTICS_NONE = 0, STATISTICS_GIVEN = 1, STATISTICS_WANTED = 2;

// A tensor besides x and y. Row `token * heads + head` begins `token * token_stride + head * stride`
// elements behind the first.
struct Tensor {
    u64 address, stride, token_stride;
    u32 type;     // ABSENT if there is none
    u32 reserved; // to a multiple of 8 bytes
};

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
    u32 spread;              // element-wise functions: a thread's accesses are 2^spread blocks apart
    // What fused kernels look at besides. With a residual x is its old value, the caller's x is the
    // addend, and the function is taken of their sum, rounded.
    u32 heads;               // rows of a token
    u32 head_magic;          // as column_magic and column_shift, to divide by heads
    u32 head_shift;
    u32 scale, statistics;   // see SCALE_ and STATISTICS_
    float factor;            // 1 / scale, for SCALE_NUMBER
    u32 precision;           // element-wise functions, see PRECISION_
    u64 x_token_stride, y_token_stride;
    u64 scales, statistics_address;
    Tensor addend, sum, gate; // x + addend goes to sum; the result is multiplied by silu(gate)
};
