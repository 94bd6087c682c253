// DyISRU: scale * x / sqrt(beta + x^2). Parameters: beta * prescale^2, scale, prescale.
#include "dynorm/functions.cuh"
#include "fused_elements.cuh"

template <class F> struct WithBeta : F {
    MEMBER explicit WithBeta(const Args& args)
        : F(args.parameter[0], args.parameter[1], args.parameter[2]) {}
};
using Full = WithBeta<dynorm::DyIsru>;
using Short = WithBeta<dynorm::DyIsruShort>;
using AsAsked = FullOrShort<Full, Short>;

KERNELS_OF_ELEMENTS(dyisru, Full, Short, AsAsked)
