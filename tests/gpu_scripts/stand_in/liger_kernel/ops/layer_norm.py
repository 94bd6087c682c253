"""As Liger-Kernel 0.8.5 is called."""

import torch.nn.functional as F


class LigerLayerNormFunction:
    @staticmethod
    def apply(X, W, B, eps):
        return F.layer_norm(X, X.shape[-1:], W, B, eps)
