"""Who else has calls that add x to a residual, in place or elsewhere, and take the function of the
sum; and RMSNorm of it in fp8 with a given scale. Run by peers.py.
"""

import functools

import torch

from peer_calls import EPS, FORMULAS, Peer, compile_anew, dynorm_norms, imported

SCALE = 0.05
RESIDUAL, QUANTIZED = "residual", "residual, fp8_e4m3, scale given"


def of_sum(formula):
    return lambda x, residual, w, b: formula(x + residual, w, b)


def in_place(formula, x, residual, w, b):
    residual.add_(x)
    return formula(residual, w, b)


def quantized(x, residual, w, b):
    y = in_place(FORMULAS["rms_norm"], x, residual, w, b) / SCALE
    return y.clamp(min=-448.0, max=448.0).to(torch.float8_e4m3fn)


def eager():
    def prepare(formula, w, b):
        return lambda x, residual: in_place(formula, x, residual, w, b)

    return {(name, RESIDUAL): functools.partial(prepare, formula) for name, formula in FORMULAS.items()}


def compiled():
    def prepare(function, w, b):
        call = compile_anew(function)
        return lambda x, residual: call(x, residual, w, b)

    functions = {(name, RESIDUAL): functools.partial(in_place, formula) for name, formula in FORMULAS.items()}
    functions["rms_norm", QUANTIZED] = quantized
    return {key: functools.partial(prepare, function) for key, function in functions.items()}


def liger():
    """Into a new sum."""
    from liger_kernel.ops.fused_add_rms_norm import LigerFusedAddRMSNormFunction

    def prepare(w, b):
        return lambda x, residual: LigerFusedAddRMSNormFunction.apply(x, residual, w, EPS)[0]

    return {("rms_norm", RESIDUAL): prepare}


def flashinfer():
    """Of 16-bit types; the result of its unquantised call lies in x's place."""
    import flashinfer.norm

    def residual(w, b):
        def call(x, residual):
            flashinfer.norm.fused_add_rmsnorm(x, residual, w, EPS)
            return x

        return call

    def quantized(w, b):
        scale = torch.full((1,), SCALE, dtype=torch.float32, device=w.device)

        def call(x, residual):
            y = x.new_empty(x.shape, dtype=torch.float8_e4m3fn)
            flashinfer.norm.fused_add_rmsnorm_quant(y, x, residual, w, scale, EPS)
            return y

        return call

    return {("rms_norm", RESIDUAL): residual, ("rms_norm", QUANTIZED): quantized}


def quack():
    """Into a new sum."""
    from quack.rmsnorm import rmsnorm

    def prepare(w, b):
        return lambda x, residual: rmsnorm(x, w, residual=residual, eps=EPS, prenorm=True)[0]

    return {("rms_norm", RESIDUAL): prepare}


def dynorm(programmatic=False):
    library, norms = dynorm_norms()
    flags = library.PROGRAMMATIC if programmatic else 0

    def residual(name, w, b):
        bias = None if name == "rms_norm" else b
        forward = functools.partial(library.forward, norms[name], weight=w, bias=bias, flags=flags)
        return lambda x, residual: forward(x, residual=residual)

    def quantized(w, b):
        scales = torch.full((1,), SCALE, dtype=torch.float32, device=w.device)

        def call(x, residual):
            y = x.new_empty(x.shape, dtype=torch.float8_e4m3fn)
            norm = norms["rms_norm"]
            return library.forward(norm, x, out=y, weight=w, residual=residual, scales=scales, flags=flags)

        return call

    calls = {(name, RESIDUAL): functools.partial(residual, name) for name in norms}
    calls["rms_norm", QUANTIZED] = quantized
    return calls


MAKERS = {
    "dynorm, C": dynorm,
    "dynorm, C, programmatic": lambda: dynorm(programmatic=True),
    "torch eager": eager,
    "torch.compile": compiled,
    "Liger": liger,
    "FlashInfer": flashinfer,
    "quack": quack,
}


def fused_peers():
    """Calls of x and a residual of the same type."""
    moved, scale = {RESIDUAL: 4, QUANTIZED: 3.5}, {RESIDUAL: 1.0, QUANTIZED: SCALE}
    return [
        Peer(who, name, form, moved[form], of_sum(FORMULAS[name]), prepare, scale[form])
        for who, calls in imported(MAKERS)
        for (name, form), prepare in calls.items()
    ]
