// The kernels of RMSNorm.
#include "fused_rows.cuh"
#include "rms_norm.cuh"

ROW_KERNELS(rms_norm, RmsNorm)
FUSED_ROW_KERNELS(rms_norm, RmsNorm)
