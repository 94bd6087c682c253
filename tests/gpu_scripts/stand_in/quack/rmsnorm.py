"""As quack-kernels 0.6.5 is called."""

import torch
import torch.nn.functional as F


def rmsnorm(
    x, weight=None, bias=None, residual=None, out_dtype=None, residual_dtype=None, eps=1e-6, prenorm=False
):
    total = x if residual is None else x + residual
    y = F.rms_norm(total, x.shape[-1:], weight, eps)
    return (y, total) if prenorm else y


def layernorm_fwd(x, weight, bias=None, eps=1e-6, return_rstd=False, return_mean=False):
    assert weight.dtype is bias.dtype is torch.float32
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
