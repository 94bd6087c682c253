//! Accuracy of every function, on every instruction set that this machine has.
//!
//! The ordinary tests take about a million values of x, from every exponent. The runs over
//! every f32 print what they find, one line for each instruction set:
//!
//! ```text
//! cargo test --release math::tests::exhaustive -- --ignored --nocapture
//! ```

use super::short::Short;
use super::tables::{SHORT_ERF, SHORT_TANH};
use super::{Erf, Isru, Tanh, short_silu, silu};
use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::{Isa, dispatch::enter};

#[derive(Clone, Copy, Debug)]
enum Function {
    /// For results of so many digits.
    Tanh {
        alpha: f32,
        digits: u32,
    },
    Erf {
        alpha: f32,
        shift: f32,
        digits: u32,
    },
    Isru {
        beta: f32,
        digits: u32,
    },
    Silu {
        digits: u32,
    },
}

impl Function {
    fn exact(self, x: f32) -> f64 {
        let wide = f64::from(x);
        match self {
            Self::Tanh { alpha, .. } => (f64::from(alpha) * wide).tanh(),
            // Not `+ 0.0`, which would turn -0 into +0.
            Self::Erf { alpha, shift: 0.0, .. } => libm::erf(f64::from(alpha) * wide),
            Self::Erf { alpha, shift, .. } => libm::erf(f64::from(alpha) * wide + f64::from(shift)),
            Self::Isru { .. } if x.is_infinite() => f64::from(x.signum()),
            // Neither the square of an f32 nor of its reciprocal leaves the range of f64.
            Self::Isru { beta, .. } => wide / (f64::from(beta) + wide * wide).sqrt(),
            Self::Silu { .. } => crate::reference::silu(wide),
        }
    }

    /// The digits of results.
    fn digits(self) -> u32 {
        match self {
            Self::Tanh { digits, .. }
            | Self::Erf { digits, .. }
            | Self::Isru { digits, .. }
            | Self::Silu { digits } => digits,
        }
    }

    /// Whether no result may be above 1 in magnitude. What is for fewer digits may, until it is rounded.
    fn is_bounded(self) -> bool {
        !matches!(self, Self::Silu { .. }) && self.digits() == 24
    }

    /// An error that counts for nothing at `x`: where silu's sigmoid is subnormal, a product of
    /// few digits is all that there is, and for few digits less.
    fn ignored(self, x: f32) -> f64 {
        match self {
            Self::Silu { digits: 24 } if x < -87.0 => 1e-43,
            Self::Silu { .. } if x < -87.0 => 1e-36,
            _ => 0.0,
        }
    }
}

/// Applies a function to whole blocks of vectors.
struct Apply<'a> {
    function: Function,
    /// Whether a function for few digits is made of pieces, where it can be.
    by_pieces: bool,
    x: &'a [f32],
    y: &'a mut [f32],
}

/// Vectors in flight.
const UNROLL: usize = 4;

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { function, by_pieces, x, y } = self;
        let by_pieces = S::FAST_LOOKUP && by_pieces;
        match function {
            Function::Tanh { alpha, digits } => {
                let exact = Tanh::new(s, alpha);
                let short = Short::of_form(s, &SHORT_TANH, alpha, by_pieces);
                blocks(
                    s,
                    x,
                    y,
                    #[inline(always)]
                    |block| match digits {
                        24 => exact.apply::<UNROLL>(s, block),
                        _ => short.apply(s, block, digits),
                    },
                );
            }
            Function::Erf { alpha, shift, digits } => {
                let exact = Erf::new(s, alpha, shift);
                let short = Short::of_form(s, &SHORT_ERF, 1.0, by_pieces);
                blocks(
                    s,
                    x,
                    y,
                    #[inline(always)]
                    |block| match digits {
                        24 => exact.apply::<UNROLL>(s, block),
                        _ => short.apply(s, exact.argument(s, block), digits),
                    },
                );
            }
            Function::Isru { beta, digits } => {
                let isru = Isru::new(s, beta);
                blocks(
                    s,
                    x,
                    y,
                    #[inline(always)]
                    |block| match digits {
                        24 => isru.apply::<UNROLL>(s, block),
                        _ => isru.apply_coarse(s, block, digits),
                    },
                );
            }
            Function::Silu { digits } => {
                blocks(
                    s,
                    x,
                    y,
                    #[inline(always)]
                    |block| match digits {
                        24 => silu(s, block),
                        11 => short_silu::<S, 11, UNROLL>(s, block),
                        _ => short_silu::<S, 8, UNROLL>(s, block),
                    },
                );
            }
        }
    }
}

#[inline(always)]
fn blocks<S: Simd>(s: S, x: &[f32], y: &mut [f32], f: impl Fn([S::F; UNROLL]) -> [S::F; UNROLL]) {
    let block = UNROLL * S::LANES;
    assert!(x.len() == y.len() && x.len().is_multiple_of(block), "{} elements", x.len());
    for i in (0..x.len()).step_by(block) {
        let mut v = [s.splat(0.0); UNROLL];
        for (j, pair) in v.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            // SAFETY: the block lies in `x`.
            *pair = unsafe { s.load_f32_x2(x.as_ptr().add(i + 2 * j * S::LANES)) };
        }
        // SAFETY: the block, which is four vectors, lies in `y`.
        unsafe { s.store_f32_x4::<false>(y.as_mut_ptr().add(i), f(v)) };
    }
}

/// The largest error found, and where.
#[derive(Clone, Copy, Default)]
struct Worst {
    ulp: f64,
    x: f32,
}

impl Worst {
    fn or(self, other: Self) -> Self {
        if other.ulp > self.ulp { other } else { self }
    }
}

/// `|y - exact|` in units of the spacing that results have at `exact`; infinite where `y` breaks one of the
/// rules that hold without exception.
fn error(function: Function, x: f32, y: f32, exact: f64) -> f64 {
    if exact.is_nan() || y.is_nan() {
        return if exact.is_nan() && y.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let too_large = function.is_bounded() && y.abs() > 1.0;
    if too_large || y.is_sign_negative() != exact.is_sign_negative() {
        return f64::INFINITY;
    }
    let apart = (f64::from(y) - exact).abs();
    if f64::from(y) == exact || apart <= function.ignored(x) {
        return 0.0;
    }
    let (digits, least) =
        (function.digits() as i32, if function.digits() == 11 { -14 } else { -126 });
    let exponent = ((exact.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(least);
    // 2^(digits - 1 - exponent), made of its bits.
    apart * f64::from_bits(((digits - 1 - exponent + 1023) as u64) << 52)
}

/// The worst errors over `x`, one for each of `isas`.
fn worst(function: Function, by_pieces: bool, x: &[f32], isas: &[Isa]) -> Vec<Worst> {
    let exact: Vec<f64> = x.iter().map(|&x| function.exact(x)).collect();
    let mut y = vec![0.0; x.len()];
    let mut found = Vec::new();
    for &isa in isas {
        let apply = Apply { function, by_pieces, x, y: &mut y };
        // SAFETY: the callers take `isas` from what is available.
        unsafe { enter(isa, apply) };
        let mut worst = Worst::default();
        for ((&x, &y), &exact) in x.iter().zip(&y).zip(&exact) {
            worst = worst.or(Worst { ulp: error(function, x, y, exact), x });
        }
        found.push(worst);
    }
    found
}

/// Values from every exponent, of both signs: its ends and many in between; with NaN and infinity.
fn sample() -> Vec<f32> {
    let mut x = Vec::new();
    let mut random = 0x2545_f491_u32;
    for exponent in 0..256_u32 {
        for i in 0..2048 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let mantissa = match i {
                0 => 0,
                1 => 1,
                // Just below the next octave, where an error is the most ulp.
                2..1024 => 0x7f_ffff - (i - 2),
                _ => random >> 9,
            };
            let bits = exponent << 23 | mantissa;
            x.extend([f32::from_bits(bits), f32::from_bits(bits | 1 << 31)]);
        }
    }
    x
}

/// The sample; prints what it finds, and fails if that is above `bound` ulp anywhere.
fn check(bound: f64, functions: &[Function]) {
    check_form(bound, false, functions);
}

/// The same of functions of one form.
fn check_form(bound: f64, by_pieces: bool, functions: &[Function]) {
    let x = sample();
    let isas: Vec<Isa> = Isa::available().collect();
    let mut failures = 0;
    for &function in functions {
        for (worst, isa) in worst(function, by_pieces, &x, &isas).into_iter().zip(&isas) {
            let form = if by_pieces { " by pieces" } else { "" };
            println!("{function:?}{form} {}: {:.3} ulp at {:e}", isa.name(), worst.ulp, worst.x);
            failures += usize::from(worst.ulp > bound);
        }
    }
    assert_eq!(failures, 0, "above {bound} ulp, see the list");
}

/// Every f32, on two threads.
fn exhaustive(functions: &[Function]) {
    const CHUNK: usize = 1 << 14;
    const CHUNKS: usize = (1 << 32) / CHUNK;
    let isas: Vec<Isa> = Isa::available().collect();
    for &function in functions {
        let every_second = |first: usize| {
            let mut found = vec![Worst::default(); isas.len()];
            for chunk in (first..CHUNKS).step_by(2) {
                let start = (chunk * CHUNK) as u32;
                let x: Vec<f32> = (0..CHUNK as u32).map(|i| f32::from_bits(start + i)).collect();
                for (found, new) in found.iter_mut().zip(worst(function, false, &x, &isas)) {
                    *found = found.or(new);
                }
            }
            found
        };
        let (even, odd) = std::thread::scope(|scope| {
            let other = scope.spawn(|| every_second(1));
            (every_second(0), other.join().expect("the thread does not panic"))
        });
        for ((isa, even), odd) in isas.iter().zip(even).zip(odd) {
            let worst = even.or(odd);
            println!("{function:?} {}: {:.4} ulp at {:e}", isa.name(), worst.ulp, worst.x);
        }
    }
}

/// Moderate, negative, about the ends of those that coefficients take up, zero, subnormal, and such that
/// `alpha * x` overflows or underflows.
const ALPHAS: [f32; 21] = [
    1.0,
    0.5,
    0.2,
    0.731_058_6,
    -1.3,
    3.9,
    4.0,
    4.1,
    8.0,
    2e-5,
    0.006_847_32,
    0.027_313_3,
    3.1e4,
    1e-6,
    0.0,
    -0.0,
    1e-45,
    3e-39,
    1e-36,
    1e37,
    -f32::MAX,
];
const BETAS: [f32; 14] = [
    1.0,
    2.0,
    100.0,
    295.761_76,
    1e-5,
    0.731,
    1e-45,
    3e-39,
    7e-37,
    8e-37,
    1.2e30,
    1.3e30,
    1e34,
    f32::MAX,
];

/// Alpha and shift.
const SHIFTS: [(f32, f32); 8] = [
    (0.5, 0.0),
    (0.731, 0.25),
    (-1.3, -3e-3),
    (0.2, 7.0),
    (0.0, 0.5),
    (1e-45, 1e-40),
    (f32::MAX, -0.7),
    (3.1e4, 1e4),
];

#[test]
fn tanh_is_within_its_bound() {
    for (bound, digits) in [(2.0, 24), (0.007, 11), (0.016, 8)] {
        check(bound, &ALPHAS.map(|alpha| Function::Tanh { alpha, digits }));
    }
    for digits in [11, 8] {
        check_form(0.016, true, &ALPHAS.map(|alpha| Function::Tanh { alpha, digits }));
    }
}

#[test]
fn erf_is_within_its_bound() {
    check(2.0, &[Function::Erf { alpha: 1.0, shift: 0.0, digits: 24 }]);
    // Here `alpha * x + shift` is rounded too.
    for (bound, digits) in [(2.5, 24), (0.006, 11), (0.019, 8)] {
        check(bound, &SHIFTS.map(|(alpha, shift)| Function::Erf { alpha, shift, digits }));
    }
    for (bound, digits) in [(0.0065, 11), (0.019, 8)] {
        check_form(
            bound,
            true,
            &SHIFTS.map(|(alpha, shift)| Function::Erf { alpha, shift, digits }),
        );
    }
}

#[test]
fn isru_is_within_its_bound() {
    for (bound, digits) in [(2.0, 24), (0.002, 11), (0.016, 8)] {
        check(bound, &BETAS.map(|beta| Function::Isru { beta, digits }));
    }
}

#[test]
fn silu_is_within_its_bound() {
    for (bound, digits) in [(2.87, 24), (0.01, 11), (0.017, 8)] {
        check(bound, &[Function::Silu { digits }]);
    }
}

#[test]
#[ignore = "minutes"]
fn exhaustive_silu() {
    exhaustive(&[24, 11, 8].map(|digits| Function::Silu { digits }));
}

#[test]
#[ignore = "minutes"]
fn exhaustive_tanh() {
    exhaustive(&[1.0, 0.2, 0.731_058_6].map(|alpha| Function::Tanh { alpha, digits: 24 }));
}

#[test]
#[ignore = "minutes"]
fn exhaustive_erf() {
    exhaustive(&[Function::Erf { alpha: 1.0, shift: 0.0, digits: 24 }]);
}

#[test]
#[ignore = "minutes"]
fn exhaustive_isru() {
    exhaustive(&[1.0, 2.0, 1e-6, 295.761_76].map(|beta| Function::Isru { beta, digits: 24 }));
}
