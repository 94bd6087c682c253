//! What an element-wise function gives for every f32, against the f64 reference, and what is left
//! of its error once the result is rounded to f16 and bf16.

use crate::cuda_common::case::half_ulp;
use crate::gpu::Gpu;
use dynorm::cuda::{DeviceRows, Forward};
use dynorm::{ElementType, Norm, bf16, f16, reference};
use rayon::prelude::*;

/// Inputs that are on the device at once.
const AT_ONCE: u64 = 1 << 26;
/// Inputs that one thread of the host looks at at once.
const PIECE: usize = 1 << 14;

/// Which of all f32.
#[derive(Clone, Copy)]
pub struct Inputs {
    pub count: u64,
    /// From the bits of one to those of the next.
    pub step: u32,
}

impl Inputs {
    pub const ALL: Self = Self { count: 1 << 32, step: 1 };
    /// Spread over all of them.
    pub const FEW: Self = Self { count: 1 << 15, step: 0x9e37_79b1 };

    fn bits(self, index: u64) -> u32 {
        (index as u32).wrapping_mul(self.step)
    }
}

/// The largest errors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Of the f32 result, in its ulp, and of which input.
    pub ulp: f64,
    pub at: f32,
    /// Of the f32 result, relative; results that are subnormal aside.
    pub relative: f64,
    pub f16: Rounded,
    pub bf16: Rounded,
}

/// What rounding leaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rounded {
    /// The largest error, in ulp of the type: 0.5 if the f32 result had none.
    pub ulp: f64,
    /// Results that are not the exact one rounded.
    pub differing: u64,
}

impl Found {
    fn or(self, other: Self) -> Self {
        let worse = |a: Rounded, b: Rounded| Rounded {
            ulp: a.ulp.max(b.ulp),
            differing: a.differing + b.differing,
        };
        let (ulp, at) =
            if other.ulp > self.ulp { (other.ulp, other.at) } else { (self.ulp, self.at) };
        Self {
            ulp,
            at,
            relative: self.relative.max(other.relative),
            f16: worse(self.f16, other.f16),
            bf16: worse(self.bf16, other.bf16),
        }
    }
}

/// Runs `norm` over `inputs` with f32, f16 and bf16 output; panics where a NaN is lost or made.
pub fn run(gpu: &Gpu, norm: Norm, fast_tanh: bool, inputs: Inputs) -> Found {
    let most = inputs.count.min(AT_ONCE);
    let memory = |bytes: u64| gpu.lab.memory((most * bytes) as usize).unwrap();
    let (x, y) = (memory(4), memory(4));
    let mut found = Found::default();
    for first in (0..inputs.count).step_by(AT_ONCE as usize) {
        let len = most.min(inputs.count - first) as usize;
        let given: Vec<u32> =
            (0..len).into_par_iter().map(|i| inputs.bits(first + i as u64)).collect();
        x.write(0, bytemuck::cast_slice(&given)).unwrap();
        let output = |element: ElementType, host: &mut [u8]| {
            let rows = |address, element| DeviceRows::new(address, element, 1, len).unwrap();
            let call =
                Forward::new(norm, rows(x.address(), ElementType::F32), rows(y.address(), element));
            gpu.launch(&call.fast_tanh(fast_tanh));
            gpu.synchronize();
            y.read(0, host).unwrap();
        };
        let mut f32s = vec![0.0_f32; len];
        let mut f16s = vec![f16::ZERO; len];
        let mut bf16s = vec![bf16::ZERO; len];
        output(ElementType::F32, bytemuck::cast_slice_mut(&mut f32s));
        output(ElementType::F16, bytemuck::cast_slice_mut(&mut f16s));
        output(ElementType::Bf16, bytemuck::cast_slice_mut(&mut bf16s));
        let pieces = given
            .par_chunks(PIECE)
            .zip(f32s.par_chunks(PIECE))
            .zip(f16s.par_chunks(PIECE).zip(bf16s.par_chunks(PIECE)));
        let worst = pieces
            .map(|((x, f32s), (f16s, bf16s))| judge(norm, x, f32s, f16s, bf16s))
            .reduce(Found::default, Found::or);
        found = found.or(worst);
    }
    found
}

fn judge(norm: Norm, x: &[u32], f32s: &[f32], f16s: &[f16], bf16s: &[bf16]) -> Found {
    let wide: Vec<f64> = x.iter().map(|&bits| f32::from_bits(bits).into()).collect();
    let wanted = reference::forward(norm, &wide, None, None, 0.0, wide.len());
    let mut found = Found::default();
    for (i, &wanted) in wanted.iter().enumerate() {
        let (x, given) = (f32::from_bits(x[i]), f32s[i]);
        if wanted.is_nan() || given.is_nan() {
            let nan = wanted.is_nan() && given.is_nan() && f16s[i].is_nan() && bf16s[i].is_nan();
            assert!(nan, "{norm:?} of {x}: {given}, not {wanted}");
            continue;
        }
        let ulp =
            |element, given: f64| (given - wanted).abs() / (2.0 * half_ulp(element, wanted.abs()));
        let error = ulp(ElementType::F32, given.into());
        if error > found.ulp {
            (found.ulp, found.at) = (error, x);
        }
        if wanted.abs() >= f32::MIN_POSITIVE.into() {
            found.relative = found.relative.max((f64::from(given) / wanted - 1.0).abs());
        }
        found.f16.ulp = found.f16.ulp.max(ulp(ElementType::F16, f16s[i].into()));
        found.bf16.ulp = found.bf16.ulp.max(ulp(ElementType::Bf16, bf16s[i].into()));
        found.f16.differing += u64::from(f16s[i] != f16::from_f64(wanted));
        found.bf16.differing += u64::from(bf16s[i] != bf16::from_f64(wanted));
    }
    found
}
