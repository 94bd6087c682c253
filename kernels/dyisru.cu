// DyISRU: scale * x / sqrt(beta + x^2).
// Parameters: beta * prescale^2, scale, prescale. The prescale is a power of two that brings beta
// near 1 where it is not: then neither overflow nor underflow of x^2 reaches the result.
#include "fused_elements.cuh"

struct DyIsru {
    float beta, scale, prescale;

    MEMBER explicit DyIsru(const Args& args)
        : beta(args.parameter[0]), scale(args.parameter[1]), prescale(args.parameter[2]) {}

    MEMBER float operator()(float x) const {
        // Beyond 2^60 the result is ±1 to the last digit, and x^2 must not overflow.
        const float z = max_nan(min_nan(x * prescale, 0x1p60f), -0x1p60f);
        const float square = multiply_add(z, z, beta);
        // z (r + r fault / 2) is a Newton step for the estimate r, rounded but once. The estimate is
        // made too small for certain: with a fault below 0 the sum would lose the sign of -0.
        const float estimate = rsqrt_fast(square) * (1.0f - 0x1p-21f);
        const float fault = multiply_add(-square * estimate, estimate, 1.0f);
        const float scaled = estimate * scale;
        return multiply_add(z, scaled, z * (scaled * 0.5f * fault));
    }
};

ELEMENT_KERNELS(dyisru, DyIsru)
FUSED_ELEMENT_KERNELS(dyisru, DyIsru)
