// As much of CUDA C++ as the kernel of examples/cuda is written in, over the host's own machine.
#pragma once

#include "device.h"

#include <cmath>

#define __global__
#define __device__
#define __launch_bounds__(...)
// One block runs at a time, so what its threads share may be everybody's.
#define __shared__ static

struct uint4 {
    u32 x, y, z, w;
};

struct Index {
    u32 x;
};
#define threadIdx Index{host::thread_index()}
#define blockIdx Index{host::block_index()}

template <class T> T __ldg(const T* from) {
    host::check_access(reinterpret_cast<u64>(from), sizeof(T), false);
    return *from;
}
inline float __uint_as_float(u32 bits) { return as_float(bits); }
inline float __shfl_xor_sync(u32, float value, u32 mask) { return host::shuffle_xor(value, mask); }
inline void __syncthreads() { host::block_barrier(); }
// 2 ulp.
inline float rsqrtf(float a) { return float(host::approximate(1.0 / host::sqrt_of(a), 0x1p-22)); }
