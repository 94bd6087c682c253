// The kernels of LayerNorm.
#include "fused_rows.cuh"
#include "layer_norm.cuh"

ROW_KERNELS(layer_norm, LayerNorm)
FUSED_ROW_KERNELS(layer_norm, LayerNorm)
