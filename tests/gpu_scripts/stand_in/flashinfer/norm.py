"""As FlashInfer 0.7.2 is called."""

import torch
import torch.nn.functional as F


def rmsnorm(input, weight, eps=1e-6, out=None, enable_pdl=None):
    assert input.dtype is torch.bfloat16, "16-bit types"
    return F.rms_norm(input, input.shape[-1:], weight, eps)


def layernorm(input, gemma, beta, eps=1e-6):
    assert input.dtype is torch.bfloat16 and gemma.dtype is beta.dtype is torch.float32
    return F.layer_norm(input, input.shape[-1:], gemma, beta, eps)


def fused_add_rmsnorm(input, residual, weight, eps=1e-6, enable_pdl=None):
    residual.add_(input)
    y = rmsnorm(residual, weight, eps)  # whose memory lives as long as it has a name
    input.array[...] = y.array


def fused_add_rmsnorm_quant(out, input, residual, weight, scale, eps=1e-6, enable_pdl=None):
    assert scale.shape == (1,) and scale.dtype is torch.float32 and out.dtype is torch.float8_e4m3fn
    residual.add_(input)
    y = rmsnorm(residual, weight, eps) / scale
    out.array[...] = y.array.clip(-448, 448)
