import numpy

from torch import Tensor


def _affine(x, f, weight, bias, slope):
    """`weight * f + bias`, of an `f` of x with this `slope(df)`."""
    w = weight.array.astype(float)
    y = f * w + (0.0 if bias is None else bias.array.astype(float))
    result = Tensor(y.astype(x.array.dtype))
    result.made_of = [(x, lambda d: slope(d * w)), (weight, lambda d: d * f)]
    if bias is not None:
        result.made_of.append((bias, lambda d: d))
    return result


def _standardised(wide, eps, centred):
    """x over its root mean square, and its slope; of which the mean is taken away, too, if it was."""
    rstd = 1 / numpy.sqrt((wide**2).mean(-1, keepdims=True) + eps)
    f = wide * rstd

    def slope(df):
        mean = df.mean(-1, keepdims=True) if centred else 0.0
        return rstd * (df - mean - f * (df * f).mean(-1, keepdims=True))

    return f, slope


def rms_norm(x, shape, weight, eps):
    assert tuple(shape) == x.shape[-1:]
    f, slope = _standardised(x.array.astype(float), eps, False)
    return _affine(x, f, weight, None, slope)


def layer_norm(x, shape, weight, bias, eps):
    assert tuple(shape) == x.shape[-1:]
    wide = x.array.astype(float)
    f, slope = _standardised(wide - wide.mean(-1, keepdims=True), eps, True)
    return _affine(x, f, weight, bias, slope)
