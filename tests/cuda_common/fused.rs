//! Calls with more fused around the function, on whatever runs them: each is taken apart into calls
//! with less, down to one with nothing, whose results `case.rs` compares with the reference.

mod checks;
mod tensor;

pub use checks::{check, check_computed_scales, check_shards, check_statistics, sample};
pub use tensor::{Shape, Tensor};

use super::buffer::{Buffer, Kind};
use super::case::Numbers;
use dynorm::cuda::{Backward, DeviceScale, Forward, Statistics};
use dynorm::{ElementType, Norm, QuantizedType};

/// A call of any kind.
#[derive(Clone, Copy)]
pub enum Call {
    Forward(Forward),
    Statistics(Statistics),
    Backward(Backward),
}

/// What a call may do with a tensor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read, even before the previous kernel is done: weight and bias.
    Operand,
    Read,
    Written,
}

/// Where calls run.
pub trait Machine {
    /// Runs the call that `call` makes of the addresses of `tensors`, and leaves in them what it wrote.
    fn run(&mut self, tensors: &mut [(&mut Buffer, Access)], call: &dyn Fn(&[u64]) -> Call);
}

/// Where a scale comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    Given,
    GivenAt,
    GivenPerRow,
    Computed,
}

/// What a call gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    Element(ElementType),
    Quantized(QuantizedType, Scaling),
}

impl Output {
    fn kind(self) -> Kind {
        match self {
            Self::Element(element) => element.into(),
            Self::Quantized(element, _) => element.into(),
        }
    }
}

/// A call in words.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub norm: Norm,
    pub x: ElementType,
    pub output: Output,
    pub weight: Option<ElementType>,
    pub bias: Option<ElementType>,
    pub weight_offset: f32,
    /// Its type, and whether the sum goes elsewhere.
    pub residual: Option<(ElementType, bool)>,
    pub gate: Option<ElementType>,
    pub in_place: bool,
    /// Whether DyT's tanh may be the device's own.
    pub fast_tanh: bool,
    pub shape: Shape,
}

impl Case {
    pub fn new(norm: Norm, x: ElementType, shape: Shape) -> Self {
        Self {
            norm,
            x,
            output: Output::Element(ElementType::F32),
            weight: None,
            bias: None,
            weight_offset: 0.0,
            residual: None,
            gate: None,
            in_place: false,
            fast_tanh: false,
            shape,
        }
    }

    /// The value of tensor `which` at `i`.
    fn value(which: u64, i: usize) -> f64 {
        Numbers::new(which << 32 | i as u64).normal()
    }

    fn operand(&self, which: u64, element: Option<ElementType>) -> Option<Buffer> {
        element.map(|element| {
            let skew = if self.shape.skew > 0 { which as usize % 5 } else { 0 };
            let mut buffer = Buffer::new(element, self.shape.channels, skew);
            (0..self.shape.channels).for_each(|c| buffer.set(c, Self::value(which, c)));
            buffer
        })
    }

    /// Runs it over `x`.
    pub fn run(&self, machine: &mut dyn Machine, x: &dyn Fn(usize, usize) -> f64) -> Written {
        let shape = self.shape;
        let at = |which| move |row, c| Self::value(which, row * shape.channels + c);
        let mut x = Tensor::new(self.x, shape, 0, x);
        let mut y = Tensor::empty(self.output.kind(), shape, 1);
        let mut weight = self.operand(2, self.weight);
        let mut bias = self.operand(3, self.bias);
        let mut residual = self.residual.map(|(element, _)| Tensor::new(element, shape, 4, &at(4)));
        let into = self.residual.filter(|residual| residual.1);
        let mut sum = into.map(|(element, _)| Tensor::empty(element.into(), shape, 5));
        let mut gate = self.gate.map(|element| Tensor::new(element, shape, 6, &at(6)));
        let mut scales = self.scales();

        let before =
            (x.bits(), residual.as_ref().map(Tensor::bits), gate.as_ref().map(Tensor::bits));
        let mut lent: Vec<(&mut Buffer, Access)> = Vec::new();
        let mut lend = |buffer, access| {
            lent.push((buffer, access));
            lent.len() - 1
        };
        let written = |written| if written { Access::Written } else { Access::Read };
        let x_at = lend(&mut x.buffer, written(self.in_place));
        let y_at = if self.in_place { x_at } else { lend(&mut y.buffer, Access::Written) };
        let weight_at = weight.as_mut().map(|weight| lend(weight, Access::Operand));
        let bias_at = bias.as_mut().map(|bias| lend(bias, Access::Operand));
        let residual_at =
            residual.as_mut().map(|tensor| lend(&mut tensor.buffer, written(into.is_none())));
        let sum_at = sum.as_mut().map(|tensor| lend(&mut tensor.buffer, Access::Written));
        let gate_at = gate.as_mut().map(|tensor| lend(&mut tensor.buffer, Access::Read));
        let computed = matches!(self.output, Output::Quantized(_, Scaling::Computed));
        let scales_at = scales.as_mut().map(|scales| lend(scales, written(computed)));
        machine.run(&mut lent, &|addresses| {
            let rows = |element, which, at: usize| shape.rows(addresses[at], element, which);
            let x = rows(self.x, 0, x_at);
            let mut call = match self.output {
                // In place it is where x is.
                Output::Element(element) => {
                    let which = if self.in_place { 0 } else { 1 };
                    Forward::new(self.norm, x, rows(element, which, y_at))
                }
                Output::Quantized(element, scaling) => {
                    let y = shape.quantized_rows(addresses[y_at], element, 1);
                    let scales = scales_at.map_or(0, |at| addresses[at]);
                    Forward::quantized(self.norm, x, y, scaling.at(scales))
                }
            }
            .weight_offset(self.weight_offset)
            .fast_tanh(self.fast_tanh);
            if let (Some(at), Some(element)) = (weight_at, self.weight) {
                call = call.weight(addresses[at], element);
            }
            if let (Some(at), Some(element)) = (bias_at, self.bias) {
                call = call.bias(addresses[at], element);
            }
            if let (Some(at), Some((element, _))) = (residual_at, self.residual) {
                let residual = rows(element, 4, at);
                call = match sum_at {
                    None => call.residual(residual),
                    Some(sum) => call.residual_into(residual, rows(element, 5, sum)),
                };
            }
            if let (Some(at), Some(element)) = (gate_at, self.gate) {
                call = call.gate(rows(element, 6, at));
            }
            Call::Forward(call)
        });

        let tensors = [Some(&x), Some(&y), residual.as_ref(), sum.as_ref(), gate.as_ref()];
        for tensor in tensors.into_iter().flatten() {
            assert!(tensor.surroundings_are_whole(), "{self:?}: wrote beside the rows");
        }
        let buffers = [weight, bias, scales.clone()];
        assert!(buffers.iter().flatten().all(Buffer::guards_are_whole), "{self:?}");
        assert!(self.in_place || x.bits() == before.0, "{self:?}: the input was written");
        assert!(into.is_none() || residual.as_ref().map(Tensor::bits) == before.1, "{self:?}");
        assert_eq!(gate.as_ref().map(Tensor::bits), before.2, "{self:?}");
        Written {
            y: if self.in_place { x.bits() } else { y.bits() },
            sum: sum.or(residual).map(|sum| sum.bits()),
            scales: scales.map_or(vec![], |scales| {
                (0..scales.len()).map(|i| f32::from_bits(scales.bits(i))).collect()
            }),
        }
    }

    /// The scales in memory: some that make for values in and out of range.
    fn scales(&self) -> Option<Buffer> {
        let Output::Quantized(_, scaling) = self.output else { return None };
        let rows = match scaling {
            Scaling::Given => return None,
            Scaling::GivenAt => 1,
            Scaling::GivenPerRow | Scaling::Computed => self.shape.row_count(),
        };
        let mut scales = Buffer::new(ElementType::F32, rows, self.shape.skew % 3);
        if scaling != Scaling::Computed {
            (0..rows).for_each(|row| scales.set(row, f64::from(scaling.scale(row))));
        }
        Some(scales)
    }
}

impl Scaling {
    fn at(self, address: u64) -> DeviceScale {
        match self {
            Self::Given => DeviceScale::Given(self.scale(0)),
            Self::GivenAt => DeviceScale::GivenAt(address),
            Self::GivenPerRow => DeviceScale::GivenPerRow(address),
            Self::Computed => DeviceScale::Computed(address),
        }
    }

    /// The scale of a row, if it is given.
    fn scale(self, row: usize) -> f32 {
        let row = if self == Self::GivenPerRow { row } else { 0 };
        [0.017, 0.3, 0.0042][row % 3]
    }
}

/// What a call left behind, row after row.
pub struct Written {
    pub y: Vec<u32>,
    pub sum: Option<Vec<u32>>,
    pub scales: Vec<f32>,
}
