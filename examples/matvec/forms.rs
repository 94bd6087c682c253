//! The forms that are compared, with the memory they work in.

use crate::kernel::{ByEveryBlock, ByTheFirst, Fused, Matrix, Plain};
use crate::prologue::Function;
use dynorm::cpu::lanes;
use dynorm::{Element, Error, Isa, Rows, RowsMut};

#[derive(Clone, Copy)]
pub enum Form {
    /// The product of an input that is ready: what the others are measured by.
    Alone,
    /// The norm into a buffer, then the product.
    TwoCalls,
    /// See [`ByTheFirst`].
    ByTheFirst,
    /// See [`ByEveryBlock`].
    ByEveryBlock,
}

impl Form {
    pub const ALL: [Self; 4] = [Self::Alone, Self::TwoCalls, Self::ByTheFirst, Self::ByEveryBlock];
}

pub struct Forms<'a, F, W> {
    isa: Isa,
    function: F,
    matrix: Matrix<'a, W>,
    weight: &'a [f32],
    x: &'a [f32],
    /// The input of the product, for the first two forms.
    normed: Vec<f32>,
    /// The same, as the third form leaves it.
    kept: Vec<f32>,
    /// The results of each form.
    y: [Vec<f32>; Form::ALL.len()],
}

impl<'a, F: Function, W: Element> Forms<'a, F, W> {
    pub fn new(
        isa: Isa,
        function: F,
        matrix: Matrix<'a, W>,
        weight: &'a [f32],
        x: &'a [f32],
    ) -> Self {
        let y = [(); Form::ALL.len()].map(|()| vec![0.0; matrix.elements.len() / matrix.stride]);
        let (normed, kept) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        Self { isa, function, matrix, weight, x, normed, kept, y }
    }

    pub fn run(&mut self, form: Form) -> Result<(), Error> {
        let Self { isa, function, matrix, weight, x, .. } = *self;
        let y = &mut self.y[form as usize];
        match form {
            Form::Alone => lanes::run(isa, Plain { matrix, x: &self.normed, y }),
            Form::TwoCalls => {
                let normed = RowsMut::new(&mut self.normed, 1, x.len())?;
                let call = function.norm().forward(Rows::new(x, 1, x.len())?, normed);
                call.weight(weight).isa(isa).run()?;
                lanes::run(isa, Plain { matrix, x: &self.normed, y })
            }
            Form::ByTheFirst => {
                let fused = Fused { function, matrix, weight, x, y };
                lanes::run(isa, ByTheFirst { fused, kept: &mut self.kept })
            }
            Form::ByEveryBlock => {
                lanes::run(isa, ByEveryBlock(Fused { function, matrix, weight, x, y }))
            }
        }
    }

    /// Fails unless the results of all forms agree: to the bit where the function is applied to
    /// each element by itself; where its factor was put off, but for rounding.
    pub fn check(&self) {
        let [_, wanted, others @ ..] = &self.y;
        let largest = wanted.iter().fold(0.0_f32, |largest, y| largest.max(y.abs()));
        let allowed = if self.function.norm().is_elementwise() { 0.0 } else { 1e-5 * largest };
        for (wanted, given) in others.iter().flat_map(|other| wanted.iter().zip(other)) {
            assert!((wanted - given).abs() <= allowed, "{given} instead of {wanted}");
        }
    }
}
