// Derf: erf(alpha x + shift). Parameters: alpha, shift.
#include "dynorm/functions.cuh"
#include "fused_elements.cuh"

struct Derf : dynorm::Derf {
    MEMBER explicit Derf(const Args& args)
        : dynorm::Derf(args.parameter[0], args.parameter[1]) {}
};

ELEMENT_KERNELS(derf, Derf)
FUSED_ELEMENT_KERNELS(derf, Derf)
