// DyISRU: scale * x / sqrt(beta + x^2). Parameters: beta * prescale^2, scale, prescale.
#include "dynorm/functions.cuh"
#include "fused_elements.cuh"

struct DyIsru : dynorm::DyIsru {
    MEMBER explicit DyIsru(const Args& args)
        : dynorm::DyIsru(args.parameter[0], args.parameter[1], args.parameter[2]) {}
};

ELEMENT_KERNELS(dyisru, DyIsru)
FUSED_ELEMENT_KERNELS(dyisru, DyIsru)
