// The operations that the functions are made of, by name. All that is special to the device is
// here; dynorm's own tests have a twin, with which the same functions are compiled for the host.
#pragma once

#ifdef DYNORM_HOST
#include "arithmetic.h"
#else

#define DYNORM_DEVICE __device__ __forceinline__
#define DYNORM_ANYWHERE __host__ __device__ __forceinline__

namespace dynorm {

DYNORM_DEVICE float absolute(float a) { return fabsf(a); }
DYNORM_DEVICE float with_sign_of(float a, float b) { return copysignf(a, b); }
DYNORM_DEVICE float multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }

// Relative error 2^-23; subnormal results are 0. (Without ftz it is three times the instructions.)
DYNORM_DEVICE float reciprocal_fast(float a) {
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(a));
    return r;
}
// Relative error 2^-22.9; a must be normal.
DYNORM_DEVICE float rsqrt_fast(float a) {
    float r;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(a));
    return r;
}
// 2 ulp; subnormal results are 0.
DYNORM_DEVICE float exp2_fast(float a) {
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(a));
    return r;
}
// Relative error 2^-11.
DYNORM_DEVICE float tanh_fast(float a) {
    float r;
    asm("tanh.approx.f32 %0, %1;" : "=f"(r) : "f"(a));
    return r;
}
// Unlike fminf and fmaxf, these give NaN for NaN.
DYNORM_DEVICE float min_nan(float a, float b) {
    float r;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}
DYNORM_DEVICE float max_nan(float a, float b) {
    float r;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}

} // namespace dynorm
#endif
