// Kernels of somebody else's, who has dynorm's installed header and names of his own for much the
// same things. check.py compiles it.
using u32 = float;
struct Args;
struct DyT;

#include <dynorm/functions.cuh>
#include <dynorm/functions.cuh>

// What the others are counted above.
extern "C" __global__ void copy(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; }

// Functions that the host has made.
#define KERNEL(name, Function)                                                                     \
    extern "C" __global__ void name(const float* x, float* y, const Function f) {                  \
        y[threadIdx.x] = f(x[threadIdx.x]);                                                        \
    }
KERNEL(dyt, dynorm::DyT)
KERNEL(dyt_short, dynorm::DyTShort)
KERNEL(dyt_fast, dynorm::DyTFast)
KERNEL(dyisru, dynorm::DyIsru)
KERNEL(dyisru_short, dynorm::DyIsruShort)
KERNEL(derf, dynorm::Derf)
KERNEL(derf_short, dynorm::DerfShort)

extern "C" __global__ void silu(const float* x, float* y) {
    y[threadIdx.x] = dynorm::silu(x[threadIdx.x]);
}

extern "C" __global__ void silu_short(const float* x, float* y) {
    y[threadIdx.x] = dynorm::silu_short(x[threadIdx.x]);
}

// Functions that a thread makes, in an epilogue with a sum, which compilers like to fuse.
extern "C" __global__ void epilogue(const float* x, const float* bias, float* y, float a, float b) {
    const dynorm::DyT dyt(a);
    const dynorm::DyTFast dyt_fast(a);
    const dynorm::DyIsru dyisru(a, b);
    const dynorm::Derf derf(a, b);
    const float value = x[threadIdx.x] + bias[threadIdx.x];
    y[threadIdx.x] = dyt(value) + dyt_fast(value) + dyisru(value) * derf(value) + dynorm::silu(value);
}
