//! A call of the library in all its detail, and its comparison with the definition.

use super::random::Random;
use super::tensor::{Guarded, Place, Tensor};
use super::tolerance;
use dynorm::{ElementType, Error, Forward, Isa, Norm, reference};

/// Everything about a call but its numbers.
#[derive(Clone, Debug)]
pub struct Call {
    pub norm: Norm,
    pub isa: Isa,
    pub x_type: ElementType,
    /// In place, the input's type too.
    pub y_type: ElementType,
    pub weight: Option<ElementType>,
    pub bias: Option<ElementType>,
    pub weight_offset: f32,
    pub rows: usize,
    pub channels: usize,
    /// Elements between the rows of the input, and of the output.
    pub gaps: (usize, usize),
    /// Elements from a cache line's begin to the input, and to the output.
    pub starts: (usize, usize),
    pub in_place: bool,
    pub stream: Option<bool>,
}

/// The numbers of a call, rounded to its types; rows side by side.
#[derive(Clone, Debug)]
pub struct Numbers {
    pub x: Tensor,
    pub weight: Option<Tensor>,
    pub bias: Option<Tensor>,
}

impl Call {
    /// Dense f32 rows without weight and bias.
    pub fn new(norm: Norm, isa: Isa, rows: usize, channels: usize) -> Self {
        Self {
            norm,
            isa,
            x_type: ElementType::F32,
            y_type: ElementType::F32,
            weight: None,
            bias: None,
            weight_offset: 0.0,
            rows,
            channels,
            gaps: (0, 0),
            starts: (0, 0),
            in_place: false,
            stream: None,
        }
    }

    pub fn types(self, x_type: ElementType, y_type: ElementType) -> Self {
        Self { x_type, y_type, ..self }
    }

    pub fn affine(self, weight: Option<ElementType>, bias: Option<ElementType>) -> Self {
        Self { weight, bias, ..self }
    }

    /// Numbers of ordinary size.
    pub fn numbers(&self, seed: u64) -> Numbers {
        let mut random = Random(seed);
        let x_type = if self.in_place { self.y_type } else { self.x_type };
        let x = Tensor::new(x_type, &random.normals(self.rows * self.channels, 0.2, 1.5));
        let mut operand = |element: Option<ElementType>, mean| {
            let values = random.normals(self.channels, mean, 1.0);
            element.map(|element| Tensor::new(element, &values))
        };
        let weight = operand(self.weight, 1.0);
        let bias = operand(self.bias, 0.0);
        Numbers { x, weight, bias }
    }

    /// Builds the call over guarded memory, has `run` run it, and gives the output.
    ///
    /// # Panics
    /// If something outside the output's rows was written.
    pub fn run_with<R>(
        &self,
        numbers: &Numbers,
        run: impl FnOnce(&mut Forward<'_>) -> R,
    ) -> (Tensor, R) {
        let place = |gap, start| Place { rows: self.rows, channels: self.channels, gap, start };
        let (x_place, y_place) =
            (place(self.gaps.0, self.starts.0), place(self.gaps.1, self.starts.1));
        // Operands, too, start anywhere.
        let operand = |values: &Tensor, start| {
            Guarded::new(Place { rows: 1, channels: values.len(), gap: 0, start }, values)
        };
        let weight = numbers.weight.as_ref().map(|w| operand(w, self.starts.0 + 1));
        let bias = numbers.bias.as_ref().map(|b| operand(b, self.starts.1 + 2));
        let x = Guarded::new(x_place, &numbers.x);
        let mut y = if self.in_place {
            Guarded::new(y_place, &numbers.x)
        } else {
            Guarded::poison(self.y_type, y_place)
        };

        let mut call = if self.in_place {
            self.norm.forward_in_place(y.rows_mut())
        } else {
            self.norm.forward(x.rows(), y.rows_mut())
        };
        call = call.isa(self.isa).weight_offset(self.weight_offset);
        if let Some(weight) = &weight {
            call = weight.as_weight(call);
        }
        if let Some(bias) = &bias {
            call = bias.as_bias(call);
        }
        if let Some(stream) = self.stream {
            call = call.stream(stream);
        }
        let result = run(&mut call);
        (y.into_rows(), result)
    }

    /// Whether there is nothing in it that short calls do not have, but perhaps its length.
    fn may_be_short(&self) -> bool {
        let of_type = [Some(ElementType::F32), Some(self.x_type)].contains(&self.weight);
        let plain = of_type && (self.bias.is_none() || self.bias == self.weight);
        let dense = self.gaps == (0, 0) || self.rows == 1;
        let alike = (self.in_place || self.x_type == self.y_type) && dense;
        plain && alike && self.stream.is_none() && self.rows <= 1024
    }

    /// The output of [`Forward::run`]. Short calls have kernels of their own, unless there is something to choose: both
    /// have to give the same.
    pub fn run(&self, numbers: &Numbers) -> Tensor {
        let run = |call: &Self| {
            let (y, result): (_, Result<(), Error>) = call.run_with(numbers, |call| call.run());
            assert_eq!(result, Ok(()), "{call:?}");
            y
        };
        let y = run(self);
        if self.may_be_short() {
            let other = run(&Self { stream: Some(false), ..self.clone() });
            assert!(y.all_bits() == other.all_bits(), "{self:?}");
        }
        y
    }

    /// Runs with ordinary numbers and compares with the definition.
    pub fn check(&self) {
        let numbers = self.numbers((self.rows * 4096 + self.channels) as u64);
        self.compare(&numbers, &self.run(&numbers));
    }

    /// Compares an output with the definition.
    ///
    /// # Panics
    /// If an element is farther from it than [`tolerance`] allows.
    pub fn compare(&self, numbers: &Numbers, y: &Tensor) {
        let x = numbers.x.values();
        let weight = numbers.weight.as_ref().map(Tensor::values);
        let bias = numbers.bias.as_ref().map(Tensor::values);
        let (weight, bias) = (weight.as_deref(), bias.as_deref());
        let offset = f64::from(self.weight_offset);
        let wanted = reference::forward(self.norm, &x, weight, bias, offset, self.channels);
        let f = reference::forward(self.norm, &x, None, None, 0.0, self.channels);
        let errors =
            tolerance::of_function(self.norm, self.isa, self.y_type, &x, &f, self.channels);
        for i in 0..wanted.len() {
            let channel = i % self.channels;
            let weight = weight.map(|w| w[channel] + offset);
            let bias = bias.map(|b| b[channel]);
            let error = tolerance::of_affine(f[i], errors[i], weight, bias);
            let allowed = error + tolerance::of_store(self.y_type, wanted[i], error);
            let given = y.value(i);
            assert!(
                tolerance::is_within(given, wanted[i], allowed),
                "element {i}: x = {:e}, y = {given:e} instead of {:e} +- {allowed:e}, {self:?}",
                x[i],
                wanted[i],
            );
        }
    }
}
