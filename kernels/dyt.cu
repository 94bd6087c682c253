// DyT: tanh(alpha x). Parameter: alpha.
#include "dynorm/functions.cuh"
#include "fused_elements.cuh"

template <class F> struct WithAlpha : F {
    MEMBER explicit WithAlpha(const Args& args) : F(args.parameter[0]) {}
};

// Either, as the call asks.
struct DyTAsAsked {
    WithAlpha<dynorm::DyT> exact;
    WithAlpha<dynorm::DyTFast> fast;
    u32 approximate;

    MEMBER explicit DyTAsAsked(const Args& args)
        : exact(args), fast(args), approximate(args.approximate) {}
    MEMBER float operator()(float x) const { return approximate ? fast(x) : exact(x); }
};

ELEMENT_KERNELS(dyt, WithAlpha<dynorm::DyT>)
// Only where the caller asks for it.
ELEMENT_KERNELS(dyt_fast, WithAlpha<dynorm::DyTFast>)
FUSED_ELEMENT_KERNELS(dyt, DyTAsAsked)
