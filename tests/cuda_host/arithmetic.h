// The twin of kernels/dynorm/arithmetic.cuh for the host.
//
// Approximate functions err as much as their documentation allows, upwards or downwards as the
// test asks: results that are right here are right on every device.
#pragma once

#define DYNORM_DEVICE inline
#define DYNORM_ANYWHERE inline

namespace host {
double approximate(double exact, double relative_error);
float flushed(double value); // subnormal numbers are 0
float exp2_of(float a);
double sqrt_of(double a);
double tanh_of(double a);
} // namespace host

namespace dynorm {

DYNORM_DEVICE float absolute(float a) { return __builtin_fabsf(a); }
DYNORM_DEVICE float with_sign_of(float a, float b) { return __builtin_copysignf(a, b); }
DYNORM_DEVICE float multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DYNORM_DEVICE float reciprocal_fast(float a) {
    return host::flushed(host::approximate(1.0 / a, 0x1p-23));
}
DYNORM_DEVICE float rsqrt_fast(float a) {
    return float(host::approximate(1.0 / host::sqrt_of(host::flushed(a)), 0x1.125p-23));
}
DYNORM_DEVICE float exp2_fast(float a) { return host::exp2_of(a); }
DYNORM_DEVICE float tanh_fast(float a) {
    return float(host::approximate(host::tanh_of(a), 0x1p-11));
}
DYNORM_DEVICE float min_nan(float a, float b) { return a != a || b != b ? a + b : a < b ? a : b; }
DYNORM_DEVICE float max_nan(float a, float b) { return a != a || b != b ? a + b : a > b ? a : b; }

} // namespace dynorm
