//! A function with its weights.

use crate::fused::{self, Beside};
use crate::op::Op;
use candle::{Error, Module, Result, Tensor};
use dynorm::Norm;

/// Any of dynorm's functions, with the weights that it has:
/// `y = (weight_offset + weight) * f(x) + bias`.
///
/// ```
/// use candle::{Device, Module, Tensor};
/// use dynorm::Norm;
/// use dynorm_candle::Layer;
///
/// // Gemma stores its weights less 1.
/// let weight = Tensor::new(&[0_f32, 1.], &Device::Cpu)?;
/// let norm = Layer::new(Norm::RmsNorm { eps: 0.0 }).weight(weight).weight_offset(1.0);
/// let x = Tensor::new(&[5_f32, 5.], &Device::Cpu)?;
/// assert_eq!(norm.forward(&x)?.to_vec1::<f32>()?, [1., 2.]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Layer {
    norm: Norm,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    weight_offset: f32,
}

impl Layer {
    /// `norm` without weight and bias.
    pub fn new(norm: Norm) -> Self {
        Self { norm, weight: None, bias: None, weight_offset: 0.0 }
    }

    /// Multiplies each channel by its weight: one per channel, contiguous, of type f32, f16 or bf16.
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Adds to each channel its bias, given as [`weight`](Self::weight).
    pub fn bias(mut self, bias: Tensor) -> Self {
        self.bias = Some(bias);
        self
    }

    /// Adds `offset` to every weight. Without a weight it has no effect.
    pub fn weight_offset(mut self, offset: f32) -> Self {
        self.weight_offset = offset;
        self
    }

    /// `x + residual`, and the function of it, in one pass: what stands between the parts of a transformer's block. Both
    /// results are contiguous, of `x`'s type and shape, and have the bits of the two steps. They are views of one storage,
    /// which lives as long as either.
    ///
    /// ```
    /// use candle::{Device, Tensor};
    /// use dynorm::Norm;
    /// use dynorm_candle::Layer;
    ///
    /// let x = Tensor::new(&[1_f32, 2.], &Device::Cpu)?;
    /// let residual = Tensor::new(&[4_f32, 3.], &Device::Cpu)?;
    /// let (sum, y) = Layer::new(Norm::RmsNorm { eps: 0.0 }).add_forward(&x, &residual)?;
    /// assert_eq!(sum.to_vec1::<f32>()?, [5., 5.]);
    /// assert_eq!(y.to_vec1::<f32>()?, [1., 1.]);
    /// # Ok::<(), candle::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Module::forward); a `residual` of another type, shape or device. It has no gradients.
    pub fn add_forward(&self, x: &Tensor, residual: &Tensor) -> Result<(Tensor, Tensor)> {
        let both = self.fused(x, residual, Beside::Residual)?;
        Ok((both.get(0)?, both.get(1)?))
    }

    /// The function of `x` times `silu(z)`, of `x`'s type and shape, contiguous; rounded once. `z` has the
    /// shape of `x`, and may have another type.
    ///
    /// ```
    /// use candle::{Device, Tensor};
    /// use dynorm::Norm;
    /// use dynorm_candle::Layer;
    ///
    /// let x = Tensor::new(&[5_f32, 5.], &Device::Cpu)?;
    /// let z = Tensor::new(&[50_f32, 0.], &Device::Cpu)?;
    /// let y = Layer::new(Norm::RmsNorm { eps: 0.0 }).gated_forward(&x, &z)?;
    /// assert_eq!(y.to_vec1::<f32>()?, [50., 0.]);
    /// # Ok::<(), candle::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Module::forward); a `z` of another shape or device. It has no gradients.
    pub fn gated_forward(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        self.fused(x, z, Beside::Gate)
    }

    fn fused(&self, x: &Tensor, other: &Tensor, beside: Beside) -> Result<Tensor> {
        if x.shape() != other.shape() {
            let (lhs, rhs) = (x.shape().clone(), other.shape().clone());
            return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: self.norm.name() }.bt());
        }
        if beside == Beside::Residual && x.dtype() != other.dtype() {
            let (lhs, rhs) = (x.dtype(), other.dtype());
            return Err(Error::DTypeMismatchBinaryOp { lhs, rhs, op: self.norm.name() }.bt());
        }
        let operands = [self.weight.as_ref(), self.bias.as_ref()];
        fused::apply(self.op(), beside, [x, other], operands)
    }

    fn op(&self) -> Op {
        Op {
            norm: self.norm,
            weight_offset: self.weight_offset,
            weight: self.weight.is_some(),
            bias: self.bias.is_some(),
        }
    }
}

impl Module for Layer {
    /// The function over the last dimension of `x`, of `x`'s type and shape, contiguous.
    ///
    /// # Errors
    /// Element types other than f32, f16 and bf16; rows that do not lie at even distances; weights
    /// that are not contiguous or not one per channel; parameters out of range; tensors on different devices.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let op = self.op();
        match (&self.weight, &self.bias) {
            (None, None) => x.apply_op1(op),
            (Some(only), None) | (None, Some(only)) => x.apply_op2(only, op),
            (Some(weight), Some(bias)) => x.apply_op3(weight, bias, op),
        }
    }
}
