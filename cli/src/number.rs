//! What the checks need to know of an element type.

use dynorm::{bf16, f16};

/// An element type with its precision and range.
pub trait Number: dynorm::Element + bytemuck::Pod {
    /// Fraction bits that are stored.
    const FRACTION_BITS: i32;
    /// Exponent of the smallest normal number.
    const MIN_EXPONENT: i32;
    /// The largest finite number.
    const MAX: f64;
    /// Rounds to nearest even.
    fn from_f32(x: f32) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
}

impl Number for f32 {
    const FRACTION_BITS: i32 = 23;
    const MIN_EXPONENT: i32 = -126;
    const MAX: f64 = f32::MAX as f64;
    fn from_f32(x: f32) -> Self {
        x
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Number for f16 {
    const FRACTION_BITS: i32 = 10;
    const MIN_EXPONENT: i32 = -14;
    const MAX: f64 = 65504.0;
    fn from_f32(x: f32) -> Self {
        Self::from_f32(x)
    }
    fn to_f64(self) -> f64 {
        self.to_f64()
    }
}

impl Number for bf16 {
    const FRACTION_BITS: i32 = 7;
    const MIN_EXPONENT: i32 = -126;
    const MAX: f64 = 255.0 / 128.0 * (1_u128 << 127) as f64;
    fn from_f32(x: f32) -> Self {
        Self::from_f32(x)
    }
    fn to_f64(self) -> f64 {
        self.to_f64()
    }
}

/// The distance between neighbouring numbers of type `T` in the binade of `magnitude`; in the
/// subnormal range, the smallest number.
pub fn ulp<T: Number>(magnitude: f64) -> f64 {
    let exponent = ((magnitude.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    2.0_f64.powi(exponent.max(T::MIN_EXPONENT) - T::FRACTION_BITS)
}

/// How far `got` is from `want`, in ulps of `T` at the larger of `|want|` and `floor`.
/// Infinite if only one of the two is NaN, or if `got` overflowed and `want` does not.
pub fn error_ulps<T: Number>(got: T, want: f64, floor: f64) -> f64 {
    let got = got.to_f64();
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() == want.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if got.is_infinite() {
        let overflows = want.abs() > T::MAX && want.signum() == got.signum();
        return if overflows { 0.0 } else { f64::INFINITY };
    }
    (got - want).abs() / ulp::<T>(want.abs().max(floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ulp is the step to the next number, for every type, at ones, twos and subnormals.
    #[test]
    fn ulp_is_the_step_to_the_next_number() {
        for x in [1.0_f32, 1.5, 2.0, 3.9, 1e-30, 1e30, 1e-40] {
            let step = x.next_up().to_f64() - x.to_f64();
            assert_eq!(ulp::<f32>(x.to_f64()), step, "f32 {x}");
        }
        for bits in [0x0001_u16, 0x0400, 0x3c00, 0x3fff, 0x7bfe] {
            let (x, next) = (f16::from_bits(bits), f16::from_bits(bits + 1));
            assert_eq!(ulp::<f16>(x.to_f64()), next.to_f64() - x.to_f64(), "f16 {bits:#x}");
        }
        for bits in [0x0001_u16, 0x0080, 0x3f80, 0x3fff, 0x7f7e] {
            let (x, next) = (bf16::from_bits(bits), bf16::from_bits(bits + 1));
            assert_eq!(ulp::<bf16>(x.to_f64()), next.to_f64() - x.to_f64(), "bf16 {bits:#x}");
        }
    }

    /// The constants of each type are those of its crate.
    #[test]
    fn ranges_are_the_types_own() {
        assert_eq!(<f16 as Number>::MAX, f16::MAX.to_f64());
        assert_eq!(<bf16 as Number>::MAX, bf16::MAX.to_f64());
        assert_eq!(2.0_f64.powi(f16::MIN_EXPONENT), f16::MIN_POSITIVE.to_f64());
        assert_eq!(2.0_f64.powi(bf16::MIN_EXPONENT), bf16::MIN_POSITIVE.to_f64());
    }

    /// Differences count in units of the wanted value, not below the floor; NaN and overflow
    /// count as infinitely wrong unless they are wanted.
    #[test]
    fn errors_in_ulps() {
        assert_eq!(error_ulps(1.0_f32, 1.0, 0.0), 0.0);
        assert_eq!(error_ulps(1.0_f32.next_up(), 1.0, 0.0), 1.0);
        assert_eq!(error_ulps(2.0_f32.powi(-23), 0.0, 1.0), 1.0);
        assert_eq!(error_ulps(f32::NAN, f64::NAN, 0.0), 0.0);
        assert_eq!(error_ulps(f32::NAN, 1.0, 0.0), f64::INFINITY);
        assert_eq!(error_ulps(1.0_f32, f64::NAN, 0.0), f64::INFINITY);
        assert_eq!(error_ulps(f16::INFINITY, 65520.0, 0.0), 0.0);
        assert_eq!(error_ulps(f16::INFINITY, -65520.0, 0.0), f64::INFINITY);
        assert_eq!(error_ulps(f16::INFINITY, 1.0, 0.0), f64::INFINITY);
    }
}
