"""PyTorch eager: its kernels, and the element-wise functions as its users write them, into tensors
that are there already."""

import os

import torch
import torch.nn.functional as F

from cases import ALPHA, BETA, EPS, SCALE
from . import PythonCall

TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
torch.set_num_threads(len(os.sched_getaffinity(0)))
torch.set_grad_enabled(False)


def tensor(array, element):
    """Shares the memory of `array`."""
    if array is None:
        return None
    return torch.from_numpy(array.view("f4" if element == "f32" else "i2")).view(TYPES[element])


class Peer:
    version = torch.__version__

    def open(self, data):
        case = data.case
        x, w, b, y = (tensor(a, case.element) for a in (data.x, data.weight, data.bias, data.y))
        t = torch.empty_like(x)
        made = None

        def rms_norm():
            nonlocal made
            made = None
            made = F.rms_norm(x, x.shape[-1:], w, EPS)

        def layer_norm():
            nonlocal made
            made = None
            made = F.layer_norm(x, x.shape[-1:], w, b, EPS)

        def dyt():
            torch.mul(x, ALPHA, out=t)
            torch.tanh(t, out=t)
            torch.addcmul(b, t, w, out=y)

        def dyisru():
            torch.mul(x, x, out=t)
            torch.add(t, BETA, out=t)
            torch.rsqrt(t, out=t)
            torch.mul(t, x, out=t)
            torch.addcmul(b, t, w, value=SCALE, out=y)

        def derf():
            torch.mul(x, ALPHA, out=t)
            torch.erf(t, out=t)
            torch.addcmul(b, t, w, out=y)

        def tanh():
            torch.tanh(x, out=y)

        def erf():
            torch.erf(x, out=y)

        def result():
            if made is not None:
                y.copy_(made)
            return data.y

        return PythonCall(locals()[case.function], result)
