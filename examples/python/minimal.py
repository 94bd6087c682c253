"""RMSNorm with a weight, then DyT in place, over numpy arrays."""

import dynorm
import numpy as np

x = np.random.default_rng(1).standard_normal((2, 4096), dtype=np.float32)
weight = np.ones(4096, dtype=np.float16)  # element types mix freely

y = dynorm.forward(dynorm.rms_norm(1e-5), x, weight=weight)
print("RMSNorm", y[0, :4])
dynorm.forward(dynorm.dyt(0.5), y, out=y, parallel=True)
print("DyT", y[0, :4])
