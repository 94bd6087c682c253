// DyT, DyISRU, Derf and silu of one element in a register, for kernels of one's own: to be applied
// to what a kernel loads or is about to store. For devices from compute capability 8.0 on, by nvcc,
// NVRTC or clang in C++17, which need nothing but this folder:
//
//     #include <dynorm/functions.cuh>
//     const dynorm::DyIsru f(beta, scale); // in the kernel, or on the host and handed to it
//     y[i] = weight[i] * f(x[i]);
//
// Everything is in f32. NaN gives NaN, 0 keeps its sign, the infinities give the limits.
#pragma once

#include "arithmetic.cuh"

namespace dynorm {

// tanh z, and 1 / (e^2|z| + 1), of which its derivative is made: 4 root (1 - root).
DYNORM_DEVICE float tanh_and_root(float z, float& root) {
    const float magnitude = absolute(z);
    // Below 1: z + z^3 P(z^2). The form below would lose the digits of small results.
    const float square = z * z;
    float p = -3.5845183e-4f;
    p = multiply_add(p, square, 2.301364e-3f);
    p = multiply_add(p, square, -7.946106e-3f);
    p = multiply_add(p, square, 2.1486657e-2f);
    p = multiply_add(p, square, -5.38798e-2f);
    p = multiply_add(p, square, 0.13332345f);
    p = multiply_add(p, square, -0.33333296f);
    const float small = multiply_add(square * p, z, z);
    // From 1 on: 1 - 2 / (e^2z + 1), which is 1 where e^2z overflows.
    const float power = exp2_fast(magnitude * 2.8853900818f);
    root = reciprocal_fast(power + 1.0f);
    const float large = multiply_add(root, -2.0f, 1.0f);
    // The sign also of -0, which the sum in `small` loses.
    return with_sign_of(magnitude < 1.0f ? small : large, z);
}

// tanh z to 1.5 ulp, if exp2_fast and reciprocal_fast are as bad as they may be.
DYNORM_DEVICE float tanh(float z) {
    float root;
    return tanh_and_root(z, root);
}

// erf z to 1.9 ulp, if exp2_fast is as bad as it may be.
DYNORM_DEVICE float erf(float z) {
    const float magnitude = absolute(z);
    // Below 1: z + z P(z^2).
    const float square = z * z;
    float p = 7.853861e-5f;
    p = multiply_add(p, square, -8.0101937e-4f);
    p = multiply_add(p, square, 5.1883277e-3f);
    p = multiply_add(p, square, -2.6853813e-2f);
    p = multiply_add(p, square, 0.112835854f);
    p = multiply_add(p, square, -0.37612626f);
    p = multiply_add(p, square, 0.12837917f);
    const float small = multiply_add(z, p, z);
    // From 1 on: 1 - erfc z = 1 - 2^Q(z), which is 1 from 3.92 on.
    const float a = min_nan(magnitude, 4.1f);
    float q = 2.6888843e-4f;
    q = multiply_add(q, a, -4.252573e-3f);
    q = multiply_add(q, a, 3.150567e-2f);
    q = multiply_add(q, a, -0.14875162f);
    q = multiply_add(q, a, -0.9206484f);
    q = multiply_add(q, a, -1.626046f);
    q = multiply_add(q, a, -4.927124e-4f);
    const float large = 1.0f - exp2_fast(q);
    return with_sign_of(magnitude < 1.0f ? small : large, z);
}

// tanh z, for results of 16 bits: relative error 2^-17, a few thousandths of f16's last digit.
DYNORM_DEVICE float tanh_short(float z) {
    // Below 1/16 two terms of the series; the form below would lose the digits of small results.
    const float small = z * multiply_add(z * z, -0.33333333f, 1.0f);
    // From there on 1 - 2 / (e^2z + 1), which is 1 where e^2z overflows, -1 where it is 0.
    const float power = exp2_fast(z * 2.8853900818f);
    const float large = multiply_add(reciprocal_fast(power + 1.0f), -2.0f, 1.0f);
    return absolute(z) < 0.0625f ? small : large;
}

// The same, and the root of tanh_and_root.
DYNORM_DEVICE float tanh_short_and_root(float z, float& root) {
    root = reciprocal_fast(exp2_fast(absolute(z) * 2.8853900818f) + 1.0f);
    const float small = z * multiply_add(z * z, -0.33333333f, 1.0f);
    const float large = with_sign_of(multiply_add(root, -2.0f, 1.0f), z);
    return absolute(z) < 0.0625f ? small : large;
}

// erf z, for results of 16 bits: relative error 2^-16.5.
DYNORM_DEVICE float erf_short(float z) {
    const float square = z * z;
    // Below 1/16 two terms of the series.
    const float small = z * multiply_add(square, -0.37612638f, 1.1283792f);
    // From there on tanh of z Q(z^2), as above: Q, here times 2 log2 e, is positive everywhere.
    float q = 1.0230075e-4f;
    q = multiply_add(q, square, -1.28789e-3f);
    q = multiply_add(q, square, -1.1770573e-3f);
    q = multiply_add(q, square, 0.29676797f);
    q = multiply_add(q, square, 3.2558019f);
    const float large = multiply_add(reciprocal_fast(exp2_fast(z * q) + 1.0f), -2.0f, 1.0f);
    return absolute(z) < 0.0625f ? small : large;
}

// z / (1 + e^-z), for results of 16 bits: relative error 2^-16 from -87 on, below that within 1.5e-36.
DYNORM_DEVICE float silu_short(float z) {
    const float a = max_nan(z, -88.0f);
    return a * reciprocal_fast(exp2_fast(a * -1.4426950f) + 1.0f);
}

// z / (1 + e^-z), from -87 on with a relative error of 3.3 * 2^-23 if exp2_fast and reciprocal_fast
// are as bad as they may be; below that within 1.5e-36.
DYNORM_DEVICE float silu(float z) {
    // e^88 is still finite. Below -87.3 the reciprocal, and so the result, is 0; above 88 the sum
    // is 1.
    const float a = max_nan(z, -88.0f), clamped = min_nan(a, 88.0f);
    // -log2 e times it, in two: rounded to one number, e^-z would lose as many digits as z has
    // before the point.
    const float high = clamped * -1.4426950f;
    const float rounding = multiply_add(clamped, -1.4426950f, -high);
    const float low = multiply_add(clamped, -1.9259630e-8f, rounding);
    // 2^high, and the reciprocal of 1 + 2^high. A Newton step for it is also where 2^low, which is
    // 1 + low ln 2, comes in.
    const float power = exp2_fast(high);
    const float estimate = reciprocal_fast(power + 1.0f);
    const float share = power * estimate;
    const float rest = multiply_add(-power, estimate, 1.0f - estimate);
    const float fault = multiply_add(share, low * -0.69314718f, rest);
    return a * multiply_add(estimate, fault, estimate);
}

// tanh(alpha x).
struct DyT {
    float alpha;

    DYNORM_ANYWHERE explicit DyT(float alpha) : alpha(alpha) {}
    DYNORM_DEVICE float operator()(float x) const { return tanh(x * alpha); }
};

// The same for results of 16 bits.
struct DyTShort {
    float alpha;

    DYNORM_ANYWHERE explicit DyTShort(float alpha) : alpha(alpha) {}
    DYNORM_DEVICE float operator()(float x) const { return tanh_short(x * alpha); }
};

// The same by one instruction: relative error 2^-11, a quarter of what rounding to bf16 costs.
struct DyTFast {
    float alpha;

    DYNORM_ANYWHERE explicit DyTFast(float alpha) : alpha(alpha) {}
    DYNORM_DEVICE float operator()(float x) const { return tanh_fast(x * alpha); }
};

// scale * x / sqrt(beta + x^2), beta > 0.
struct DyIsru {
    // x and the root of beta are multiplied by the prescale, a power of two, where beta is far from
    // 1: then neither overflow nor underflow of x^2 reaches the result.
    float prescaled_beta, scale, prescale;

    DYNORM_ANYWHERE DyIsru(float beta, float scale)
        : scale(scale), prescale(beta < 0x1p-60f ? 0x1p40f : beta > 0x1p60f ? 0x1p-30f : 1.0f) {
        prescaled_beta = beta * prescale * prescale;
    }
    // What the other one makes of beta, made before.
    DYNORM_ANYWHERE DyIsru(float prescaled_beta, float scale, float prescale)
        : prescaled_beta(prescaled_beta), scale(scale), prescale(prescale) {}

    DYNORM_DEVICE float operator()(float x) const {
        // Beyond 2^60 the result is ±1 to the last digit, and x^2 must not overflow.
        const float z = max_nan(min_nan(x * prescale, 0x1p60f), -0x1p60f);
        const float square = multiply_add(z, z, prescaled_beta);
        // z (r + r fault / 2) is a Newton step for the estimate r, rounded but once. The estimate is
        // made too small for certain: with a fault below 0 the sum would lose the sign of -0.
        const float estimate = rsqrt_fast(square) * (1.0f - 0x1p-21f);
        const float fault = multiply_add(-square * estimate, estimate, 1.0f);
        const float scaled = estimate * scale;
        return multiply_add(z, scaled, z * (scaled * 0.5f * fault));
    }
};

// The same for results of 16 bits: relative error 2^-21.
struct DyIsruShort : DyIsru {
    using DyIsru::DyIsru;

    DYNORM_DEVICE float operator()(float x) const {
        const float z = max_nan(min_nan(x * prescale, 0x1p60f), -0x1p60f);
        return z * (rsqrt_fast(multiply_add(z, z, prescaled_beta)) * scale);
    }
};

// erf(alpha x + shift).
struct Derf {
    float alpha, shift;

    // Adding -0 changes nothing; adding 0 would take the sign of -0.
    DYNORM_ANYWHERE Derf(float alpha, float shift)
        : alpha(alpha), shift(shift == 0.0f ? -0.0f : shift) {}
    DYNORM_DEVICE float operator()(float x) const { return erf(multiply_add(x, alpha, shift)); }
};

// The same for results of 16 bits.
struct DerfShort : Derf {
    using Derf::Derf;

    DYNORM_DEVICE float operator()(float x) const {
        return erf_short(multiply_add(x, alpha, shift));
    }
};

} // namespace dynorm
