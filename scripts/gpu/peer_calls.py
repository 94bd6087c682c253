"""Who else has these functions, and how each is called. Run by peers.py."""

import dataclasses
import functools
import os
import sys
import typing

import torch
import torch._dynamo
import torch.nn.functional as F

EPS, ALPHA, BETA = 1e-5, 0.5, 4.0

# The functions by their formulas, as a user of PyTorch writes them.
FORMULAS = {
    "rms_norm": lambda x, w, b: F.rms_norm(x, x.shape[-1:], w, EPS),
    "layer_norm": lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b, EPS),
    "dyt": lambda x, w, b: torch.tanh(ALPHA * x) * w + b,
    "dyisru": lambda x, w, b: x * torch.rsqrt(BETA + x * x) * w + b,
    "derf": lambda x, w, b: torch.erf(ALPHA * x) * w + b,
}


@dataclasses.dataclass
class Peer:
    who: str
    function: str
    # What the call takes beside x, as the table names it.
    operands: str
    # Tensors of x's size that have to be read and written.
    moved: float
    # The result by its formula: formula(*tensors, weight, bias).
    formula: typing.Callable
    # prepare(weight, bias) gives call(*tensors), and does once whatever its caller would do once:
    # conversions of weights, compiling.
    prepare: typing.Callable
    # Factor to the result of what the call gives.
    scale: float = 1.0


def eager():
    def prepare(formula, w, b):
        return lambda x: formula(x, w, b)

    return {name: functools.partial(prepare, formula) for name, formula in FORMULAS.items()}


def compile_anew(function):
    # After eight shapes of one function it would quietly stop compiling.
    torch._dynamo.reset()
    return torch.compile(function, mode="max-autotune-no-cudagraphs", dynamic=False)


def compiled():
    def prepare(formula, w, b):
        call = compile_anew(formula)
        return lambda x: call(x, w, b)

    return {name: functools.partial(prepare, formula) for name, formula in FORMULAS.items()}


def liger():
    from liger_kernel.ops.dyt import LigerDyTFunction
    from liger_kernel.ops.layer_norm import LigerLayerNormFunction
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction

    def dyt(w, b):
        alpha = torch.full((1,), ALPHA, dtype=w.dtype, device=w.device)
        return lambda x: LigerDyTFunction.apply(x, alpha, w, b)

    return {
        "rms_norm": lambda w, b: lambda x: LigerRMSNormFunction.apply(x, w, EPS),
        "layer_norm": lambda w, b: lambda x: LigerLayerNormFunction.apply(x, w, b, EPS),
        "dyt": dyt,
    }


def flashinfer():
    """Of 16-bit types; its LayerNorm takes weights of f32."""
    import flashinfer.norm

    def layer_norm(w, b):
        w, b = w.float(), b.float()
        return lambda x: flashinfer.norm.layernorm(x, w, b, EPS)

    return {
        "rms_norm": lambda w, b: lambda x: flashinfer.norm.rmsnorm(x, w, EPS),
        "layer_norm": layer_norm,
    }


def quack():
    """Its LayerNorm takes weights of f32."""
    from quack.rmsnorm import layernorm_fwd, rmsnorm

    def layer_norm(w, b):
        w, b = w.float(), b.float()
        return lambda x: layernorm_fwd(x, w, b, EPS)

    return {"rms_norm": lambda w, b: lambda x: rmsnorm(x, w, eps=EPS), "layer_norm": layer_norm}


def dynorm_norms():
    """This library, through its C interface, in the same way as the others; and its functions."""
    if "DYNORM_LIBRARY" not in os.environ:
        raise ImportError("DYNORM_LIBRARY names no library")
    import dynorm as library

    return library, {
        "rms_norm": library.rms_norm(EPS),
        "layer_norm": library.layer_norm(EPS),
        "dyt": library.dyt(ALPHA),
        "dyisru": library.dyisru(BETA),
        "derf": library.derf(ALPHA),
    }


def dynorm(programmatic=False):
    library, norms = dynorm_norms()
    flags = library.PROGRAMMATIC if programmatic else 0

    def prepare(name, w, b):
        bias = None if name == "rms_norm" else b
        return lambda x: library.forward(norms[name], x, weight=w, bias=bias, flags=flags)

    return {name: functools.partial(prepare, name) for name in norms}


MAKERS = {
    "dynorm, C": dynorm,
    "dynorm, C, programmatic": lambda: dynorm(programmatic=True),
    "torch eager": eager,
    "torch.compile": compiled,
    "Liger": liger,
    "FlashInfer": flashinfer,
    "quack": quack,
}


def imported(makers):
    """(who, what it has) of all that can be imported here; the others are named on standard error."""
    for who, make in makers.items():
        try:
            yield who, make()
        except Exception as error:  # an import may fail in many ways
            print(f"no {who}: {type(error).__name__}: {error}"[:300], file=sys.stderr)


def peers():
    """Plain calls of x."""
    return [
        Peer(who, name, "weight" if name == "rms_norm" else "weight+bias", 2, FORMULAS[name], prepare)
        for who, functions in imported(MAKERS)
        for name, prepare in functions.items()
    ]
