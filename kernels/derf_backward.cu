// The gradients of Derf, of x, alpha and shift: with z = alpha x + shift the derivative of erf is 2 / sqrt(pi) e^(-z^2), and 0
// where the power is below 2^-126. Parameters: alpha, shift, 2 / sqrt(pi) alpha. Factors: 2 / sqrt(pi), twice.
#include "backward_columns.cuh"
#include "dynorm/functions.cuh"

template <bool SHORT> struct DerfSlope {
    static constexpr u32 PARAMETERS = 2;
    float alpha, shift, by_x;

    MEMBER DerfSlope(const BackwardArgs& args, u32)
        : alpha(args.parameter[0]), shift(args.parameter[1]), by_x(args.parameter[2]) {}
    MEMBER Slope at(float x, float df) const {
        const float z = multiply_add(x, alpha, shift);
        const float by_shift = df * dynorm::exp2_fast(z * -1.4426950f * z);
        const float value = SHORT ? dynorm::erf_short(z) : dynorm::erf(z);
        return {value, by_shift * by_x, {by_shift * finite(x), by_shift}};
    }
};

COLUMN_KERNELS(derf, DerfSlope<false>, DerfSlope<true>)
