"""What can be measured: names only, for all that need them."""

# In the order of native/peer.h. tanh and erf are DyT and Derf with alpha 1 and no weights: what
# libraries of functions offer.
FUNCTIONS = ["rms_norm", "layer_norm", "dyt", "dyisru", "derf", "tanh", "erf"]
TYPES = ["f32", "f16", "bf16"]

# Rows and channels, and where input and output of f32 fit on a processor with 1 MiB of L2.
SHAPES = {
    (1, 4096): "L1",
    (16, 4096): "L2",
    (512, 4096): "L3",
    (4096, 4096): "DRAM",
    (16384, 768): "DRAM",
}


def shape(text):
    """`16x4096` as numbers."""
    rows, channels = map(int, text.split("x"))
    return rows, channels
