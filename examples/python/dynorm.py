"""dynorm from Python: ctypes over include/dynorm.h. No tensor is copied.

    import numpy as np, dynorm
    y = dynorm.forward(dynorm.rms_norm(1e-5), x, weight=w)
    # residual += x, and the norm of that in fp8 with a scale for each row
    dynorm.forward(norm, x, weight=w, residual=residual, out=fp8, scales=scales, compute_scales=True)
    dx, d_weight, d_bias, d_parameters = dynorm.backward(norm, x, dy, weight=w)

Arrays may be numpy's (float32, float16, and bfloat16 of the package ml_dtypes) or PyTorch's, on the
CPU or on a CUDA device, where the work goes on PyTorch's current stream. The shared library is
looked for where DYNORM_LIBRARY says, else where the system looks for libraries.
"""

import ctypes
import ctypes.util
import functools
import math
import os
import typing
from ctypes import POINTER, byref, c_char_p, c_float, c_size_t, c_uint32, c_void_p

VERSION = (0, 1)
ELEMENTS = {"float32": 1, "float16": 2, "bfloat16": 3}
# Of out alone, with scales.
QUANTIZED = {"int8": 4, "float8_e4m3fn": 5}
SCALE_GIVEN, SCALE_GIVEN_PER_ROW, SCALE_COMPUTED, SCALE_COMPUTED_PER_GROUP = 1, 2, 3, 4
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
        ("residual", c_void_p),
        ("residual_sum", c_void_p),
        ("residual_row_stride", c_size_t),
        ("residual_sum_row_stride", c_size_t),
        ("z", c_void_p),
        ("z_row_stride", c_size_t),
        ("residual_element", c_uint32),
        ("z_element", c_uint32),
        ("heads", c_size_t),
        ("x_token_stride", c_size_t),
        ("y_token_stride", c_size_t),
        ("residual_token_stride", c_size_t),
        ("residual_sum_token_stride", c_size_t),
        ("z_token_stride", c_size_t),
        ("scales", c_void_p),
        ("scale_mode", c_uint32),
        ("scale_group_size", c_uint32),
        ("statistics", c_void_p),
    ]


class BackwardArgs(ctypes.Structure):
    """dynorm_backward_args."""

    _fields_ = [
        ("size", c_size_t),
        ("norm", Norm),
        ("rows", c_size_t),
        ("channels", c_size_t),
        ("x", c_void_p),
        ("dy", c_void_p),
        ("dx", c_void_p),
        ("x_row_stride", c_size_t),
        ("dy_row_stride", c_size_t),
        ("dx_row_stride", c_size_t),
        ("element", c_uint32),
        ("weight_element", c_uint32),
        ("weight", c_void_p),
        ("weight_offset", c_float),
        ("isa", c_uint32),
        ("d_weight", c_void_p),
        ("d_bias", c_void_p),
        ("d_parameters", c_void_p),
        ("workspace", c_void_p),
        ("workspace_len", c_size_t),
        ("heads", c_size_t),
        ("x_token_stride", c_size_t),
        ("dy_token_stride", c_size_t),
        ("dx_token_stride", c_size_t),
    ]


class Gradients(typing.NamedTuple):
    """What `backward` gives; None for what was not wanted, or does not exist."""

    dx: typing.Any
    d_weight: typing.Any
    d_bias: typing.Any
    d_parameters: typing.Any


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
    norm,
    x,
    *,
    out=None,
    weight=None,
    bias=None,
    weight_offset=0.0,
    residual=None,
    residual_sum=None,
    gate=None,
    scales=None,
    compute_scales=False,
    scale_group_size=0,
    parallel=False,
    isa="current",
    flags=0,
):
    """norm over the last dimension of x, written to out, which may be x, and returned.

    out has x's shape and may have another type; without it a new array like x is made. weight and
    bias are one-dimensional. residual, of x's shape, has x added to it, in place or, where there is
    one, into residual_sum; the function is taken of the sum. The result is multiplied by silu(gate).
    An out of int8 or float8_e4m3fn needs scales, an array of float32: of one element for all, or of
    one for each row, which are read, or written with compute_scales; or, on the CPU, written with one for
    each scale_group_size channels of a row. parallel uses the library's threads on the CPU.

    Rows, all dimensions but the last, are equally spaced; or, in x of at least three dimensions,
    those of the last but one are, and the others by themselves: heads inside a larger tensor.

    Raises ValueError for arrays that would have to be copied, and Error for what the library refuses.
    The interpreter's lock is released during the call.
    """
    if out is None:
        out = _empty_like(x)
    tensors = {"x": x, "y": out, "residual": residual, "residual_sum": residual_sum, "z": gate}
    tensors = {name: _Rows(name, given) for name, given in tensors.items() if given is not None}
    source = tensors["x"]
    for name, rows in tensors.items():
        if rows.shape != source.shape:
            raise ValueError(f"{NAMES.get(name, name)} has shape {rows.shape}, x has {source.shape}")
    operands = {}
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None:
            operands[name] = _operand(name, given, source)
    if scales is not None:
        operands["scales"] = _Rows("scales", scales)
    devices = {array.device for array in (*tensors.values(), *operands.values())}
    if len(devices) > 1:
        raise ValueError(f"arrays are on different devices: {devices}")

    args = ForwardArgs(
        size=ctypes.sizeof(ForwardArgs),
        norm=norm,
        rows=source.rows,
        channels=source.channels,
        weight_offset=weight_offset,
        isa=ISAS[isa],
        flags=flags,
    )
    _place(args, tensors)
    for name, rows in tensors.items():
        # The sum is of the residual's type.
        setattr(args, f"{name.removesuffix('_sum')}_element", rows.element)
    if {"residual", "residual_sum"} <= tensors.keys():
        if tensors["residual"].element != tensors["residual_sum"].element:
            raise ValueError("residual_sum is not of residual's type")
    for name, array in operands.items():
        setattr(args, name, array.pointer)
        if name != "scales":
            setattr(args, f"{name}_element", array.element)
    if scales is not None:
        groups = -(-source.channels // scale_group_size) if scale_group_size > 0 else None
        args.scale_mode = _scale_mode(operands["scales"], source.rows, groups, compute_scales)
        args.scale_group_size = scale_group_size
    elif scale_group_size:
        raise ValueError("groups need scales")
    if source.device is not None:
        element = tensors.get("residual", source).element
        device = _cuda(source.device, args.norm.function, element)
        _check(_library().dynorm_cuda_forward(device, byref(args), _stream(source.device)))
    elif parallel:
        _check(_library().dynorm_forward_parallel(byref(args)))
    else:
        _check(_library().dynorm_forward(byref(args)))
    return out


# Parameters with gradients; the other functions have none.
PARAMETERS = {FUNCTIONS["dyt"]: 1, FUNCTIONS["dyisru"]: 2, FUNCTIONS["derf"]: 2}


def backward(
    norm,
    x,
    dy,
    *,
    out=None,
    weight=None,
    weight_offset=0.0,
    wanted=("weight", "bias", "parameters"),
    parallel=False,
    isa="current",
):
    """The gradients of forward(norm, x, weight=..., bias=...) for dy, those of its result.

    That of x goes to out, which may be dy, or to a new array like x; x, dy and out are of one type, and of one shape. The others,
    those of weight, bias and parameters (alpha of DyT, beta and scale of DyISRU, alpha and shift of Derf) as far as
    they are wanted, are new arrays of float32.

    Rows and errors are as for `forward`.
    """
    if out is None:
        out = _empty_like(x)
    tensors = {name: _Rows(name, given) for name, given in (("x", x), ("dy", dy), ("dx", out))}
    source = tensors["x"]
    for name, rows in tensors.items():
        if (rows.shape, rows.element) != (source.shape, source.element):
            raise ValueError(f"{NAMES.get(name, name)} is not of x's shape and type")
    devices = {rows.device for rows in tensors.values()}
    args = BackwardArgs(
        size=ctypes.sizeof(BackwardArgs),
        norm=norm,
        rows=source.rows,
        channels=source.channels,
        element=source.element,
        weight_offset=weight_offset,
        isa=ISAS[isa],
    )
    _place(args, tensors)
    if weight is not None:
        operand = _operand("weight", weight, source)
        args.weight, args.weight_element = operand.pointer, operand.element
        devices.add(operand.device)
    if len(devices) > 1:
        raise ValueError(f"arrays are on different devices: {devices}")
    parameters = PARAMETERS.get(norm.function, 0)
    counts = {"weight": source.channels, "bias": source.channels, "parameters": parameters}
    sums = {name: _floats(x, counts[name]) for name in wanted if counts[name] > 0}
    for name, array in sums.items():
        setattr(args, f"d_{name}", _Rows(name, array).pointer)
    library, needed = _library(), c_size_t()
    on_device = source.device is not None
    find = library.dynorm_cuda_backward_workspace if on_device else library.dynorm_backward_workspace
    _check(find(byref(args), byref(needed)))
    if needed.value > 0:
        workspace = _floats(x, needed.value)
        args.workspace, args.workspace_len = _Rows("workspace", workspace).pointer, needed.value
    if on_device:
        device = _cuda_gradients(source.device, norm.function, source.element)
        _check(library.dynorm_cuda_backward(device, byref(args), _stream(source.device)))
    else:
        _check((library.dynorm_backward_parallel if parallel else library.dynorm_backward)(byref(args)))
    return Gradients(out, *(sums.get(name) for name in counts))


# What the arguments of `forward` and `backward` are called, where not as the struct's fields.
NAMES = {"y": "out", "z": "gate", "dx": "out"}


def _place(args, tensors):
    """Writes where the rows of each are."""
    if any(rows.token_stride for rows in tensors.values()):
        args.heads = tensors["x"].shape[-2]
    for name, rows in tensors.items():
        setattr(args, name, rows.pointer)
        setattr(args, f"{name}_row_stride", rows.stride)
        setattr(args, f"{name}_token_stride", rows.token_stride)


def _operand(name, given, source):
    """One value for each channel."""
    if tuple(given.shape) != (source.channels,):
        raise ValueError(f"{name} has shape {tuple(given.shape)} instead of ({source.channels},)")
    return _Rows(name, given)


def _scale_mode(scales, rows, groups, compute):
    count = scales.rows * scales.channels
    if scales.element != ELEMENTS["float32"] or scales.stride != scales.channels:
        raise ValueError("scales must be float32, side by side")
    if groups is not None:
        if not compute:
            raise ValueError("scales of groups are computed: compute_scales=True")
        if count != rows * groups:
            raise ValueError(f"{rows} rows of {groups} groups need {rows * groups} scales, not {count}")
        return SCALE_COMPUTED_PER_GROUP
    if count != rows and (compute or count != 1):
        raise ValueError(f"there are {count} scales for {rows} rows")
    if compute:
        return SCALE_COMPUTED
    return SCALE_GIVEN if count == 1 else SCALE_GIVEN_PER_ROW


class _Rows:
    """An array of numpy's or PyTorch's as rows of elements that lie side by side."""

    def __init__(self, field, array):
        name = NAMES.get(field, field)
        shape = tuple(array.shape)
        if hasattr(array, "data_ptr"):
            self.pointer, strides = array.data_ptr(), array.stride()
            dtype = str(array.dtype).removeprefix("torch.")
            self.device = array.device.index if array.is_cuda else None
        else:
            interface = array.__array_interface__
            if field in ("y", "residual_sum", "dx") and interface["data"][1]:
                raise ValueError(f"{name} is read-only")
            self.pointer, self.device, dtype = interface["data"][0], None, array.dtype.name
            if any(stride % array.itemsize for stride in array.strides):
                raise ValueError(f"{name} has elements that are not spaced by whole elements")
            strides = tuple(stride // array.itemsize for stride in array.strides)
        elements = ELEMENTS | QUANTIZED if field == "y" else ELEMENTS
        if dtype not in elements:
            raise ValueError(f"{name} is of {dtype}; it must be one of {', '.join(elements)}")
        self.element = elements[dtype]
        if not shape:
            raise ValueError(f"{name} has no dimensions")
        self.shape = shape
        self.channels, self.rows = shape[-1], math.prod(shape[:-1])
        if strides[-1] != 1 and self.channels > 1 and self.rows > 0:
            raise ValueError(f"the last dimension of {name} is not contiguous")
        self.token_stride = 0
        try:
            self.stride = _row_stride(name, shape[:-1], strides[:-1]) or self.channels
        except ValueError:
            if len(shape) < 3:
                raise
            self.stride = _row_stride(name, shape[-2:-1], strides[-2:-1]) or self.channels
            self.token_stride = _row_stride(name, shape[:-2], strides[:-2]) or 0


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


def _floats(like, count):
    """A new array of float32, of the kind that another is of."""
    if hasattr(like, "data_ptr"):
        import torch

        return like.new_empty(count, dtype=torch.float32)
    import numpy

    return numpy.empty(count, numpy.float32)


@functools.cache
def _library():
    path = os.environ.get("DYNORM_LIBRARY") or ctypes.util.find_library("dynorm")
    if path is None:
        raise OSError("no dynorm library is installed, and DYNORM_LIBRARY names none")
    library = ctypes.CDLL(path)
    for name, parameters in (
        ("dynorm_forward", [POINTER(ForwardArgs)]),
        ("dynorm_forward_parallel", [POINTER(ForwardArgs)]),
        ("dynorm_backward", [POINTER(BackwardArgs)]),
        ("dynorm_backward_parallel", [POINTER(BackwardArgs)]),
        ("dynorm_backward_workspace", [POINTER(BackwardArgs), POINTER(c_size_t)]),
        ("dynorm_cuda_open_primary", [c_uint32, *[POINTER(c_uint32), c_size_t] * 2, POINTER(c_void_p)]),
        ("dynorm_cuda_load_gradients", [c_void_p, *[POINTER(c_uint32), c_size_t] * 2]),
        ("dynorm_cuda_forward", [c_void_p, POINTER(ForwardArgs), c_void_p]),
        ("dynorm_cuda_backward", [c_void_p, POINTER(BackwardArgs), c_void_p]),
        ("dynorm_cuda_backward_workspace", [POINTER(BackwardArgs), POINTER(c_size_t)]),
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
def _cuda(ordinal, function, element):
    """The device with the kernels of a function for a type, kept until the process ends. A first call takes as
    long as the driver takes to compile them, and cannot be captured into a graph."""
    device = c_void_p()
    _check(_library().dynorm_cuda_open_primary(ordinal, *_lists(function, element), byref(device)))
    return device


@functools.cache
def _cuda_gradients(ordinal, function, element):
    """A device with the kernels of its gradients, of its own: none that others use may have more loaded into it."""
    device, library = c_void_p(), _library()
    nothing = (byref(c_uint32()), 0)
    _check(library.dynorm_cuda_open_primary(ordinal, *nothing, *nothing, byref(device)))
    _check(library.dynorm_cuda_load_gradients(device, *_lists(function, element)))
    return device


def _lists(function, element):
    return byref(c_uint32(function)), 1, byref(c_uint32(element)), 1


def _stream(ordinal):
    import torch

    return torch.cuda.current_stream(ordinal).cuda_stream


def _check(status):
    if status != 0:
        raise Error(status, _library().dynorm_last_error().decode())
