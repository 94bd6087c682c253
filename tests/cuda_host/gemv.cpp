// The kernel of examples/cuda, as it is, for the host.
#include "language.h"

#include "../../examples/cuda/gemv.cu"

#define REGISTER(name) static const host::Registered name##_registered(#name, name, THREADS)
REGISTER(gemv);
REGISTER(gemv_rms_norm);
REGISTER(gemv_dyt);
REGISTER(gemv_dyisru);
REGISTER(gemv_derf);
