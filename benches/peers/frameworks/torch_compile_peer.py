"""torch.compile: the formulas, for the given shape, written to a tensor that is there already."""

import torch
import torch.nn.functional as F

from cases import ALPHA, BETA, EPS, SCALE
from . import PythonCall
from .torch_eager_peer import tensor

torch._dynamo.config.recompile_limit = 10_000
torch._dynamo.config.accumulated_recompile_limit = 10_000

FORMULAS = {
    "rms_norm": lambda x, w, b: F.rms_norm(x, x.shape[-1:], w, EPS),
    "layer_norm": lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b, EPS),
    "dyt": lambda x, w, b: torch.tanh(ALPHA * x) * w + b,
    "dyisru": lambda x, w, b: SCALE * x * torch.rsqrt(BETA + x * x) * w + b,
    "derf": lambda x, w, b: torch.erf(ALPHA * x) * w + b,
    "tanh": lambda x, w, b: torch.tanh(x),
    "erf": lambda x, w, b: torch.erf(x),
}


class Peer:
    version = torch.__version__

    def open(self, data):
        formula = FORMULAS[data.case.function]
        x, w, b, y = (tensor(a, data.case.element) for a in (data.x, data.weight, data.bias, data.y))
        torch._dynamo.reset()
        call = torch.compile(lambda: y.copy_(formula(x, w, b)), dynamic=False)
        return PythonCall(call, lambda: data.y)
