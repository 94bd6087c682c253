"""numpy: f32, one thread, every step into memory that is there already."""

import numpy as np

from cases import ALPHA, BETA, EPS, SCALE
from . import PythonCall


class Peer:
    version = np.__version__

    def open(self, data):
        case, x, w, b, y = data.case, data.x, data.weight, data.bias, data.y
        if case.element != "f32" or case.function in ("derf", "erf") or case.threads > 1:
            return None
        t = np.empty_like(y)
        n = np.float32(case.channels)
        alpha, beta, scale, eps = map(np.float32, (ALPHA, BETA, SCALE, EPS))

        def affine():
            np.multiply(y, w, out=y)
            if b is not None:
                np.add(y, b, out=y)

        def rms_norm():
            square = np.einsum("ij,ij->i", x, x)
            np.multiply(x, (1 / np.sqrt(square / n + eps))[:, None], out=y)
            affine()

        def layer_norm():
            np.subtract(x, x.mean(axis=1, keepdims=True), out=y)
            square = np.einsum("ij,ij->i", y, y)
            np.multiply(y, (1 / np.sqrt(square / n + eps))[:, None], out=y)
            affine()

        def dyt():
            np.multiply(x, alpha, out=y)
            np.tanh(y, out=y)
            affine()

        def dyisru():
            np.multiply(x, x, out=t)
            np.add(t, beta, out=t)
            np.sqrt(t, out=t)
            np.divide(x, t, out=y)
            np.multiply(y, scale, out=y)
            affine()

        def tanh():
            np.tanh(x, out=y)

        return PythonCall(locals()[case.function], lambda: y)
