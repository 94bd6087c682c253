"""onnxruntime: a graph of the operators, input and output bound to memory that is there already."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from cases import ALPHA, BETA, EPS, SCALE
from . import PythonCall

onnxruntime.set_default_logger_severity(4)
TYPES = {"f32": TensorProto.FLOAT, "f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def nodes(function):
    """Operator, inputs, output and attributes of each node."""
    affine = [("Mul", "tw", "u", {}), ("Add", "ub", "y", {})]
    return {
        "rms_norm": [("SimplifiedLayerNormalization", "xw", "y", {"axis": -1, "epsilon": EPS})],
        "layer_norm": [("LayerNormalization", "xwb", "y", {"axis": -1, "epsilon": EPS})],
        "dyt": [("Mul", "xα", "s", {}), ("Tanh", "s", "t", {}), *affine],
        "dyisru": [
            ("Mul", "xx", "q", {}), ("Add", "qβ", "r", {}), ("Sqrt", "r", "s", {}),
            ("Div", "xs", "t", {}), *affine,
        ],
        "derf": [("Mul", "xα", "s", {}), ("Erf", "s", "t", {}), *affine],
        "tanh": [("Tanh", "x", "y", {})],
        "erf": [("Erf", "x", "y", {})],
    }[function]  # fmt: skip


assert SCALE == 1, "DyISRU's graph has no scale"


class Peer:
    version = onnxruntime.__version__

    def open(self, data):
        case, kind = data.case, TYPES[data.case.element]
        shape = [case.rows, case.channels]
        constants = {"α": np.array([ALPHA]), "β": np.array([BETA]), "w": data.weight, "b": data.bias}
        graph = nodes(case.function)
        used = {name for _, inputs, _, _ in graph for name in inputs}
        values = [
            numpy_helper.from_array(np.asarray(value).astype(case.dtype), name)
            for name, value in constants.items() if name in used
        ]  # fmt: skip
        model = helper.make_model(
            helper.make_graph(
                [helper.make_node(kind, list(inputs), [output], **more) for kind, inputs, output, more in graph],
                "peer",
                [helper.make_tensor_value_info("x", kind, shape)],
                [helper.make_tensor_value_info("y", kind, shape)],
                values,
            ),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=10,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = case.threads
        options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            if "NOT_IMPLEMENTED" in str(error) or "INVALID_GRAPH" in str(error):
                return None  # no kernel for this type
            raise
        binding = session.io_binding()
        binding.bind_input("x", "cpu", 0, kind if case.element == "bf16" else case.dtype, shape, data.x.ctypes.data)
        binding.bind_output("y", "cpu", 0, kind if case.element == "bf16" else case.dtype, shape, data.y.ctypes.data)
        return PythonCall(lambda: session.run_with_iobinding(binding), lambda: data.y)
