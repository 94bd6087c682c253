import numpy

from torch import Tensor


def _affine(x, y, weight, bias):
    y = y * weight.array.astype(float) + (0.0 if bias is None else bias.array.astype(float))
    return Tensor(y.astype(x.array.dtype))


def rms_norm(x, shape, weight, eps):
    assert tuple(shape) == x.shape[-1:]
    wide = x.array.astype(float)
    return _affine(x, wide / numpy.sqrt((wide**2).mean(-1, keepdims=True) + eps), weight, None)


def layer_norm(x, shape, weight, bias, eps):
    assert tuple(shape) == x.shape[-1:]
    wide = x.array.astype(float)
    centred = wide - wide.mean(-1, keepdims=True)
    return _affine(x, centred / numpy.sqrt((centred**2).mean(-1, keepdims=True) + eps), weight, bias)
