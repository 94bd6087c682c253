// DyT: tanh(alpha x). Parameter: alpha.
#include "dynorm/functions.cuh"
#include "elements.cuh"

template <class F> struct WithAlpha : F {
    MEMBER explicit WithAlpha(const Args& args) : F(args.parameter[0]) {}
};

ELEMENT_KERNELS(dyt, WithAlpha<dynorm::DyT>)
// Only where the caller asks for it.
ELEMENT_KERNELS(dyt_fast, WithAlpha<dynorm::DyTFast>)
