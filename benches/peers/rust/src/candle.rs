//! candle: its norms, and the element-wise functions as its users write them. It returns a new
//! tensor each time.

use crate::problem::*;
use candle_core::{Device, Result, Tensor, WithDType};
use half::{bf16, f16};

pub struct Call {
    x: Tensor,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    y: Option<Tensor>,
}

pub fn offers(p: &Problem) -> bool {
    [RMS_NORM, LAYER_NORM, DYT, DERF, TANH, ERF].contains(&p.function)
}

/// # Safety
/// The problem's pointers must be valid.
pub unsafe fn open(p: &Problem) -> Result<Call> {
    // SAFETY: the caller's promise, and each type is the problem's.
    unsafe {
        match p.element {
            F32 => typed::<f32>(p),
            F16 => typed::<f16>(p),
            _ => typed::<bf16>(p),
        }
    }
}

/// # Safety
/// As [`open`], and `T` must be the problem's type.
unsafe fn typed<T: WithDType>(p: &Problem) -> Result<Call> {
    let (rows, channels) = (p.rows as usize, p.channels as usize);
    let vector = |values: &[T]| Tensor::from_slice(values, channels, &Device::Cpu);
    // SAFETY: the caller's promise.
    let (x, weight, bias) = unsafe { (p.x::<T>(), p.weight::<T>(), p.bias::<T>()) };
    Ok(Call {
        x: Tensor::from_slice(x, (rows, channels), &Device::Cpu)?,
        weight: weight.map(vector).transpose()?,
        bias: bias.map(vector).transpose()?,
        y: None,
    })
}

impl Call {
    pub fn run(&mut self, p: &Problem) -> Result<()> {
        self.y = None; // the old result's memory can be used again
        let weight = || self.weight.as_ref().expect("a weight");
        let bias = || self.bias.as_ref().expect("a bias");
        let affine = |y: Tensor| y.broadcast_mul(weight())?.broadcast_add(bias());
        let x = &self.x;
        self.y = Some(match p.function {
            RMS_NORM => candle_nn::ops::rms_norm(x, weight(), p.eps)?,
            LAYER_NORM => candle_nn::ops::layer_norm(x, weight(), bias(), p.eps)?,
            DYT => affine(x.affine(p.alpha.into(), 0.0)?.tanh()?)?,
            DERF => affine(x.affine(p.alpha.into(), 0.0)?.erf()?)?,
            TANH => x.tanh()?,
            _ => x.erf()?,
        });
        Ok(())
    }

    /// Copies the last result to the problem's output, where it is checked.
    ///
    /// # Safety
    /// The problem's pointers must be valid.
    pub unsafe fn store(&self, p: &Problem) -> Result<()> {
        let y = self.y.as_ref().expect("the call has been run").flatten_all()?;
        // SAFETY: the caller's promise, and each type is the problem's.
        unsafe {
            match p.element {
                F32 => p.y::<f32>().copy_from_slice(&y.to_vec1()?),
                F16 => p.y::<f16>().copy_from_slice(&y.to_vec1()?),
                _ => p.y::<bf16>().copy_from_slice(&y.to_vec1()?),
            }
        }
        Ok(())
    }
}
