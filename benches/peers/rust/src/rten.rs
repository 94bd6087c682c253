//! rten-vecmath, f32: its sums and `Normalize` a row at a time, and its tanh and erf. DyT and Derf
//! chain them over each row, which stays in the L1 cache.

use crate::problem::*;
use rten_simd::{SimdOp, SimdUnaryOp};
use rten_vecmath::{Erf, Normalize, NormalizeOptions, Sum, SumSquare, SumSquareSub, Tanh};
use std::mem::MaybeUninit;

pub fn offers(p: &Problem) -> bool {
    let has = [RMS_NORM, LAYER_NORM, DYT, DERF, TANH, ERF].contains(&p.function);
    has && p.element == F32 && p.threads == 1
}

/// # Safety
/// The problem's pointers must be valid.
pub unsafe fn run(p: &Problem) {
    // SAFETY: the caller's promise; `offers` allows f32 alone, and `MaybeUninit` is laid out as it.
    let (x, y, weight, bias) =
        unsafe { (p.x::<f32>(), p.y::<MaybeUninit<f32>>(), p.weight(), p.bias()) };
    match p.function {
        TANH => _ = Tanh {}.map(x, y),
        ERF => _ = Erf {}.map(x, y),
        _ => {
            let channels = p.channels as usize;
            for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
                row(p, x, y, weight, bias);
            }
        }
    }
}

fn row(
    p: &Problem,
    x: &[f32],
    y: &mut [MaybeUninit<f32>],
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
) {
    let n = x.len() as f32;
    let affine =
        NormalizeOptions { element_scale: weight, element_bias: bias, ..Default::default() };
    match p.function {
        RMS_NORM => {
            let scale = 1.0 / (SumSquare::new(x).dispatch() / n + p.eps).sqrt();
            Normalize::new(x, y, NormalizeOptions { scale, ..affine }).dispatch();
        }
        LAYER_NORM => {
            let mean = Sum::new(x).dispatch() / n;
            let variance = SumSquareSub::new(x, mean).dispatch() / n;
            let scale = 1.0 / (variance + p.eps).sqrt();
            let options = NormalizeOptions { pre_scale_bias: mean, scale, ..affine };
            Normalize::new(x, y, options).dispatch();
        }
        _ => {
            let options = NormalizeOptions { scale: p.alpha, ..Default::default() };
            let y = Normalize::new(x, y, options).dispatch();
            if p.function == DYT {
                Tanh {}.map_mut(y)
            } else {
                Erf {}.map_mut(y)
            }
            Normalize::new_mut(y, affine).dispatch();
        }
    }
}
