//! One call: its tensors and what the result has to be, wherever it is run.

use super::buffer::Buffer;
use dynorm::cuda::{DeviceRows, Forward};
use dynorm::{ElementType, Norm, reference};

/// The relative error of functions of each element where the output has 16 bits.
pub const SHORT: f64 = 1.0 / (1 << 16) as f64;

/// A call in words. Offsets and paddings are in elements.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub norm: Norm,
    pub x: ElementType,
    pub y: ElementType,
    pub weight: Option<ElementType>,
    pub bias: Option<ElementType>,
    pub weight_offset: f32,
    pub rows: usize,
    pub channels: usize,
    /// Between the rows of x and y.
    pub padding: [usize; 2],
    /// Of x, y, weight and bias from an aligned address.
    pub offset: [usize; 4],
    pub in_place: bool,
}

impl Case {
    pub fn new(norm: Norm, x: ElementType, y: ElementType, rows: usize, channels: usize) -> Self {
        Self {
            norm,
            x,
            y,
            weight: None,
            bias: None,
            weight_offset: 0.0,
            rows,
            channels,
            padding: [0; 2],
            offset: [0; 4],
            in_place: false,
        }
    }
}

/// Numbers that look random and are the same in every run.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        // xorshift64*, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    /// About normal, standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        let uniform = |n: u64| (n >> 11) as f64 / (1_u64 << 53) as f64;
        (0..12).map(|_| uniform(self.next())).sum::<f64>() - 6.0
    }
}

/// The tensors of a case.
pub struct Tensors {
    pub case: Case,
    pub x: Buffer,
    pub y: Buffer,
    pub weight: Option<Buffer>,
    pub bias: Option<Buffer>,
    /// x as it was before the run.
    input: Vec<f64>,
}

impl Tensors {
    /// With values from `value`, which is given the row and the channel.
    pub fn new(case: Case, mut value: impl FnMut(usize, usize) -> f64) -> Self {
        let Case { rows, channels, .. } = case;
        let tensor = |element, which: usize| {
            let stride = channels + case.padding[which];
            Buffer::new(element, (rows - 1) * stride + channels, case.offset[which])
        };
        let operand = |element: Option<ElementType>, which: usize| {
            let mut numbers = Numbers::new(which as u64);
            element.map(|element| {
                let mut buffer = Buffer::new(element, channels, case.offset[which]);
                (0..channels).for_each(|c| buffer.set(c, numbers.normal()));
                buffer
            })
        };
        let (mut x, mut y) = (tensor(case.x, 0), tensor(case.y, 1));
        let (x_stride, mut input) = (channels + case.padding[0], Vec::new());
        for row in 0..rows {
            for channel in 0..x_stride.min(if row + 1 < rows { x_stride } else { channels }) {
                let i = row * x_stride + channel;
                if channel < channels {
                    x.set(i, value(row, channel));
                    input.push(x.get(i));
                } else {
                    // What is between the rows must not matter.
                    x.set(i, f64::NAN);
                }
            }
        }
        if case.in_place {
            y = Buffer::new(case.y, 0, 0);
        }
        Self { case, x, y, weight: operand(case.weight, 2), bias: operand(case.bias, 3), input }
    }

    /// x, y (of no elements in place), weight and bias, where there are any.
    pub fn buffers(&mut self) -> [Option<&mut Buffer>; 4] {
        [Some(&mut self.x), Some(&mut self.y), self.weight.as_mut(), self.bias.as_mut()]
    }

    /// The call on the tensors where they are.
    pub fn forward(&self) -> Forward {
        let address = |operand: &Option<Buffer>| operand.as_ref().map_or(0, Buffer::address);
        self.forward_at([
            self.x.address(),
            self.y.address(),
            address(&self.weight),
            address(&self.bias),
        ])
    }

    /// The call on copies of the tensors, by the addresses of their first elements.
    pub fn forward_at(&self, [x, y, weight, bias]: [u64; 4]) -> Forward {
        let Case { rows, channels, .. } = self.case;
        let view = |address, element, padding| {
            DeviceRows::with_stride(address, element, rows, channels, channels + padding).unwrap()
        };
        let [x_padding, y_padding] = self.case.padding;
        let y = if self.case.in_place {
            view(x, self.case.y, x_padding)
        } else {
            view(y, self.case.y, y_padding)
        };
        let mut call = Forward::new(self.case.norm, view(x, self.case.x, x_padding), y)
            .weight_offset(self.case.weight_offset);
        if let Some(element) = self.case.weight {
            call = call.weight(weight, element);
        }
        if let Some(element) = self.case.bias {
            call = call.bias(bias, element);
        }
        call
    }

    fn output(&self) -> (&Buffer, usize) {
        if self.case.in_place {
            (&self.x, self.case.padding[0])
        } else {
            (&self.y, self.case.padding[1])
        }
    }

    /// The output's bits, row after row.
    pub fn bits(&self) -> Vec<u32> {
        let (y, padding) = self.output();
        let at = |i: usize| {
            i / self.case.channels * (self.case.channels + padding) + i % self.case.channels
        };
        (0..self.input.len()).map(|i| y.bits(at(i))).collect()
    }

    /// Compares with the reference; panics where it differs by more than f32 arithmetic of `ulp`
    /// units and the rounding to the output's type explain. Gives the largest difference, in units
    /// of what is allowed.
    pub fn check(&self, ulp: f64) -> f64 {
        let case = &self.case;
        let Case { channels, .. } = *case;
        let decode = |buffer: &Option<Buffer>| -> Option<Vec<f64>> {
            buffer.as_ref().map(|b| (0..channels).map(|c| b.get(c)).collect())
        };
        let (weight, bias) = (decode(&self.weight), decode(&self.bias));
        let offset = f64::from(case.weight_offset);
        let f = reference::forward(case.norm, &self.input, None, None, 0.0, channels);
        let (y, padding) = self.output();
        assert!(
            y.guards_are_whole() && self.x.guards_are_whole(),
            "{case:?}: wrote past the tensor"
        );
        let mut worst = 0.0_f64;
        for (i, &f) in f.iter().enumerate() {
            let (row, channel) = (i / channels, i % channels);
            let w = weight.as_ref().map_or(1.0, |w| w[channel] + offset);
            let b = bias.as_ref().map_or(0.0, |b| b[channel]);
            let wanted = f * w + b;
            let given = y.get(row * (channels + padding) + channel);
            // Rows are of size 1 after a row function: that is what its errors are measured by.
            let elementwise = case.norm.is_elementwise();
            let size = if elementwise { f.abs() } else { f.abs().max(1.0) };
            let short = elementwise && case.y != ElementType::F32;
            let error = (ulp * 2.0_f64.powi(-23)).max(if short { SHORT } else { 0.0 });
            let arithmetic = error * (size * w.abs()) + 2.0_f64.powi(-24) * wanted.abs();
            let allowed = arithmetic + half_ulp(case.y, wanted.abs() + arithmetic);
            let error = (given - wanted).abs() / allowed;
            let same = given == wanted || (given.is_nan() && wanted.is_nan());
            assert!(
                same || error <= 1.0 || overflows(case.y, wanted.abs() + allowed, given),
                "{case:?}: row {row}, channel {channel}: {given} instead of {wanted}, f = {f}",
            );
            if !same && error.is_finite() {
                worst = worst.max(error);
            }
        }
        if !case.in_place {
            for row in 0..case.rows.saturating_sub(1) {
                for gap in 0..padding {
                    assert!(
                        y.is_guard(row * (channels + padding) + channels + gap),
                        "{case:?}: wrote between the rows"
                    );
                }
            }
        }
        worst
    }
}

/// Half of what the last digit of `magnitude` counts in `element`.
pub fn half_ulp(element: ElementType, magnitude: f64) -> f64 {
    let (digits, least) = match element {
        ElementType::F32 => (24, -149),
        ElementType::F16 => (11, -24),
        ElementType::Bf16 => (8, -133),
    };
    // By the bits, because this is done 2^32 times. 0 and what is subnormal in f64 come out as if
    // they were 2^-1023, far below what any of the types has.
    let exponent = (magnitude.to_bits() >> 52) as i64 - 1023;
    let last = (exponent + 1 - digits).max(least);
    f64::from_bits(((last - 1 + 1023) as u64) << 52)
}

fn overflows(element: ElementType, magnitude: f64, given: f64) -> bool {
    element == ElementType::F16 && magnitude >= 65_504.0 && given.abs() >= 65_504.0
}
