// Derf: erf(alpha x + shift). Parameters: alpha, shift.
#include "dynorm/functions.cuh"
#include "fused_elements.cuh"

template <class F> struct WithShift : F {
    MEMBER explicit WithShift(const Args& args) : F(args.parameter[0], args.parameter[1]) {}
};
using Full = WithShift<dynorm::Derf>;
using Short = WithShift<dynorm::DerfShort>;
using AsAsked = FullOrShort<Full, Short>;

KERNELS_OF_ELEMENTS(derf, Full, Short, AsAsked)
