"""As FlashInfer 0.7.2 is called."""

import torch
import torch.nn.functional as F


def rmsnorm(input, weight, eps=1e-6, out=None, enable_pdl=None):
    assert input.dtype is torch.bfloat16, "16-bit types"
    return F.rms_norm(input, input.shape[-1:], weight, eps)


def layernorm(input, gemma, beta, eps=1e-6):
    assert input.dtype is torch.bfloat16 and gemma.dtype is beta.dtype is torch.float32
    return F.layer_norm(input, input.shape[-1:], gemma, beta, eps)
