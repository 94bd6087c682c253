// y = W (weight * f(x)) with f applied to x when it is loaded, in the product's own kernel: bf16 in,
// f32 sums, f32 out. W is row-major; columns are a multiple of 8, addresses of 16 bytes.
//
// A block has ROWS rows of W. Its threads share the columns, 8 at a time, so that within a block f is
// computed once for each x, and what it costs is shared by ROWS rows.
#include <dynorm/functions.cuh>

constexpr unsigned THREADS = 128, WARPS = THREADS / 32;
constexpr unsigned ROWS = 8;

// 8 bf16 as floats: each is half of a word, and the upper half of a float.
struct Eight {
    float value[8];

    __device__ explicit Eight(const uint4& raw) {
        const unsigned word[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
        for (unsigned i = 0; i < 4; ++i) {
            value[2 * i] = __uint_as_float(word[i] << 16);
            value[2 * i + 1] = __uint_as_float(word[i] & 0xffff0000u);
        }
    }
};

// What a product takes its input from. SQUARES: whether the block is to sum the squares that the
// threads have seen, for `factor`, by which the product is multiplied at its end.

// x as it is: it has been normed before.
struct AsItIs {
    static constexpr bool SQUARES = false;
    const uint4* x;

    __device__ Eight operator()(unsigned i) const { return Eight(__ldg(x + i)); }
};

// weight * f(x). It has nothing to wait for.
template <class F> struct OnLoad {
    static constexpr bool SQUARES = false;
    const uint4 *x, *weight;
    F function;

    __device__ Eight operator()(unsigned i) const {
        Eight some(__ldg(x + i));
        const Eight weights(__ldg(weight + i));
#pragma unroll
        for (unsigned j = 0; j < 8; ++j) some.value[j] = function(some.value[j]) * weights.value[j];
        return some;
    }
};

// weight * rms_norm(x). Every block sees all of x, so it sums the squares beside the product; and
// what they are needed for, one factor for all of x, can wait until the product is done.
struct RmsNorm {
    static constexpr bool SQUARES = true;
    const uint4 *x, *weight;
    float inverse_columns, eps, squares;

    __device__ Eight operator()(unsigned i) {
        Eight some(__ldg(x + i));
        const Eight weights(__ldg(weight + i));
#pragma unroll
        for (unsigned j = 0; j < 8; ++j) {
            squares = fmaf(some.value[j], some.value[j], squares);
            some.value[j] *= weights.value[j];
        }
        return some;
    }
    __device__ float factor(float sum) const { return rsqrtf(fmaf(sum, inverse_columns, eps)); }
};

// The sum of a warp's values, in every lane.
__device__ inline float warp_sum(float value) {
#pragma unroll
    for (unsigned mask = 16; mask > 0; mask /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, mask);
    }
    return value;
}

template <class Input>
__device__ void product(Input input, const uint4* w, float* y, unsigned rows, unsigned columns) {
    const unsigned vectors = columns / 8, first = blockIdx.x * ROWS;
    float sum[ROWS + 1] = {};
#pragma unroll 1
    for (unsigned i = threadIdx.x; i < vectors; i += THREADS) {
        // All loads of W at once, and before the function, which has its time while they come.
        uint4 part[ROWS];
#pragma unroll
        for (unsigned r = 0; r < ROWS; ++r) {
            // Past the last row it again: what it gives is not stored.
            const unsigned row = first + r < rows ? first + r : rows - 1;
            part[r] = __ldg(w + (unsigned long long)row * vectors + i);
        }
        const Eight x = input(i);
#pragma unroll
        for (unsigned r = 0; r < ROWS; ++r) {
            const Eight values(part[r]);
#pragma unroll
            for (unsigned j = 0; j < 8; ++j) sum[r] = fmaf(values.value[j], x.value[j], sum[r]);
        }
    }
    if constexpr (Input::SQUARES) sum[ROWS] = input.squares;

    __shared__ float partial[WARPS][ROWS + 1];
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (unsigned r = 0; r < ROWS + Input::SQUARES; ++r) {
        const float total = warp_sum(sum[r]);
        if (lane == 0) partial[warp][r] = total;
    }
    __syncthreads();
    const auto total = [](unsigned r) {
        float all = 0.0f;
        for (unsigned i = 0; i < WARPS; ++i) all += partial[i][r];
        return all;
    };
    if (threadIdx.x >= ROWS || first + threadIdx.x >= rows) return;
    float result = total(threadIdx.x);
    if constexpr (Input::SQUARES) result *= input.factor(total(ROWS));
    y[first + threadIdx.x] = result;
}

// 6 blocks on a multiprocessor leave registers for all that is loaded at once.
#define GEMV(name, ...)                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS, 6) name(__VA_ARGS__)

GEMV(gemv, const uint4* w, const uint4* x, float* y, unsigned rows, unsigned columns) {
    product(AsItIs{x}, w, y, rows, columns);
}
GEMV(gemv_rms_norm, const uint4* w, const uint4* x, const uint4* weight, float* y, unsigned rows,
     unsigned columns, float eps) {
    product(RmsNorm{x, weight, 1.0f / float(columns), eps, 0.0f}, w, y, rows, columns);
}
GEMV(gemv_dyt, const uint4* w, const uint4* x, const uint4* weight, float* y, unsigned rows,
     unsigned columns, float alpha) {
    const dynorm::DyT function(alpha);
    product(OnLoad<dynorm::DyT>{x, weight, function}, w, y, rows, columns);
}
GEMV(gemv_dyisru, const uint4* w, const uint4* x, const uint4* weight, float* y, unsigned rows,
     unsigned columns, float beta, float scale) {
    const dynorm::DyIsru function(beta, scale);
    product(OnLoad<dynorm::DyIsru>{x, weight, function}, w, y, rows, columns);
}
GEMV(gemv_derf, const uint4* w, const uint4* x, const uint4* weight, float* y, unsigned rows,
     unsigned columns, float alpha, float shift) {
    const dynorm::Derf function(alpha, shift);
    product(OnLoad<dynorm::Derf>{x, weight, function}, w, y, rows, columns);
}
