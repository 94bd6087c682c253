"""A case to measure: its data, and what the results should be."""

import ctypes
import math
import mmap
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from plan import FUNCTIONS, TYPES

EPS, ALPHA, BETA, SCALE = 1e-5, 0.5, 4.0, 1.0

DTYPES = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
}
# How far a result may be off, relative to the reference and to a typical value of its row. This is
# to see that a peer computes the same thing, not how well.
TOLERANCE = {"f32": 2e-4, "f16": 4e-3, "bf16": 3e-2}

WEIGHTS = {"rms_norm": "w", "tanh": "", "erf": ""}  # of the others: weight and bias

# A call as short as possible: what is left is the cost of calling.
SMALLEST = (1, 64)


@dataclass(frozen=True)
class Case:
    function: str
    element: str
    rows: int
    channels: int
    threads: int

    @property
    def dtype(self):
        return DTYPES[self.element]

    @property
    def has_weight(self):
        return "w" in WEIGHTS.get(self.function, "wb")

    @property
    def has_bias(self):
        return "b" in WEIGHTS.get(self.function, "wb")


class Problem(ctypes.Structure):
    """`struct problem` of native/peer.h."""

    _fields_ = [
        ("function", ctypes.c_int32),
        ("element", ctypes.c_int32),
        ("rows", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("x", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("threads", ctypes.c_int32),
        ("eps", ctypes.c_float),
        ("alpha", ctypes.c_float),
        ("beta", ctypes.c_float),
        ("scale", ctypes.c_float),
    ]


class Buffers:
    """One block of memory for all the arrays of the largest case, in huge pages where the system
    gives them, so that no contender has better pages than another."""

    # y starts about half a page from x: as the other end of the page, the same place or one shortly
    # after it would make loads wait for stores, for every contender.
    GAP = 2368

    def __init__(self, largest_bytes):
        size = 3 * largest_bytes + (8 << 20)
        self.map = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self.map.madvise(mmap.MADV_HUGEPAGE)
        self.bytes = np.frombuffer(self.map, np.uint8)
        self.bytes[:] = 1
        self.start = -self.bytes.ctypes.data % (2 << 20)

    def data(self, case):
        """x, weight, bias and y of `case`: x is random, of standard deviation 2."""
        random = np.random.default_rng(case.rows * 100003 + case.channels)
        place = self.start

        def take(shape, values):
            nonlocal place
            size = int(np.prod(shape)) * case.dtype.itemsize
            array = self.bytes[place : place + size].view(case.dtype).reshape(shape)
            array[...] = values
            place += -(-size // 64) * 64 + self.GAP
            return array

        shape = (case.rows, case.channels)
        x = take(shape, 0)
        some = (2 * random.standard_normal(min(x.size, 1 << 20), np.float32)).astype(case.dtype)
        x[...] = np.resize(some, shape)
        weight = take(case.channels, random.uniform(0.5, 1.5, case.channels)) if case.has_weight else None
        bias = take(case.channels, random.uniform(-0.5, 0.5, case.channels)) if case.has_bias else None
        return Data(case, x, weight, bias, take(shape, 0))


@dataclass
class Data:
    case: Case
    x: np.ndarray
    weight: np.ndarray | None
    bias: np.ndarray | None
    y: np.ndarray

    def problem(self):
        address = lambda array: None if array is None else array.ctypes.data
        case = self.case
        return Problem(
            FUNCTIONS.index(case.function), TYPES.index(case.element), case.rows, case.channels,
            address(self.x), address(self.weight), address(self.bias), address(self.y),
            case.threads, EPS, ALPHA, BETA, SCALE,
        )  # fmt: skip

    def check(self, y):
        """Raises unless the first and last rows of `y` are the function's."""
        rows = sorted({0, 1, self.case.rows // 2, self.case.rows - 1} & set(range(self.case.rows)))
        x = self.x[rows].astype(np.float64)
        want = reference(self.case.function, x)
        if self.weight is not None:
            want = want * self.weight.astype(np.float64)
        if self.bias is not None:
            want = want + self.bias.astype(np.float64)
        got = np.asarray(y).reshape(self.x.shape)[rows].astype(np.float64)
        tolerance = TOLERANCE[self.case.element]
        error = np.max(np.abs(got - want) / (np.abs(want) + np.sqrt(np.mean(want**2))))
        if not error < tolerance:
            raise ValueError(f"wrong result: relative error {error:.1e}")


def reference(function, x):
    match function:
        case "rms_norm":
            return x / np.sqrt(np.mean(x * x, axis=1, keepdims=True) + EPS)
        case "layer_norm":
            return (x - np.mean(x, axis=1, keepdims=True)) / np.sqrt(np.var(x, axis=1, keepdims=True) + EPS)
        case "dyt":
            return np.tanh(ALPHA * x)
        case "dyisru":
            return SCALE * x / np.sqrt(BETA + x * x)
        case "derf":
            return np.vectorize(math.erf)(ALPHA * x)
        case "tanh":
            return np.tanh(x)
        case "erf":
            return np.vectorize(math.erf)(x)
    raise ValueError(function)
