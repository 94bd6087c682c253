// Derf: erf(alpha x + shift). Parameters: alpha, shift (-0 for 0, which keeps the sign of -0).
#include "fused_elements.cuh"

struct Derf {
    float alpha, shift;

    MEMBER explicit Derf(const Args& args)
        : alpha(args.parameter[0]), shift(args.parameter[1]) {}

    // erf z to 1.9 ulp, if exp2_fast is as bad as it may be.
    MEMBER float operator()(float x) const {
        const float z = multiply_add(x, alpha, shift), magnitude = absolute(z);
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
};

ELEMENT_KERNELS(derf, Derf)
FUSED_ELEMENT_KERNELS(derf, Derf)
