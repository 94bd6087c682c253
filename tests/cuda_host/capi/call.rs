//! Calls with something fused into them, in C's terms and in Rust's, over the same memory.

use super::{element, norm};
use crate::TYPES;
use crate::cuda_common::buffer::Buffer;
use crate::cuda_common::case::Numbers;
use crate::emulator::{Emulator, Range};
use dynorm::cuda::{DeviceQuantizedRows, DeviceRows, DeviceScale, Forward};
use dynorm::ffi::*;
use dynorm::{ElementType, HeadShape, Norm, QuantizedType};
use std::mem::{MaybeUninit, zeroed};
use std::ptr;

const TOKENS: usize = 3;
pub const HEADS: usize = 4;
/// Those of all heads.
pub const ROWS: usize = TOKENS * HEADS;
pub const CHANNELS: usize = 40;

/// What there is in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tensor {
    X,
    Y,
    Residual,
    Sum,
    Gate,
    Weight,
    Bias,
    Scales,
    Statistics,
}
use Tensor::*;

impl Tensor {
    pub const ALL: [Self; 9] = [X, Y, Residual, Sum, Gate, Weight, Bias, Scales, Statistics];

    /// From one head or row to the next: another one in each tensor.
    pub fn row_stride(self) -> usize {
        CHANNELS + self as usize
    }

    /// From one token to the next, with room for two heads of something else between them.
    pub fn token_stride(self) -> usize {
        (HEADS + 2) * self.row_stride() + self as usize
    }

    fn len(self) -> usize {
        match self {
            Weight | Bias => CHANNELS,
            Scales => ROWS,
            Statistics => ROWS * 4,
            _ => TOKENS * self.token_stride(),
        }
    }

    /// Its type, one of three for each of three values of `types`.
    pub fn element(self, types: usize) -> ElementType {
        let by = match self {
            X | Bias => 0,
            Y | Gate => 1,
            Residual | Sum | Weight => 2,
            Scales | Statistics => return ElementType::F32,
        };
        TYPES[(types + by) % 3]
    }
}

/// Memory for everything that a call may work on.
pub struct Memory {
    buffers: [Buffer; 9],
    before: Contents,
}

/// All bytes of all tensors, with some around them.
pub type Contents = Vec<Vec<u8>>;

impl Memory {
    pub fn new(types: usize) -> Self {
        let mut numbers = Numbers::new(types as u64);
        let mut buffers = Tensor::ALL.map(|tensor| {
            let mut buffer = Buffer::new(tensor.element(types), tensor.len(), 0);
            for i in 0..tensor.len() {
                buffer.set(
                    i,
                    match tensor {
                        Scales => 0.01 * (i + 1) as f64,
                        // The count, the mean, what its rounding took, and the squares of four shards.
                        Statistics => [160.0, 0.125, 1e-9, 170.0][i % 4],
                        _ => numbers.normal(),
                    },
                );
            }
            buffer
        });
        let before = contents(&mut buffers);
        Self { buffers, before }
    }

    pub fn address(&self, tensor: Tensor) -> u64 {
        self.buffers[tensor as usize].address()
    }

    pub fn at<T>(&self, tensor: Tensor) -> *mut T {
        ptr::without_provenance_mut(self.address(tensor) as usize)
    }

    /// Tells the machine of it.
    pub fn expose(&self, emulator: &Emulator) {
        emulator.set_ranges(&Tensor::ALL.map(|tensor| {
            let is_written = matches!(tensor, Y | Residual | Sum | Scales | Statistics);
            let is_operand = matches!(tensor, Weight | Bias);
            Range::new(&self.buffers[tensor as usize], is_written, is_operand)
        }));
    }

    /// What `run` leaves in it; then all is as it was.
    pub fn after(&mut self, run: impl FnOnce(&Self)) -> Contents {
        run(self);
        let after = contents(&mut self.buffers);
        for (buffer, before) in self.buffers.iter_mut().zip(&self.before) {
            bytes(buffer).copy_from_slice(before);
        }
        after
    }

    pub fn before(&self) -> &Contents {
        &self.before
    }
}

fn contents(buffers: &mut [Buffer]) -> Contents {
    buffers.iter_mut().map(|buffer| bytes(buffer).to_vec()).collect()
}

/// As many wherever the buffer is.
fn bytes(buffer: &mut Buffer) -> &mut [u8] {
    const AROUND: usize = 256;
    let range = buffer.range();
    let len = (range.end - range.start) as usize;
    let (all, start) = buffer.with_guards();
    &mut all[start - AROUND..start + len + AROUND]
}

/// What a call has beside x, weight and bias.
#[derive(Clone, Copy, Debug)]
pub struct Fused {
    pub norm: Norm,
    /// See [`Tensor::element`].
    pub types: usize,
    /// Whether rows are heads of tokens.
    pub heads: bool,
    /// A residual, with the sum in its place or elsewhere.
    pub residual: Option<Tensor>,
    pub gate: bool,
    pub quantized: Option<(QuantizedType, dynorm_scale)>,
    pub statistics: bool,
}

impl Fused {
    pub fn new(norm: Norm, types: usize) -> Self {
        Self {
            norm,
            types,
            heads: false,
            residual: None,
            gate: false,
            quantized: None,
            statistics: false,
        }
    }

    /// The call as C describes it.
    pub fn args(&self, memory: &Memory) -> dynorm_forward_args {
        let of = |tensor: Tensor| element(tensor.element(self.types));
        let (y_element, scale_mode) = match self.quantized {
            None => (of(Y), dynorm_scale::DYNORM_SCALE_NONE),
            Some((QuantizedType::I8, mode)) => (MaybeUninit::new(dynorm_element::DYNORM_I8), mode),
            Some((_, mode)) => (MaybeUninit::new(dynorm_element::DYNORM_F8_E4M3), mode),
        };
        // SAFETY: zeros are every field's default.
        let mut args = dynorm_forward_args {
            size: size_of::<dynorm_forward_args>(),
            norm: norm(self.norm),
            rows: ROWS,
            channels: CHANNELS,
            x: memory.at(X),
            y: memory.at(Y),
            x_row_stride: X.row_stride(),
            y_row_stride: Y.row_stride(),
            x_element: of(X),
            y_element,
            weight: memory.at(Weight),
            bias: memory.at(Bias),
            weight_element: of(Weight),
            bias_element: of(Bias),
            scale_mode: MaybeUninit::new(scale_mode),
            ..unsafe { zeroed() }
        };
        if self.heads {
            args.heads = HEADS;
            args.x_token_stride = X.token_stride();
            args.y_token_stride = Y.token_stride();
            args.residual_token_stride = Residual.token_stride();
            args.residual_sum_token_stride = Sum.token_stride();
            args.z_token_stride = Gate.token_stride();
        }
        if let Some(sum) = self.residual {
            args.residual = memory.at(Residual);
            args.residual_element = of(Residual);
            args.residual_row_stride = Residual.row_stride();
            if sum == Sum {
                args.residual_sum = memory.at(Sum);
                args.residual_sum_row_stride = Sum.row_stride();
            }
        }
        if self.gate {
            args.z = memory.at(Gate);
            args.z_element = of(Gate);
            args.z_row_stride = Gate.row_stride();
        }
        if self.quantized.is_some() {
            args.scales = memory.at(Scales);
        }
        if self.statistics {
            args.statistics = memory.at(Statistics);
        }
        args
    }

    /// The same call as Rust describes it.
    pub fn call(&self, memory: &Memory) -> Forward {
        let rows = |tensor| self.rows(memory, tensor);
        let mut call = match self.quantized {
            None => Forward::new(self.norm, rows(X), rows(Y)),
            Some((element, mode)) => {
                let scales = memory.address(Scales);
                let scale = match mode {
                    dynorm_scale::DYNORM_SCALE_GIVEN => DeviceScale::GivenAt(scales),
                    dynorm_scale::DYNORM_SCALE_GIVEN_PER_ROW => DeviceScale::GivenPerRow(scales),
                    dynorm_scale::DYNORM_SCALE_COMPUTED => DeviceScale::Computed(scales),
                    dynorm_scale::DYNORM_SCALE_NONE
                    | dynorm_scale::DYNORM_SCALE_COMPUTED_PER_GROUP => {
                        unreachable!("8 bits have a scale, and groups none here")
                    }
                };
                let (at, stride) = (memory.address(Y), Y.row_stride());
                let y = if self.heads {
                    DeviceQuantizedRows::of_heads(at, element, shape(Y))
                } else {
                    DeviceQuantizedRows::with_stride(at, element, ROWS, CHANNELS, stride)
                };
                Forward::quantized(self.norm, rows(X), y.unwrap(), scale)
            }
        };
        if let Some(sum) = self.residual {
            call = call.residual_into(rows(Residual), rows(sum));
        }
        if self.gate {
            call = call.gate(rows(Gate));
        }
        if self.statistics {
            call = call.statistics(memory.address(Statistics));
        }
        call.weight(memory.address(Weight), Weight.element(self.types))
            .bias(memory.address(Bias), Bias.element(self.types))
    }

    pub fn rows(&self, memory: &Memory, tensor: Tensor) -> DeviceRows {
        let (at, element) = (memory.address(tensor), tensor.element(self.types));
        if self.heads {
            DeviceRows::of_heads(at, element, shape(tensor)).unwrap()
        } else {
            DeviceRows::with_stride(at, element, ROWS, CHANNELS, tensor.row_stride()).unwrap()
        }
    }
}

fn shape(tensor: Tensor) -> HeadShape {
    HeadShape {
        tokens: TOKENS,
        heads: HEADS,
        channels: CHANNELS,
        token_stride: tensor.token_stride(),
        head_stride: tensor.row_stride(),
    }
}
