#!/usr/bin/env python3
"""Fits the polynomials of src/cpu/math and writes src/cpu/math/tables.rs.

    python3 scripts/fit_tables.py > src/cpu/math/tables.rs

Needs mpmath (pip install mpmath). Deterministic; takes about a minute.

Every fit is a minimax fit (Remez's exchange on a dense grid; for quotients Lawson's weights) of the error
in ulps of the result. Coefficients are rounded to f32 one after the other, from the constant term up, and
what follows is fitted anew to what each rounding left over; but for those of results of few digits, which are
rounded all at once.
"""

import math
import struct

from mpmath import mp, mpf

mp.prec = 100
LN2 = mp.log(2)
# How far beyond its ends a piece is fitted, as a fraction of its length: arguments are rounded, so that one
# can fall a little outside.
MARGIN = 1e-5
# Where the last of 16 or 32 pieces ends, in pieces from its middle: before another would begin.
REACH = 0.49


def bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def from_bits(b):
    return struct.unpack("<f", struct.pack("<I", b))[0]


def f32(x):
    """x rounded to f32; exact to the nearest for everything fitted here (double in between)."""
    return struct.unpack("<f", struct.pack("<f", float(x)))[0]


def ulp(x):
    """The spacing of f32 at x, without the step down to subnormals."""
    return 2.0 ** (math.frexp(float(x))[1] - 24)


def solve(matrix, rhs):
    """Gauss elimination with pivoting."""
    n = len(rhs)
    m = [row[:] + [v] for row, v in zip(matrix, rhs)]
    for i in range(n):
        p = max(range(i, n), key=lambda r: abs(m[r][i]))
        m[i], m[p] = m[p], m[i]
        for r in range(i + 1, n):
            factor = m[r][i] / m[i][i]
            for k in range(i, n + 1):
                m[r][k] -= factor * m[i][k]
    x = [0.0] * n
    for i in reversed(range(n)):
        x[i] = (m[i][n] - sum(m[i][k] * x[k] for k in range(i + 1, n))) / m[i][i]
    return x


def remez(t, target, weight, n):
    """The n coefficients of p with the least max of |p(t) - target| * weight over a grid."""
    last = len(t) - 1
    nodes = [round(last * (1 - math.cos(math.pi * k / n)) / 2) for k in range(n + 1)]
    best = None
    for _ in range(30):
        rows = [[t[i] ** k for k in range(n)] + [(-1) ** j / weight[i]] for j, i in enumerate(nodes)]
        solution = solve(rows, [target[i] for i in nodes])
        c, levelled = solution[:n], abs(solution[n])
        error = []
        for i in range(last + 1):
            p = 0.0
            for k in reversed(range(n)):
                p = p * t[i] + c[k]
            error.append((p - target[i]) * weight[i])
        worst = max(map(abs, error))
        if best is None or worst < best[0]:
            best = (worst, c)
        if worst <= levelled * 1.0001:
            break
        nodes = worst_of_runs(error, n + 1)
        if len(nodes) < n + 1:
            break
    return best


def worst_of_runs(error, most):
    """Of each run of errors of the same sign where it is worst; of at most so many runs."""
    runs = []
    for i, e in enumerate(error):
        if runs and (error[runs[-1]] > 0) == (e > 0):
            if abs(e) > abs(error[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > most:
        ends = abs(error[runs[0]]) < abs(error[runs[-1]])
        runs.pop(0 if ends else -1)
    return runs


def grid(low, high, n=240):
    """Points that lie denser towards the ends."""
    return [low + (high - low) * (1 - math.cos(math.pi * i / (n - 1))) / 2 for i in range(n)]


def fit(f, points, center, degree, fixed, weight):
    """f32 coefficients of a polynomial in (z - center) for f; the first ones are given.

    Returns them with the largest weighted error of the rounded polynomial.
    """
    t = [mpf(z) - center for z in points]
    value = [f(mpf(z)) for z in points]
    coefficients = list(fixed)
    while len(coefficients) <= degree:
        done = len(coefficients)
        rest = []
        for u, v in zip(t, value):
            for k, c in enumerate(coefficients):
                v = v - mpf(c) * u**k
            rest.append(v)
        use = [i for i in range(len(t)) if t[i] != 0]
        _, c = remez(
            [float(t[i]) for i in use],
            [float(rest[i] / t[i] ** done) for i in use],
            [float(abs(t[i]) ** done * weight(points[i], value[i])) for i in use],
            degree + 1 - done,
        )
        coefficients.append(f32(c[0]))
    worst = 0.0
    for z, u, v in zip(points, t, value):
        p = sum(mpf(c) * u**k for k, c in enumerate(coefficients))
        worst = max(worst, float(abs(p - v) * weight(z, v)))
    return coefficients, worst


def in_ulps(_, value):
    return 1 / ulp(value)


def slope_in_two(slope):
    """Two f32 whose product is the slope far more exactly than one f32 could be.

    The second is just below 1, where the rounding of a polynomial that starts with it costs half
    of what it would just above.
    """
    start = bits(f32(slope))
    tries = []
    for step in range(1, 4000):
        unit = from_bits(start + step)
        rest = f32(slope / unit)
        tries.append((float(abs(unit * mpf(rest) - slope)), unit, rest))
    return min(tries)[1:]


def centers(step, nearness):
    """tanh and its slope at 16 multiples of `step`, and G in r coth(r) = 1 + r^2 G(r^2) about 0.

    0 is the centre of what `nearness` times it rounds to 0. About the others an error of G shows less.
    """
    value = [mp.tanh(k * mpf(step)) for k in range(16)]
    end = step / 2 / nearness * (1 + MARGIN)

    def rest(square):
        r = mp.sqrt(square)
        return (r / mp.tanh(r) - 1) / square

    coth, worst = fit(rest, grid(1e-5, end**2), 0, 1, [],
                      lambda square, _: square**1.5 / ulp(math.tanh(math.sqrt(square))))
    return dict(tanh=[f32(v) for v in value], slope=[f32(1 - v * v) for v in value], coth=coth, step=step,
                nearness=nearness, worst=worst)


def erf_pieces(step):
    """16 pieces of degree 5 of erf about the multiples of `step`, in unit * z less the middle; the slope at 0
    is 2 / sqrt(pi) / unit. The last one reaches 1 at its end, which is a little early."""
    unit, slope = slope_in_two(2 / mp.sqrt(mp.pi))
    end = unit * (15 + REACH) * step
    columns, worst = [[0.0] * 16 for _ in range(6)], 0.0
    for k in range(16):
        middle = unit * mpf(k) * step
        low, high = max(0.0, unit * (k - 0.5) * step), unit * (k + 0.5) * step if k < 15 else end
        slack = (high - low) * MARGIN

        def value(t, k=k, low=low):
            early = (1 - mp.erf(end / unit)) * ((t - low) / (end - low)) ** 5 if k == 15 else 0
            return mp.erf(t / unit) + early

        # Of the first, next to 0 only the given slope counts; what its rounding costs must not excuse the rest.
        points = grid(high * 0.1 if k == 0 else low - slack, high + slack)
        fixed = [0.0, slope] if k == 0 else [f32(value(middle))]
        coefficients, error = fit(value, points, middle, 5, fixed, in_ulps)
        worst = max(worst, error)
        for column, c in zip(columns, coefficients):
            column[k] = c
    return dict(unit=unit, step=step, limit=f32(end / unit), columns=columns, worst=worst)


def rational(f, digits, above, below, limit):
    """P and Q in f(z) = z P(z^2) / Q(z^2) for |z| <= limit, of degrees `above` and `below`, Q monic, for
    results that will be rounded to `digits` digits.

    By least squares of the error times Q of the round before, each point weighed by what its error was
    in all rounds (Lawson's algorithm), which levels the errors.
    """
    z = [mpf(v) for v in grid(0, limit, 300)[1:]]
    value = [f(v) for v in z]
    weight = [mpf(2) ** digits * octave(v) for v in value]
    lawson, below_value, best = [mpf(1)] * len(z), [mpf(1)] * len(z), None
    for _ in range(120):
        size = above + below + 1
        matrix, rhs = [[mpf(0)] * size for _ in range(size)], [mpf(0)] * size
        for v, wanted, w, share, b in zip(z, value, weight, lawson, below_value):
            square = (v / limit) ** 2
            row = ([v * square**k for k in range(above + 1)]
                   + [-wanted * square**k for k in range(1, below + 1)])
            factor = share * (w / b) ** 2
            for a, left in enumerate(row):
                for c, right in enumerate(row):
                    matrix[a][c] += factor * left * right
                rhs[a] += factor * left * wanted
        solution = solve(matrix, rhs)
        p, q = solution[:above + 1], [mpf(1)] + solution[above + 1:]
        below_value = [sum(c * (v / limit) ** (2 * k) for k, c in enumerate(q)) for v in z]
        error = [abs(v * sum(c * (v / limit) ** (2 * k) for k, c in enumerate(p)) / b - wanted) * w
                 for v, wanted, w, b in zip(z, value, weight, below_value)]
        worst = max(error)
        if best is None or worst < best[0]:
            best = (worst, p, q)
        lawson = [share * (e / worst + mpf(1) / 1000) ** mpf(0.7) for share, e in zip(lawson, error)]
        mean = sum(lawson) / len(lawson)
        lawson = [share / mean for share in lawson]
    _, p, q = best
    # Q monic in z^2 itself.
    unit = q[-1] / mpf(limit) ** (2 * below)
    p, q = ([f32(c / mpf(limit) ** (2 * k) / unit) for k, c in enumerate(cs)] for cs in (p, q[:-1]))
    worst = max(float(abs(quotient(p, q, v) - y) * w) for v, y, w in zip(z, value, weight))
    worst = max(worst, float((1 - quotient(p, q, limit)) * 2.0**digits))
    return dict(numerator=p, denominator=q, limit=limit, worst=worst)


def cubics(f, digits, limit):
    """f on [0, limit] in 32 polynomials of degree 3 in z, about the multiples of a step, for results that will be
    rounded to so many digits."""
    # The first piece is half as long; the last one ends before another would begin.
    step = limit / (31 + REACH)
    columns, worst = [[0.0] * 32 for _ in range(4)], 0.0
    weight = lambda value: mpf(2) ** digits * octave(value)
    for k in range(32):
        low, high = max(0.0, (k - 0.5) * step), min(limit, (k + 0.5) * step)
        slack = (high - low) * MARGIN
        points = [mpf(v) for v in grid(low - slack if k else 1e-3 * step, high + slack)]
        first = 0 if k else 1
        # In the distance from the middle, in steps, where the equations are far from singular.
        middle = 0 if first else (low + high) / 2
        t = [float((z - middle) / step) for z in points]
        _, c = remez(t, [float(f(z) / u**first) for z, u in zip(points, t)],
                     [float(weight(f(z)) * abs(u)**first) for z, u in zip(points, t)], 4 - first)
        c = [mpf(0)] * first + [mpf(v) for v in c]
        # The same in z.
        for n in range(4):
            at = sum(c[m] / mpf(step)**m * mp.binomial(m, n) * mpf(-middle) ** (m - n) for m in range(n, 4))
            columns[n][k] = f32(at)
        for z in points:
            p = sum(mpf(columns[n][k]) * z**n for n in range(4))
            worst = max(worst, float(abs(p - f(z)) * weight(f(z))))
    return dict(columns=columns, density=f32(1 / step), limit=limit,
                worst=max(worst, float((1 - f(mpf(limit))) * 2.0**digits)))


def octave(value):
    """What one over the spacing of numbers around `value` is more than that just below 1; below 1/2 that of
    the end of an octave, since what is wrong near 0 is so in every one."""
    return 1 / value if value < 0.5 else 1


def quotient(p, q, z):
    s = z * z
    return (z * sum(mpf(c) * s**k for k, c in enumerate(p))
            / (sum(mpf(c) * s**k for k, c in enumerate(q)) + s ** len(q)))


def decimal(x):
    """The shortest decimal that reads back as the f32 x."""
    for digits in range(1, 10):
        text = f"{x:.{digits}g}"
        if f32(float(text)) == x:
            break
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return mantissa if "." in mantissa else mantissa + ".0"
    return f"{mantissa}e{int(exponent)}"


def write_columns(columns, indent):
    for column in columns:
        print(indent + "[")
        for i in range(0, len(column), 8):
            print(indent + "    " + " ".join(decimal(c) + "," for c in column[i:i + 8]))
        print(indent + "],")


def write_centers(t):
    print(f"""
/// The centres of tanh. Fit error {t["worst"]:.2f} ulp about the first.
#[rustfmt::skip]
pub(super) static TANH: Centres = Centres {{""")
    for name in ("tanh", "slope"):
        print(f"    {name}:")
        write_columns([t[name]], "        ")
    print(f"""    coth: [{", ".join(decimal(c) for c in t["coth"])}],
    step: {decimal(t["step"])},
    nearness: {decimal(f32(t["nearness"]))},
}};""")


def write_erf(t):
    print(f"""
/// The pieces of erf. Fit error {t["worst"]:.2f} ulp, with the roundings of the constants.
#[rustfmt::skip]
pub(super) static ERF: Pieces = Pieces {{
    unit: {decimal(t["unit"])},
    step: {decimal(t["step"])},
    limit: {decimal(t["limit"])},
    columns: [""")
    write_columns(t["columns"], "        ")
    print("    ],")
    print("};")


def write_forms(name, f16, bf16, pieces):
    sizes = f'{len(bf16["numerator"])}, {len(bf16["denominator"])}'
    print(f"""
/// {name.split("_")[1].lower()} for results of few digits.
#[rustfmt::skip]
pub(super) static {name}: Forms<{sizes}> = Forms {{""")
    for field, r in (("f16", f16), ("bf16", bf16)):
        print(f"""    // Fit error {r["worst"]:.4f} ulp of {field}.
    {field}: Rational {{
        numerator: [{", ".join(decimal(c) for c in r["numerator"])}],
        denominator: [{", ".join(decimal(c) for c in r["denominator"])}],
        limit: {decimal(r["limit"])},
    }},""")
    print(f"""    // Fit error {pieces["worst"]:.4f} ulp of f16.
    cubics: Cubics {{
        density: {decimal(pieces["density"])},
        limit: {decimal(pieces["limit"])},
        columns: [""")
    write_columns(pieces["columns"], "            ")
    print("""        ],
    },
};""")


def write_polynomial(name, comment, fitted):
    coefficients, worst = fitted
    print()
    for line in comment:
        print(f"/// {line}")
    print(f"/// Fit error {worst:.2f} ulp.")
    print("#[rustfmt::skip]")
    print(f"pub(super) const {name}: [f32; {len(coefficients)}] = [")
    for i in range(0, len(coefficients), 5):
        print("    " + " ".join(decimal(c) + "," for c in coefficients[i:i + 5]))
    print("];")


def small_tanh():
    """Q in tanh(r) = r + r^3 Q(r^2) for |r| <= 3/8 ln(2)."""
    bound = float(LN2 * 3 / 8) * (1 + MARGIN)
    points = [r * r for r in grid(1e-3 * bound, bound)]

    def remainder(y):
        r = mp.sqrt(y)
        return (mp.tanh(r) - r) / r**3

    return fit(remainder, points, 0, 2, [], lambda y, _: y**1.5 / ulp(math.tanh(math.sqrt(y))))


def expm1():
    """P in 1 - exp(-r) = r - r^2 P(r) for |r| <= ln(2)/2."""
    bound = float(LN2 / 2) * (1 + MARGIN)
    points = [r for r in grid(-bound, bound) if abs(r) > 1e-4]
    whole = lambda r: -mp.expm1(-r)
    return fit(lambda r: (r - whole(r)) / r**2, points, 0, 5, [],
               lambda r, _: r * r / ulp(whole(mpf(r))))


def exp2m1():
    """P in 2^f - 1 = f P(f) for |f| <= 1/2."""
    points = [f for f in grid(-0.5 - MARGIN, 0.5 + MARGIN) if abs(f) > 1e-4]
    whole = lambda f: mp.expm1(f * LN2)
    return fit(lambda f: whole(f) / f, points, 0, 5, [], lambda f, _: abs(f) / ulp(whole(mpf(f))))


def exp2(low, high):
    """P in 2^f = P(f) from low to high, for results of few digits: the error is relative, in ulps of f32 just below 1."""
    points = grid(low - MARGIN, high + MARGIN)
    worst, c = remez(points, [2.0**f for f in points], [2.0 ** (24 - f) for f in points], 5)
    return [f32(c) for c in c], worst


def erf_exponent(limit):
    """R in erf(z) = 1 - exp(-(z + z R(z))) for 0 < z <= limit."""
    points = grid(limit * 1e-4, limit)
    return fit(lambda z: -mp.log(mp.erfc(z)) / z - 1, points, 0, 8, [],
               lambda z, _: float(z * mp.erfc(z)) / ulp(mp.erf(z)))


def main():
    print("""//! Fitted coefficients. Generated: do not edit, run
//! `python3 scripts/fit_tables.py > src/cpu/math/tables.rs`.

use super::{cubics::Cubics, erf::Pieces, rational::Rational, short::Forms, tanh::Centres};""")
    write_centers(centers(0.5, 0.978))
    write_erf(erf_pieces(0.25))
    write_forms("SHORT_TANH", rational(mp.tanh, 11, 3, 3, 6.6), rational(mp.tanh, 8, 2, 2, 5.2),
                cubics(mp.tanh, 11, 6.25))
    write_forms("SHORT_ERF", rational(mp.erf, 11, 3, 3, 3.3), rational(mp.erf, 8, 2, 3, 3.0),
                cubics(mp.erf, 11, 3.3))
    write_polynomial("SMALL_TANH", [
        "`Q` in `tanh(r) = r + r^3 Q(r^2)` for `|r| <= 3/8 ln(2)`."], small_tanh())
    write_polynomial("EXPM1", [
        "`P` in `1 - exp(-r) = r - r^2 P(r)` for `|r| <= ln(2) / 2`."], expm1())
    write_polynomial("EXP2M1", [
        "`P` in `2^f - 1 = f P(f)` for `|f| <= 1/2`."], exp2m1())
    write_polynomial("EXP2", [
        "`P` in `2^f = P(f)` for `|f| <= 1/2`, for results of few digits."], exp2(-0.5, 0.5))
    write_polynomial("EXP2_ABOVE", [
        "The same for `0 <= f <= 1`."], exp2(0, 1))
    write_polynomial("ERF_EXPONENT", [
        "`R` in `erf(z) = 1 - exp(-(z + z R(z)))` for `z` up to where erf rounds to 1."],
        erf_exponent(4.0))


if __name__ == "__main__":
    main()
