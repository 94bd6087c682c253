"""dynorm.py against PyTorch 2.4 or newer, on the CPU and, where there is one, on a CUDA device:
DYNORM_LIBRARY=.../libdynorm.so python examples/python/check_torch.py

On the device the library must have been built with the feature cuda; a library without it, or no
device, is said in one line and not an error.
"""

import sys

import dynorm
import torch
import torch.nn.functional as F

# What rounding to a type may make of a number near 1, both sides rounding once or more.
TOLERANCE = {torch.float32: 4e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}

NORMS = [
    ("rms_norm", dynorm.rms_norm(1e-5), lambda x: F.rms_norm(x, x.shape[-1:], eps=1e-5)),
    ("layer_norm", dynorm.layer_norm(1e-5), lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-5)),
    ("dyt", dynorm.dyt(0.5), lambda x: torch.tanh(0.5 * x)),
    ("dyisru", dynorm.dyisru(4.0, 2.0), lambda x: 2 * x / torch.sqrt(4 + x * x)),
    ("derf", dynorm.derf(0.5, 0.25), lambda x: torch.erf(0.5 * x + 0.25)),
]


def close(y, wanted, what):
    error = ((y.float() - wanted.float()).abs() / (1 + wanted.float().abs())).max().item()
    if not error <= TOLERANCE[y.dtype]:
        sys.exit(f"{what}: off by {error}")


def check(device):
    for name, norm, function in NORMS:
        for dtype in TOLERANCE:
            what = f"{name} {dtype} {device}"
            x = torch.randn(7, 3, 640, device=device).to(dtype)
            weight = torch.randn(640, device=device).to(dtype)
            bias = torch.randn(640, device=device)
            wanted = function(x.float()) * weight.float() + bias
            out = dynorm.forward(norm, x, weight=weight, bias=bias)
            close(out, wanted, what)

            # Columns of a packed tensor, in place.
            packed = torch.randn(7, 640 * 3, device=device).to(dtype)
            before = packed.clone()
            middle = packed[:, 640:1280]
            dynorm.forward(norm, middle, out=middle)
            close(middle, function(before[:, 640:1280].float()), f"{what}, in place")
            assert torch.equal(packed[:, :640], before[:, :640]), what
            assert torch.equal(packed[:, 1280:], before[:, 1280:]), what
    print(f"{device}: all functions agree with PyTorch")


def check_streams():
    """On PyTorch's current stream, also while that is captured into a graph."""
    norm, x = dynorm.rms_norm(1e-5), torch.randn(64, 4096, device="cuda")
    out = torch.zeros_like(x)
    dynorm.forward(norm, x, out=out)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        dynorm.forward(norm, x, out=out)
    x.mul_(3).add_(1)
    graph.replay()
    close(out, F.rms_norm(x, x.shape[-1:], eps=1e-5), "in a graph")
    print("cuda: the captured graph agrees")


def main():
    torch.manual_seed(0)
    print(f"PyTorch {torch.__version__}")
    check("cpu")
    if not torch.cuda.is_available():
        print("cuda: PyTorch sees no device")
        return
    try:
        dynorm.forward(dynorm.dyt(1.0), torch.zeros(1, 1, device="cuda"))
    except dynorm.Error as error:
        print(f"cuda: {error}")
        return
    check("cuda")
    check_streams()


if __name__ == "__main__":
    main()
