"""dynorm.py's gradients on the emulated device, with the stand-in for PyTorch, beside those of the CPU.
try_bundle.py runs it."""

import dynorm
import numpy
import torch

NORMS = [dynorm.rms_norm(1e-5), dynorm.layer_norm(1e-5), dynorm.dyt(0.5), dynorm.dyisru(4.0, 2.0), dynorm.derf(0.5, 0.25)]


def close(what, given, wanted):
    if wanted is None:
        assert given is None, what
        return
    given, wanted = (numpy.asarray(array, numpy.float32) for array in (given.array, wanted))
    # Sums of rows cancel.
    off = abs(given - wanted).max() / (1 + abs(wanted).max())
    tolerance = 2**-8 if what.endswith("bfloat16") else 2**-18
    assert off <= tolerance, f"{what}: off by {off}"


def main():
    for norm in NORMS:
        for dtype in (torch.float32, torch.bfloat16):
            for rows, channels in [(5, 24), (3, 37)]:
                x, dy = (torch.randn(rows, channels, dtype=dtype, device="cuda") for _ in range(2))
                weight = torch.rand(channels, dtype=torch.float32, device="cuda")
                given = dynorm.backward(norm, x, dy, weight=weight, weight_offset=1.0)
                wanted = dynorm.backward(norm, x.array, dy.array, weight=weight.array, weight_offset=1.0)
                for name, one, other in zip(given._fields, given, wanted):
                    close(f"function {norm.function}, {name}, {dtype}", one, other)
    print("dynorm.py: gradients on the device are those of the CPU")


if __name__ == "__main__":
    main()
