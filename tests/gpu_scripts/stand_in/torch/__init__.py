"""A stand-in for PyTorch: the little of it that scripts/gpu uses, on numpy, so that those scripts can
be tried without a GPU. Tensors lie in memory of the emulated CUDA driver, "cuda" or not. Like
PyTorch it rounds after every operation.
"""

import ctypes
import math
import types
import weakref

import ml_dtypes
import numpy

_driver = ctypes.CDLL("libcuda.so.1")


class dtype:
    def __init__(self, name, of_numpy):
        self.name, self.numpy = name, numpy.dtype(of_numpy)
        self.itemsize = self.numpy.itemsize

    def __str__(self):
        return f"torch.{self.name}"


float64 = dtype("float64", numpy.float64)
float32 = dtype("float32", numpy.float32)
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16)
float8_e4m3fn = dtype("float8_e4m3fn", ml_dtypes.float8_e4m3fn)
_TYPES = {one.numpy: one for one in (float64, float32, bfloat16, float8_e4m3fn)}


class Tensor:
    is_cuda = True
    device = types.SimpleNamespace(index=0)

    # What it was made of: tensors, each with a function from the gradient of this one to a part of its own.
    made_of = ()

    def __init__(self, array):
        array = numpy.ascontiguousarray(array)
        address = ctypes.c_uint64()
        assert _driver.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(max(array.nbytes, 1))) == 0
        memory = (ctypes.c_char * array.nbytes).from_address(address.value)
        self.array = numpy.frombuffer(memory, array.dtype).reshape(array.shape)
        self.array[...] = array
        weakref.finalize(self, _driver.cuMemFree_v2, address)

    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: _TYPES[self.array.dtype])

    def data_ptr(self):
        return self.array.ctypes.data

    def stride(self):
        return tuple(stride // self.array.itemsize for stride in self.array.strides)

    def numel(self):
        return self.array.size

    def element_size(self):
        return self.array.itemsize

    def item(self):
        return self.array.item()

    def new_empty(self, shape, dtype=None):
        return Tensor(numpy.full(shape, math.nan, dtype.numpy if dtype else self.array.dtype))

    def clone(self):
        return Tensor(self.array)

    def to(self, dtype):
        return Tensor(self.array.astype(dtype.numpy))

    def add_(self, other):
        self.array += other.array
        return self

    def double(self):
        return Tensor(self.array.astype(numpy.float64))

    def float(self):
        return Tensor(self.array.astype(numpy.float32))

    def abs(self):
        return Tensor(abs(self.array))

    def max(self):
        return Tensor(self.array.max())

    def clamp(self, min, max=math.inf):
        return Tensor(numpy.clip(self.array, min, max).astype(self.array.dtype))

    def __getitem__(self, rows):
        return Tensor(self.array[rows])

    def detach(self):
        return Tensor(self.array)

    def requires_grad_(self):
        return self

    def _with(self, other, operation, slopes):
        a, b = self.array, other.array if isinstance(other, Tensor) else self.array.dtype.type(other)
        result = Tensor(operation(a, b))
        result.made_of = [(self, lambda d: d * slopes[0](a, b))]
        if isinstance(other, Tensor):
            result.made_of.append((other, lambda d: d * slopes[1](a, b)))
        return result

    def __add__(self, other):
        return self._with(other, numpy.add, [lambda a, b: 1.0, lambda a, b: 1.0])

    def __sub__(self, other):
        return self._with(other, numpy.subtract, [lambda a, b: 1.0, lambda a, b: -1.0])

    def __mul__(self, other):
        return self._with(other, numpy.multiply, [lambda a, b: b, lambda a, b: a])

    def __truediv__(self, other):
        return self._with(other, numpy.divide, [lambda a, b: 1.0 / b, lambda a, b: -a / b**2])

    __radd__, __rmul__ = __add__, __mul__


def _by_element(function, slope):
    def apply(x):
        wide = x.array.astype(float)
        result = Tensor(numpy.vectorize(function, otypes=[float])(wide).astype(x.array.dtype))
        result.made_of = [(x, lambda d: d * slope(wide))]
        return result

    return apply


tanh = _by_element(math.tanh, lambda x: 1 - numpy.tanh(x) ** 2)
erf = _by_element(math.erf, lambda x: 2 / math.sqrt(math.pi) * numpy.exp(-(x**2)))
rsqrt = _by_element(lambda x: 1 / math.sqrt(x), lambda x: -0.5 * x**-1.5)
_random = numpy.random.default_rng(1)


def randn(*shape, dtype, device):
    return Tensor(_random.standard_normal(shape).astype(dtype.numpy))


def rand(*shape, dtype, device):
    return Tensor(_random.random(shape).astype(dtype.numpy))


def full(shape, value, dtype, device):
    return Tensor(numpy.full(shape, value, dtype.numpy))


def compile(function, mode, dynamic):
    return function


from . import autograd, cuda  # noqa: E402, F401
from .cuda import nothing as enable_grad, nothing as no_grad  # noqa: E402, F401
