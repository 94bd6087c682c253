// DyT: tanh(alpha x). Parameter: alpha.
#include "dynorm/functions.cuh"
#include "fused_elements.cuh"

template <class F> struct WithAlpha : F {
    MEMBER explicit WithAlpha(const Args& args) : F(args.parameter[0]) {}
};
using Full = WithAlpha<dynorm::DyT>;
using Short = WithAlpha<dynorm::DyTShort>;
using Fast = WithAlpha<dynorm::DyTFast>;

// One of them, as the call asks.
struct AsAsked {
    Full full;
    Short brief;
    Fast fast;
    u32 precision;

    MEMBER explicit AsAsked(const Args& args)
        : full(args), brief(args), fast(args), precision(args.precision) {}
    MEMBER float operator()(float x) const {
        return precision == PRECISION_FULL ? full(x) : precision == PRECISION_SHORT ? brief(x) : fast(x);
    }
};

KERNELS_OF_ELEMENTS(dyt, Full, Short, AsAsked)
// Only where the caller asks for it.
ELEMENT_KERNELS(dyt_fast, Fast)
USUAL_ELEMENT_KERNELS(dyt_fast, Fast, Fast)
