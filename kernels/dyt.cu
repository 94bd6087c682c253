// DyT: tanh(alpha x). Parameter: alpha.
#include "fused_elements.cuh"

struct DyT {
    float alpha;

    MEMBER explicit DyT(const Args& args) : alpha(args.parameter[0]) {}

    // tanh(alpha x) to 1.5 ulp, if exp2_fast and reciprocal_fast are as bad as they may be.
    MEMBER float operator()(float x) const {
        const float z = x * alpha, magnitude = absolute(z);
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
        const float large = multiply_add(reciprocal_fast(power + 1.0f), -2.0f, 1.0f);
        // The sign also of -0, which the sum in `small` loses.
        return with_sign_of(magnitude < 1.0f ? small : large, z);
    }
};

// tanh by one instruction: relative error 2^-11, a quarter of what rounding to bf16 costs. Only
// where the caller asks for it.
struct DyTFast {
    float alpha;

    MEMBER explicit DyTFast(const Args& args) : alpha(args.parameter[0]) {}
    MEMBER float operator()(float x) const { return tanh_fast(x * alpha); }
};

ELEMENT_KERNELS(dyt, DyT)
// Either, as the call asks.
struct DyTAsAsked {
    DyT exact;
    DyTFast fast;
    u32 approximate;

    MEMBER explicit DyTAsAsked(const Args& args)
        : exact(args), fast(args), approximate(args.approximate) {}
    MEMBER float operator()(float x) const { return approximate ? fast(x) : exact(x); }
};

ELEMENT_KERNELS(dyt_fast, DyTFast)
FUSED_ELEMENT_KERNELS(dyt, DyTAsAsked)
