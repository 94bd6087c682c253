"""dynorm from Python: ctypes over include/dynorm.h. No tensor is copied.

    import numpy as np, dynorm
    y = dynorm.forward(dynorm.rms_norm(1e-5), x, weight=w)

Arrays may be numpy's (float32, float16, and bfloat16 of the package ml_dtypes) or PyTorch's, on the
CPU or on a CUDA device, where the work goes on PyTorch's current stream. The shared library is
looked for where DYNORM_LIBRARY says, else where the system looks for libraries.
"""

import ctypes
import ctypes.util
import functools
import math
import os
from ctypes import POINTER, byref, c_char_p, c_float, c_size_t, c_uint32, c_void_p

VERSION = (0, 1)
ELEMENTS = {"float32": 1, "float16": 2, "bfloat16": 3}
FUNCTIONS = {"rms_norm": 1, "layer_norm": 2, "dyt": 3, "dyisru": 4, "derf": 5}
ISAS = {"current": 0, "portable": 1, "avx2": 2, "avx512": 3, "avx512bf16": 4}
STREAM, NO_STREAM, FAST_TANH, PROGRAMMATIC = 1, 2, 4, 8


class Norm(ctypes.Structure):
    """dynorm_norm: a function and its parameters."""

    _fields_ = [
        ("function", c_uint32),
        ("eps", c_float),
        ("alpha", c_float),
        ("beta", c_float),
        ("scale", c_float),
        ("shift", c_float),
        ("reserved", c_uint32 * 2),
    ]


class ForwardArgs(ctypes.Structure):
    """dynorm_forward_args."""

    _fields_ = [
        ("size", c_size_t),
        ("norm", Norm),
        ("rows", c_size_t),
        ("channels", c_size_t),
        ("x", c_void_p),
        ("y", c_void_p),
        ("x_row_stride", c_size_t),
        ("y_row_stride", c_size_t),
        ("x_element", c_uint32),
        ("y_element", c_uint32),
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("weight_element", c_uint32),
        ("bias_element", c_uint32),
        ("weight_offset", c_float),
        ("isa", c_uint32),
        ("flags", c_uint32),
        ("reserved", c_uint32),
    ]


class Error(ValueError):
    """A call that the library refused; the text says what was given and what was wanted."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def rms_norm(eps):
    """x / sqrt(mean(x^2) + eps)"""
    return Norm(function=FUNCTIONS["rms_norm"], eps=eps)


def layer_norm(eps):
    """(x - mean) / sqrt(var + eps)"""
    return Norm(function=FUNCTIONS["layer_norm"], eps=eps)


def dyt(alpha):
    """tanh(alpha x)"""
    return Norm(function=FUNCTIONS["dyt"], alpha=alpha)


def dyisru(beta, scale=1.0):
    """scale x / sqrt(beta + x^2)"""
    return Norm(function=FUNCTIONS["dyisru"], beta=beta, scale=scale)


def derf(alpha, shift=0.0):
    """erf(alpha x + shift)"""
    return Norm(function=FUNCTIONS["derf"], alpha=alpha, shift=shift)


def forward(
    norm, x, *, out=None, weight=None, bias=None, weight_offset=0.0, parallel=False, isa="current", flags=0
):
    """norm over the last dimension of x, written to out, which may be x, and returned.

    out has x's shape and may have another type; without it a new array like x is made. weight and
    bias are one-dimensional. parallel uses the library's threads on the CPU. Raises ValueError for
    arrays that would have to be copied, and Error for what the library refuses. The interpreter's
    lock is released during the call.
    """
    if out is None:
        out = _empty_like(x)
    if tuple(out.shape) != tuple(x.shape):
        raise ValueError(f"out has shape {tuple(out.shape)}, x has {tuple(x.shape)}")
    source, target = _Rows("x", x), _Rows("out", out)
    operands = {}
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None:
            if tuple(given.shape) != (source.channels,):
                raise ValueError(f"{name} has shape {tuple(given.shape)} instead of ({source.channels},)")
            operands[name] = _Rows(name, given)
    devices = {array.device for array in (source, target, *operands.values())}
    if len(devices) > 1:
        raise ValueError(f"arrays are on different devices: {devices}")

    args = ForwardArgs(
        size=ctypes.sizeof(ForwardArgs),
        norm=norm,
        rows=source.rows,
        channels=source.channels,
        x=source.pointer,
        y=target.pointer,
        x_row_stride=source.stride,
        y_row_stride=target.stride,
        x_element=source.element,
        y_element=target.element,
        weight_offset=weight_offset,
        isa=ISAS[isa],
        flags=flags,
    )
    for name, array in operands.items():
        setattr(args, name, array.pointer)
        setattr(args, f"{name}_element", array.element)
    if source.device is not None:
        import torch

        stream = torch.cuda.current_stream(source.device).cuda_stream
        _check(_library().dynorm_cuda_forward(_cuda(source.device), byref(args), stream))
    elif parallel:
        _check(_library().dynorm_forward_parallel(byref(args)))
    else:
        _check(_library().dynorm_forward(byref(args)))
    return out


class _Rows:
    """An array of numpy's or PyTorch's as rows of elements that lie side by side."""

    def __init__(self, name, array):
        shape = tuple(array.shape)
        if hasattr(array, "data_ptr"):
            self.pointer, strides = array.data_ptr(), array.stride()
            dtype = str(array.dtype).removeprefix("torch.")
            self.device = array.device.index if array.is_cuda else None
        else:
            interface = array.__array_interface__
            if name == "out" and interface["data"][1]:
                raise ValueError("out is read-only")
            self.pointer, self.device, dtype = interface["data"][0], None, array.dtype.name
            if any(stride % array.itemsize for stride in array.strides):
                raise ValueError(f"{name} has elements that are not spaced by whole elements")
            strides = tuple(stride // array.itemsize for stride in array.strides)
        if dtype not in ELEMENTS:
            raise ValueError(f"{name} is of {dtype}; it must be one of {', '.join(ELEMENTS)}")
        self.element = ELEMENTS[dtype]
        if not shape:
            raise ValueError(f"{name} has no dimensions")
        self.channels, self.rows = shape[-1], math.prod(shape[:-1])
        if strides[-1] != 1 and self.channels > 1 and self.rows > 0:
            raise ValueError(f"the last dimension of {name} is not contiguous")
        self.stride = _row_stride(name, shape[:-1], strides[:-1]) or self.channels


def _row_stride(name, shape, strides):
    """The one stride of all rows, or None if there are less than two."""
    dimensions = [(size, stride) for size, stride in zip(shape, strides) if size != 1]
    if not dimensions or math.prod(shape) == 0:
        return None
    for (_, outer), (size, inner) in zip(dimensions, dimensions[1:]):
        if outer != size * inner:
            raise ValueError(f"the rows of {name} are not equally spaced")
    stride = dimensions[-1][1]
    if stride <= 0:
        raise ValueError(f"the rows of {name} are {stride} elements apart")
    return stride


def _empty_like(x):
    if hasattr(x, "data_ptr"):
        return x.new_empty(x.shape)
    import numpy

    return numpy.empty(x.shape, x.dtype)


@functools.cache
def _library():
    path = os.environ.get("DYNORM_LIBRARY") or ctypes.util.find_library("dynorm")
    if path is None:
        raise OSError("no dynorm library is installed, and DYNORM_LIBRARY names none")
    library = ctypes.CDLL(path)
    for name, parameters in (
        ("dynorm_forward", [POINTER(ForwardArgs)]),
        ("dynorm_forward_parallel", [POINTER(ForwardArgs)]),
        ("dynorm_cuda_open_primary", [c_uint32, POINTER(c_uint32), c_size_t, POINTER(c_void_p)]),
        ("dynorm_cuda_forward", [c_void_p, POINTER(ForwardArgs), c_void_p]),
    ):
        function = getattr(library, name)
        function.argtypes, function.restype = parameters, c_uint32
    library.dynorm_last_error.restype = c_char_p
    library.dynorm_version.restype = c_uint32
    version = divmod(library.dynorm_version() // 1000, 1000)
    if version != VERSION:
        raise OSError(f"{path} is version {version}; this file is for {VERSION}")
    return library


@functools.cache
def _cuda(ordinal):
    """The device with all kernels loaded, kept until the process ends."""
    device = c_void_p()
    _check(_library().dynorm_cuda_open_primary(ordinal, None, 0, byref(device)))
    return device


def _check(status):
    if status != 0:
        raise Error(status, _library().dynorm_last_error().decode())
