//! Each function under its own name, built as `candle_nn` builds its layers.

use crate::Layer;
use candle::{Module, Result, Tensor};
use dynorm::Norm;

/// `weight * x / sqrt(mean(x²) + eps)`, in the place of `candle_nn::RmsNorm`.
#[derive(Clone, Debug)]
pub struct RmsNorm(Layer);

impl RmsNorm {
    /// A layer with one `weight` per channel. `eps` is at least 0, and used as an f32.
    pub fn new(weight: Tensor, eps: f64) -> Self {
        Self(Layer::new(Norm::RmsNorm { eps: eps as f32 }).weight(weight))
    }
}

/// `weight * (x - mean) / sqrt(var + eps) + bias`, in the place of `candle_nn::LayerNorm`.
#[derive(Clone, Debug)]
pub struct LayerNorm(Layer);

impl LayerNorm {
    /// A layer with one `weight` and one `bias` per channel. `eps` is at least 0, and used as an
    /// f32.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self(Self::new_no_bias(weight, eps).0.bias(bias))
    }

    /// The same without a bias.
    pub fn new_no_bias(weight: Tensor, eps: f64) -> Self {
        Self(Layer::new(Norm::LayerNorm { eps: eps as f32 }).weight(weight))
    }
}

/// `weight * tanh(alpha x) + bias`.
#[derive(Clone, Debug)]
pub struct DyT(Layer);

impl DyT {
    /// A layer with one `weight` and one `bias` per channel.
    pub fn new(alpha: f32, weight: Tensor, bias: Tensor) -> Self {
        Self(Layer::new(Norm::DyT { alpha }).weight(weight).bias(bias))
    }
}

/// `weight * scale x / sqrt(beta + x²) + bias`.
#[derive(Clone, Debug)]
pub struct DyIsru(Layer);

impl DyIsru {
    /// A layer with one `weight` and one `bias` per channel. `beta` is above 0; `scale` is 1 in
    /// trained models.
    pub fn new(beta: f32, scale: f32, weight: Tensor, bias: Tensor) -> Self {
        Self(Layer::new(Norm::DyIsru { beta, scale }).weight(weight).bias(bias))
    }
}

/// `weight * erf(alpha x + shift) + bias`.
#[derive(Clone, Debug)]
pub struct Derf(Layer);

impl Derf {
    /// A layer with one `weight` and one `bias` per channel.
    pub fn new(alpha: f32, shift: f32, weight: Tensor, bias: Tensor) -> Self {
        Self(Layer::new(Norm::Derf { alpha, shift }).weight(weight).bias(bias))
    }
}

macro_rules! modules {
    ($($name:ident),*) => {$(
        impl $name {
            /// As [`Layer::add_forward`].
            ///
            /// # Errors
            /// As that.
            pub fn add_forward(&self, x: &Tensor, residual: &Tensor) -> Result<(Tensor, Tensor)> {
                self.0.add_forward(x, residual)
            }

            /// As [`Layer::gated_forward`].
            ///
            /// # Errors
            /// As that.
            pub fn gated_forward(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
                self.0.gated_forward(x, z)
            }
        }

        impl Module for $name {
            /// As [`Layer`]'s.
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                self.0.forward(x)
            }
        }
    )*};
}
modules!(RmsNorm, LayerNorm, DyT, DyIsru, Derf);
