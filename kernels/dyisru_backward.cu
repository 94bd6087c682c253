// The gradients of DyISRU, of x, beta and scale: with r = 1 / sqrt(beta + x^2)
//
//     scale beta r^3,  -scale x r^3 / 2,  x r.
//
// Parameters: beta * prescale^2, scale, prescale, scale * beta * prescale^3. Factors: -scale * prescale^2 / 2, 1.
#include "backward_columns.cuh"

struct DyIsruSlope {
    static constexpr u32 PARAMETERS = 2;
    float beta, scale, prescale, by_x;

    MEMBER DyIsruSlope(const BackwardArgs& args, u32)
        : beta(args.parameter[0]), scale(args.parameter[1]), prescale(args.parameter[2]),
          by_x(args.parameter[3]) {}
    MEMBER Slope at(float x, float df) const {
        // As in the function.
        const float z = max_nan(min_nan(x * prescale, 0x1p60f), -0x1p60f);
        const float r = dynorm::rsqrt_fast(multiply_add(z, z, beta));
        const float n = z * r;
        const float by_scale = df * n;
        // In this order nothing is subnormal before its time.
        return {n * scale, df * (by_x * r * r * r), {by_scale * r * r, by_scale}};
    }
};

COLUMN_KERNELS(dyisru, DyIsruSlope, DyIsruSlope)
