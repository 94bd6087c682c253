"""As Liger-Kernel 0.8.5 is called."""

import torch.nn.functional as F


class LigerFusedAddRMSNormFunction:
    @staticmethod
    def apply(X, R, W, eps, offset=0.0, casting_mode="llama", in_place=False):
        S = X + R
        return F.rms_norm(S, S.shape[-1:], W, eps), S
