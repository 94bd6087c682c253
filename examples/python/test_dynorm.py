"""dynorm.py against numpy: DYNORM_LIBRARY=.../libdynorm.so python examples/python/test_dynorm.py"""

import math
import threading
import unittest

import dynorm
import ml_dtypes
import numpy as np

BF16 = np.dtype(ml_dtypes.bfloat16)
# What rounding to a type may make of a number near 1; the functions' own errors are smaller.
TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float16): 1e-3, BF16: 8e-3}


def rms(x):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)


def layer(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


NORMS = [
    (dynorm.rms_norm(1e-5), rms),
    (dynorm.layer_norm(1e-5), layer),
    (dynorm.dyt(0.5), lambda x: np.tanh(0.5 * x)),
    (dynorm.dyisru(4.0, 2.0), lambda x: 2 * x / np.sqrt(4 + x * x)),
    (dynorm.derf(0.5, 0.25), lambda x: np.vectorize(math.erf)(0.5 * x + 0.25)),
]


def normals(*shape, dtype=np.float32):
    return np.random.default_rng(sum(shape)).normal(0.3, 1.5, shape).astype(dtype)


class Forward(unittest.TestCase):
    def close(self, y, wanted):
        error = np.abs(y.astype(np.float64) - wanted)
        self.assertLess((error / (1 + np.abs(wanted))).max(), TOLERANCE[y.dtype])

    def test_every_function_and_type(self):
        for norm, function in NORMS:
            for x_type in TOLERANCE:
                for y_type in TOLERANCE:
                    x = normals(3, 5, 70, dtype=x_type)
                    weight, bias = normals(70, dtype=y_type), normals(70, dtype=x_type)
                    out = np.empty(x.shape, y_type)
                    y = dynorm.forward(norm, x, out=out, weight=weight, bias=bias, weight_offset=1.0)
                    self.assertIs(y, out)
                    wanted = function(x.astype(np.float64)) * (weight.astype(np.float64) + 1)
                    self.close(y, wanted + bias.astype(np.float64))

    def test_in_place_and_parallel_give_the_same_bits(self):
        for norm, _ in NORMS:
            x = normals(8, 1 << 18)
            y = dynorm.forward(norm, x)
            np.testing.assert_array_equal(dynorm.forward(norm, x, parallel=True), y)
            self.assertIs(dynorm.forward(norm, x, out=x), x)
            np.testing.assert_array_equal(x, y)

    def test_views_are_not_copied(self):
        packed = normals(2, 6, 96)
        before = packed.copy()
        head = packed[:, :, 32:64]
        dynorm.forward(dynorm.rms_norm(1e-5), head, out=head)
        self.close(head, rms(before[:, :, 32:64].astype(np.float64)))
        np.testing.assert_array_equal(packed[:, :, :32], before[:, :, :32])
        np.testing.assert_array_equal(packed[:, :, 64:], before[:, :, 64:])

    def test_shapes_at_the_edge(self):
        self.assertEqual(dynorm.forward(dynorm.dyt(1.0), normals(0, 4)).shape, (0, 4))
        self.assertEqual(dynorm.forward(dynorm.dyt(1.0), normals(4)).shape, (4,))
        self.assertEqual(dynorm.forward(dynorm.dyt(1.0), normals(3, 1)).shape, (3, 1))

    def test_what_would_need_a_copy_is_refused(self):
        norm, x = dynorm.dyt(1.0), normals(4, 4, 4)
        repeated = np.broadcast_to(x[0, 0], (3, 4))
        for bad in (x.T, x[:, :, ::2], x[:, :3], x[::-1], repeated, x.astype(float), x[0, 0, 0]):
            with self.assertRaises(ValueError):
                dynorm.forward(norm, np.asarray(bad))
        with self.assertRaises(ValueError):
            dynorm.forward(norm, x, weight=x[0, :, 0])
        frozen = x.copy()
        frozen.flags.writeable = False
        with self.assertRaises(ValueError):
            dynorm.forward(norm, x, out=frozen)

    def test_errors_of_the_library_say_what_is_wrong(self):
        x = normals(2, 4)
        with self.assertRaises(dynorm.Error) as caught:
            dynorm.forward(dynorm.dyisru(0.0), x)
        self.assertEqual(str(caught.exception), "beta is 0; it must be finite and above 0")
        with self.assertRaises(dynorm.Error):
            dynorm.forward(dynorm.dyt(1.0), x[:, :2], out=x[:, 1:3])
        with self.assertRaises(ValueError):
            dynorm.forward(dynorm.dyt(1.0), x, weight=normals(3))

    def test_threads_of_python(self):
        x = normals(64, 512)
        wanted = dynorm.forward(dynorm.derf(0.5), x)
        results = [None] * 4

        def work(index):
            for _ in range(50):
                results[index] = dynorm.forward(dynorm.derf(0.5), x)

        team = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in team:
            thread.start()
        for thread in team:
            thread.join()
        for result in results:
            np.testing.assert_array_equal(result, wanted)


if __name__ == "__main__":
    unittest.main()
