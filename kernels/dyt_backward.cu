// The gradients of DyT, of x and alpha. Parameters: alpha, 4 alpha. Factor: 4.
#include "backward_columns.cuh"
#include "dynorm/functions.cuh"

template <bool SHORT> struct DyTSlope {
    static constexpr u32 PARAMETERS = 1;
    float alpha, by_x;

    MEMBER DyTSlope(const BackwardArgs& args, u32) : alpha(args.parameter[0]), by_x(args.parameter[1]) {}
    // 1 - tanh^2 by what keeps its digits where tanh is near 1. Below 2^-126 the root is 0.
    MEMBER Slope at(float x, float df) const {
        float root;
        const float z = x * alpha;
        const float value = SHORT ? dynorm::tanh_short_and_root(z, root) : dynorm::tanh_and_root(z, root);
        const float by_z = df * (root * (1.0f - root));
        return {value, by_z * by_x, {by_z * finite(x)}};
    }
};

COLUMN_KERNELS(dyt, DyTSlope<false>, DyTSlope<true>)
