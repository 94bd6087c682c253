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

    def test_heads_of_a_packed_tensor(self):
        for norm, function in NORMS:
            packed = normals(5, 8, 64)
            before = packed.astype(np.float64)
            q, k = packed[:, :4], packed[:, 4:6]
            self.assertIs(dynorm.forward(norm, q, out=q), q)
            self.close(q, function(before[:, :4]))
            np.testing.assert_array_equal(packed[:, 4:], before[:, 4:].astype(np.float32))
            self.close(dynorm.forward(norm, k, out=np.empty(k.shape, np.float32)), function(before[:, 4:6]))

    def test_residuals(self):
        for norm, _ in NORMS:
            x, residual = normals(3, 96, dtype=BF16), normals(3, 96)
            wanted = x.astype(np.float32) + residual
            y = np.empty(x.shape, np.float32)
            total = np.empty_like(residual)
            dynorm.forward(norm, x, out=y, residual=residual, residual_sum=total)
            np.testing.assert_array_equal(total, wanted)
            np.testing.assert_array_equal(y, dynorm.forward(norm, wanted))
            again = np.empty_like(y)
            dynorm.forward(norm, x, out=again, residual=residual)
            np.testing.assert_array_equal(residual, wanted)
            np.testing.assert_array_equal(again, y)

    def test_gates(self):
        for norm, function in NORMS:
            x, z = normals(3, 96), normals(1, 3, 96)[0]
            silu = z / (1 + np.exp(-z.astype(np.float64)))
            self.close(dynorm.forward(norm, x, gate=z), function(x.astype(np.float64)) * silu)

    def test_outputs_of_8_bits(self):
        for norm, function in NORMS:
            x = normals(7, 96)
            exact = dynorm.forward(norm, x)
            elementwise = function not in (rms, layer)
            for dtype, largest in ((np.int8, 127), (ml_dtypes.float8_e4m3fn, 448)):
                out = np.empty(x.shape, dtype)
                scales = np.empty(7, np.float32)
                dynorm.forward(norm, x, out=out, scales=scales, compute_scales=True)
                # What such results make do with; a fiftieth of a step of int8.
                error = 1.5e-4 if elementwise else 0
                np.testing.assert_allclose(scales, np.abs(exact).max(-1) / np.float32(largest), error)
                groups = np.empty((7, 3), np.float32)
                dynorm.forward(norm, x, out=out, scales=groups, compute_scales=True, scale_group_size=32)
                of_groups = np.abs(exact).reshape(7, 3, 32).max(-1) / np.float32(largest)
                np.testing.assert_allclose(groups, of_groups, error)
                for given in (scales, np.float32([0.01])):
                    dynorm.forward(norm, x, out=out, scales=given)
                    ratio = np.clip(exact * (np.float32(1) / given)[:, None], -largest, largest)
                    wanted = (np.rint(ratio) if dtype is np.int8 else ratio).astype(dtype)
                    if elementwise:
                        # It may decide how a ratio is rounded.
                        off, best = (np.abs(y.astype(np.float32) - ratio) for y in (out, wanted))
                        self.assertTrue((off <= best + 2 * error * np.abs(ratio)).all())
                    else:
                        np.testing.assert_array_equal(out, wanted)

    def test_what_is_fused_must_fit(self):
        norm, x = dynorm.dyt(1.0), normals(4, 8)
        eight, scale = np.empty(x.shape, np.int8), np.ones(1, np.float32)
        for bad in (
            {"residual": normals(4, 7)},
            {"residual": normals(4, 8), "residual_sum": normals(4, 8, dtype=BF16)},
            {"gate": normals(3, 8)},
            {"out": eight, "scales": np.ones(3, np.float32)},
            {"out": eight, "scales": np.ones(1)},
            {"out": eight, "scales": scale, "compute_scales": True},
            {"out": eight, "scales": scale, "compute_scales": True, "scale_group_size": 4},
            {"out": eight, "scales": np.ones(8, np.float32), "scale_group_size": 4},
            {"gate": eight},
            {"scale_group_size": 4},
        ):
            with self.assertRaises(ValueError):
                dynorm.forward(norm, x, **bad)
        for bad in ({"out": eight}, {"scales": scale}, {"residual_sum": normals(4, 8)}):
            with self.assertRaises(dynorm.Error):
                dynorm.forward(norm, x, **bad)

    def test_shapes_at_the_edge(self):
        self.assertEqual(dynorm.forward(dynorm.dyt(1.0), normals(0, 4)).shape, (0, 4))
        self.assertEqual(dynorm.forward(dynorm.dyt(1.0), normals(4)).shape, (4,))
        self.assertEqual(dynorm.forward(dynorm.dyt(1.0), normals(3, 1)).shape, (3, 1))

    def test_what_would_need_a_copy_is_refused(self):
        norm, x = dynorm.dyt(1.0), normals(4, 4, 4)
        repeated = np.broadcast_to(x[0, 0], (3, 4))
        uneven = normals(2, 3, 5, 4)[:, :2, :3]
        for bad in (x.T, x[:, :, ::2], uneven, x[::-1], x[:, ::-1], repeated, x.astype(float), x[0, 0, 0]):
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


class Backward(unittest.TestCase):
    def test_gradients_are_the_slope(self):
        step = 1e-5
        for norm, function in NORMS:
            for dtype in TOLERANCE:
                x, dy = normals(3, 5, 70, dtype=dtype), normals(1, 3, 5, 70, dtype=dtype)[0]
                weight = normals(70, dtype=BF16)
                got = dynorm.backward(norm, x, dy, weight=weight, weight_offset=1.0)
                x, dy, weight = (array.astype(np.float64) for array in (x, dy, weight))
                df = dy * (weight + 1)
                # Along one direction for each row.
                along = np.random.default_rng(7).normal(size=x.shape)
                slope = (df * (function(x + step * along) - function(x - step * along))).sum(-1) / (2 * step)
                found = (got.dx.astype(np.float64) * along).sum(-1)
                size = np.abs(got.dx.astype(np.float64) * along).sum(-1)
                self.assertLess((np.abs(found - slope) / (1 + size)).max(), max(TOLERANCE[np.dtype(dtype)], 1e-5))
                np.testing.assert_allclose(got.d_weight, (dy * function(x)).sum((0, 1)), 1e-4, 1e-4)
                np.testing.assert_allclose(got.d_bias, dy.sum((0, 1)), 1e-4, 1e-4)

    def test_parameters(self):
        x, dy = normals(4, 50), normals(1, 4, 50)[0]
        wide = x.astype(np.float64)
        scale = dynorm.backward(dynorm.dyisru(4.0, 2.0), x, dy).d_parameters[1]
        np.testing.assert_allclose(scale, (dy * wide / np.sqrt(4 + wide * wide)).sum(), 1e-4)
        alpha = dynorm.backward(dynorm.dyt(0.5), x, dy).d_parameters
        np.testing.assert_allclose(alpha, [(dy * wide / np.cosh(0.5 * wide) ** 2).sum()], 1e-4)
        self.assertEqual(dynorm.backward(dynorm.derf(0.5), x, dy).d_parameters.shape, (2,))
        self.assertIsNone(dynorm.backward(dynorm.rms_norm(1e-5), x, dy).d_parameters)

    def test_in_place_parallel_and_heads_give_the_same_bits(self):
        for norm, _ in NORMS:
            x, dy = normals(512, 4096), normals(1, 512, 4096)[0]
            serial, parallel = (dynorm.backward(norm, x, dy, parallel=way) for way in (False, True))
            for one, other in zip(serial, parallel):
                np.testing.assert_array_equal(one, other)
            only = dynorm.backward(norm, x, dy, out=dy, wanted=())
            self.assertIs(only.dx, dy)
            self.assertEqual(only[1:], (None, None, None))
            np.testing.assert_array_equal(dy, serial.dx)
            packed = normals(5, 8, 64)
            q, dq = packed[:, :4], normals(5, 4, 64)
            got = dynorm.backward(norm, q, dq)
            for one, other in zip(got, dynorm.backward(norm, q.copy(), dq)):
                np.testing.assert_array_equal(one, other)

    def test_what_does_not_fit_is_refused(self):
        norm, x = dynorm.dyt(1.0), normals(4, 8)
        for dy, bad in (
            (normals(4, 7), {}),
            (normals(4, 8, dtype=BF16), {}),
            (x, {"weight": normals(7)}),
            (x, {"out": np.empty((4, 8), np.float16)}),
        ):
            with self.assertRaises(ValueError):
                dynorm.backward(norm, x, dy, **bad)
        with self.assertRaises(dynorm.Error):
            dynorm.backward(norm, x, normals(4, 8), out=x)


if __name__ == "__main__":
    unittest.main()
