//! Calls with something fused into them, and what they give.

use super::random::Random;
use super::tensor::{Guarded, Place, Tensor};
use dynorm::{
    ElementType, F8E4M3, Forward, Isa, Norm, QuantizedRowsMut, QuantizedType, Rows, RowsMut, Scale,
};

/// Where the residual is added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Residual {
    InPlace,
    Into,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    Element(ElementType),
    Quantized(QuantizedType, ScaleKind),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScaleKind {
    Given,
    GivenPerRow,
    Computed,
    /// Computed for groups of so many channels.
    ComputedPerGroup(usize),
}

/// Everything about a call but its numbers.
#[derive(Clone, Copy, Debug)]
pub struct FusedCall {
    pub norm: Norm,
    pub isa: Isa,
    pub rows: usize,
    pub channels: usize,
    pub x_type: ElementType,
    pub output: Output,
    pub weight: Option<ElementType>,
    pub bias: Option<ElementType>,
    pub weight_offset: f32,
    pub residual: Option<(Residual, ElementType)>,
    pub gate: Option<ElementType>,
    /// Elements between rows; other numbers of them for every tensor.
    pub gap: usize,
    pub stream: Option<bool>,
}

/// The numbers of a call, rounded to its types; rows side by side.
#[derive(Clone, Debug)]
pub struct Numbers {
    pub x: Tensor,
    pub residual: Tensor,
    pub z: Tensor,
    pub weight: Option<Tensor>,
    pub bias: Option<Tensor>,
    /// For given scales, one for each row.
    pub scales: Vec<f32>,
}

impl Numbers {
    /// Those of row `row` alone, with everything that rows share.
    pub fn of_row(&self, row: usize, channels: usize) -> Self {
        Self {
            x: self.x.row(row, channels),
            residual: self.residual.row(row, channels),
            z: self.z.row(row, channels),
            ..self.clone()
        }
    }
}

/// Everything that a call writes, to the bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    pub y: Vec<u32>,
    /// The residual with the input added.
    pub sum: Vec<u32>,
    pub scales: Vec<u32>,
}

impl FusedCall {
    /// Dense f32 rows with nothing fused.
    pub fn new(norm: Norm, isa: Isa, rows: usize, channels: usize) -> Self {
        Self {
            norm,
            isa,
            rows,
            channels,
            x_type: ElementType::F32,
            output: Output::Element(ElementType::F32),
            weight: None,
            bias: None,
            weight_offset: 0.0,
            residual: None,
            gate: None,
            gap: 0,
            stream: None,
        }
    }

    pub fn numbers(&self, seed: u64) -> Numbers {
        let mut random = Random(seed);
        let mut rows = |element, deviation| {
            Tensor::new(element, &random.normals(self.rows * self.channels, 0.2, deviation))
        };
        let x = rows(self.x_type, 1.5);
        let residual = rows(self.residual.map_or(ElementType::F32, |(_, element)| element), 1.0);
        let z = rows(self.gate.unwrap_or(ElementType::F32), 3.0);
        let mut operand = |element: Option<ElementType>| {
            element.map(|element| Tensor::new(element, &random.normals(self.channels, 1.0, 1.0)))
        };
        let (weight, bias) = (operand(self.weight), operand(self.bias));
        // Small enough that some results are out of range.
        let scales = (0..self.rows).map(|row| 0.004 * (1.0 + row as f32 / 7.0)).collect();
        Numbers { x, residual, z, weight, bias, scales }
    }

    /// Channels that have a scale in common.
    pub fn group_size(&self) -> usize {
        match self.output {
            Output::Quantized(_, ScaleKind::ComputedPerGroup(size)) => size,
            _ => self.channels,
        }
    }

    /// Scales of a row.
    pub fn groups(&self) -> usize {
        self.channels.div_ceil(self.group_size())
    }

    fn place(&self, kind: usize) -> Place {
        let gap = if self.gap == 0 { 0 } else { self.gap + kind };
        let start = if self.gap == 0 { 0 } else { 3 * kind + 1 };
        Place { rows: self.rows, channels: self.channels, gap, start }
    }

    /// Builds the call, has `run` run it, and gives what it has written.
    ///
    /// # Panics
    /// If something outside the rows was written.
    pub fn run_with(&self, numbers: &Numbers, run: impl FnOnce(&mut Forward<'_>)) -> Written {
        let x = Guarded::new(self.place(0), &numbers.x);
        let z = Guarded::new(self.place(1), &numbers.z);
        let residual = Guarded::new(self.place(2), &numbers.residual);
        let mut sum = Guarded::new(self.place(3), &numbers.residual);
        let mut scales = vec![f32::NAN; self.rows * self.groups()];
        // A quantised output has more of its rows' stride in front of, between and behind them. It begins at a cache
        // line, unless there are gaps.
        let stride = self.channels + self.gap;
        let span = (self.rows * stride).saturating_sub(self.gap);
        let mut bytes = vec![0x55_u8; span + 3 * 70];
        let guard = bytes.as_ptr().align_offset(64) + if self.gap == 0 { 64 } else { 70 };

        let scale = |kind, scales| match kind {
            ScaleKind::Given => Scale::Given(numbers.scales[0]),
            ScaleKind::GivenPerRow => Scale::GivenPerRow(&numbers.scales),
            ScaleKind::Computed => Scale::Computed(scales),
            ScaleKind::ComputedPerGroup(group_size) => {
                Scale::ComputedPerGroup { scales, group_size }
            }
        };
        let mut element = None;
        let into = match self.output {
            Output::Element(of) => element.insert(Guarded::poison(of, self.place(4))).rows_mut(),
            Output::Quantized(..) => RowsMut::new::<f32>(&mut [], 0, 1).unwrap(),
        };
        let (rows, channels) = (self.rows, self.channels);
        let quantized = &mut bytes[guard..guard + span];
        let mut call = match self.output {
            Output::Element(_) => self.norm.forward(x.rows(), into),
            Output::Quantized(QuantizedType::I8, kind) => {
                let y: &mut [i8] = bytemuck::cast_slice_mut(quantized);
                let y = QuantizedRowsMut::with_stride(y, rows, channels, stride).unwrap();
                self.norm.forward_quantized(x.rows(), y, scale(kind, &mut scales))
            }
            Output::Quantized(QuantizedType::F8E4M3, kind) => {
                let y: &mut [F8E4M3] = bytemuck::cast_slice_mut(quantized);
                let y = QuantizedRowsMut::with_stride(y, rows, channels, stride).unwrap();
                self.norm.forward_quantized(x.rows(), y, scale(kind, &mut scales))
            }
        };
        call = call.isa(self.isa).weight_offset(self.weight_offset);
        if let Some(weight) = &numbers.weight {
            call = weight.as_weight(call);
        }
        if let Some(bias) = &numbers.bias {
            call = bias.as_bias(call);
        }
        if let Some(stream) = self.stream {
            call = call.stream(stream);
        }
        if self.gate.is_some() {
            call = call.gate(z.rows());
        }
        match self.residual {
            None => {}
            Some((Residual::InPlace, _)) => call = call.residual(sum.rows_mut()),
            Some((Residual::Into, _)) => call = call.residual_into(residual.rows(), sum.rows_mut()),
        }
        run(&mut call);

        let y = match element {
            Some(y) => y.into_rows().all_bits(),
            None => {
                let mut rows = Vec::new();
                for (i, &byte) in bytes.iter().enumerate() {
                    let at = i.checked_sub(guard).filter(|&at| at < span);
                    match at.filter(|at| at % stride < channels) {
                        Some(_) => rows.push(u32::from(byte)),
                        None => assert_eq!(byte, 0x55, "written outside the rows: {self:?}"),
                    }
                }
                rows
            }
        };
        let scales = scales.iter().map(|scale| scale.to_bits()).collect();
        Written { y, sum: sum.into_rows().all_bits(), scales }
    }

    /// What [`Forward::run`] writes.
    pub fn run(&self, numbers: &Numbers) -> Written {
        self.run_with(numbers, |call| call.run().unwrap_or_else(|e| panic!("{e}: {self:?}")))
    }

    /// The input with the residual added, by the definition; without a residual the input.
    pub fn sum(&self, numbers: &Numbers) -> Tensor {
        let Some((_, element)) = self.residual else { return numbers.x.clone() };
        let add = |i| numbers.x.value(i) as f32 + numbers.residual.value(i) as f32;
        let sums: Vec<f32> = (0..numbers.x.len()).map(add).collect();
        Tensor::new(element, &sums)
    }

    /// What the function gives for that, in `element`, by a plain call.
    pub fn plain(&self, numbers: &Numbers, element: ElementType) -> Tensor {
        let x = self.sum(numbers);
        let mut y = Tensor::poison(element, x.len());
        let x: Rows<'_> = x.rows(self.channels);
        let mut call = self.norm.forward(x, y.rows_mut(self.channels)).isa(self.isa);
        call = call.weight_offset(self.weight_offset);
        if let Some(weight) = &numbers.weight {
            call = weight.as_weight(call);
        }
        if let Some(bias) = &numbers.bias {
            call = bias.as_bias(call);
        }
        call.run().unwrap();
        y
    }
}

/// Row lengths around those of vectors, blocks, pieces, and the longest row that is known as a
/// whole before it is written.
pub const LENGTHS: [usize; 10] = [1, 5, 16, 33, 130, 519, 2048, 2051, 4096, 4099];
