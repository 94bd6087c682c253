"""Who else has gradients: a call and the one for its gradients behind it, as a step of training has them. Those of x,
of the weight and, but for RMSNorm, of the bias; dynorm's are of the function's parameters, too. Run by peers.py.
"""

import functools

import torch

from peer_calls import FORMULAS, Peer, compiled, dynorm_norms, eager, imported, liger, quack

TRAINING = "forward and gradients"


def gradient(forward, x, dy, *operands):
    """That of x by autograd, which makes those of the operands, too."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(forward(x), (x, *operands), dy, allow_unused=True)[0]


def of_formula(formula):
    return lambda x, dy, w, b: gradient(lambda x: formula(x, w, b), x, dy)


def with_gradients(prepare):
    """The same for a plain call, `prepare(weight, bias)`, of which autograd knows the gradients."""

    def prepared(w, b):
        w, b = (operand.detach().requires_grad_() for operand in (w, b))
        forward = prepare(w, b)
        return lambda x, dy: gradient(forward, x, dy, w, b)

    return prepared


def of_autograd(make, names=FORMULAS):
    return {name: with_gradients(prepare) for name, prepare in make().items() if name in names}


def dynorm():
    library, norms = dynorm_norms()

    def prepare(name, w, b):
        norm, has_bias = norms[name], name != "rms_norm"
        wanted = ("weight", "bias", "parameters") if has_bias else ("weight", "parameters")

        def call(x, dy):
            library.forward(norm, x, weight=w, bias=b if has_bias else None)
            return library.backward(norm, x, dy, weight=w, wanted=wanted).dx

        return call

    return {name: functools.partial(prepare, name) for name in norms}


MAKERS = {
    "dynorm, C": dynorm,
    "torch eager": lambda: of_autograd(eager),
    "torch.compile": lambda: of_autograd(compiled),
    "Liger": lambda: of_autograd(liger),
    "quack": lambda: of_autograd(quack, ["rms_norm"]),
}


def training_peers():
    """Calls of x and dy, of the same type."""
    # x is read and y written, then x and dy read and dx written.
    return [
        Peer(who, name, TRAINING, 5, of_formula(FORMULAS[name]), prepare)
        for who, calls in imported(MAKERS)
        for name, prepare in calls.items()
    ]
