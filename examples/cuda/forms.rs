//! The forms that are compared, with the memory they work in.

use crate::gpu::Gpu;
use crate::kernels::{Kernels, Product};
use crate::problem::Problem;
use dynorm::cuda::{DeviceRows, Forward};
use dynorm::{ElementType, Norm};
use dynorm_gpu_lab::{Error, Lab, Memory};

#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// The product of an input that is ready: what the others are measured by.
    Alone,
    /// The norm by dynorm's kernel, then the product.
    TwoSteps(Norm),
    /// The norm applied by the product's kernel.
    OnLoad(Norm),
}

impl Form {
    pub fn norm(self) -> Option<Norm> {
        match self {
            Self::Alone => None,
            Self::TwoSteps(norm) | Self::OnLoad(norm) => Some(norm),
        }
    }

    /// What its input was rounded by, relatively, before the product.
    fn rounding(self) -> f64 {
        if let Self::TwoSteps(_) = self { 2f64.powi(-8) } else { 0.0 }
    }
}

pub struct Forms<'a> {
    gpu: &'a Gpu,
    kernels: Kernels<'a>,
    problem: &'a Problem,
    /// W, as often as was asked for.
    matrices: Vec<Memory<'a>>,
    x: Memory<'a>,
    weight: Memory<'a>,
    normed: Memory<'a>,
    /// The results, and guards behind them.
    y: Memory<'a>,
}

/// Results behind the last one, which nobody may write: more than a block has.
const GUARD: usize = 64;

impl<'a> Forms<'a> {
    /// With `copies` of W, so that each call can find its own in memory, not in a cache.
    pub fn new(gpu: &'a Gpu, problem: &'a Problem, copies: usize) -> Result<Self, Error> {
        let lab: &Lab = &gpu.lab;
        let w = bytemuck::cast_slice(&problem.w);
        Ok(Self {
            gpu,
            kernels: Kernels::load(lab)?,
            problem,
            matrices: (0..copies).map(|_| lab.upload(w)).collect::<Result<_, _>>()?,
            x: lab.upload(bytemuck::cast_slice(&problem.x))?,
            weight: lab.upload(bytemuck::cast_slice(&problem.weight))?,
            normed: lab.memory(2 * problem.columns)?,
            y: lab.memory(4 * (problem.rows + GUARD))?,
        })
    }

    /// Puts a form on the stream, with one of the copies of W.
    pub fn launch(&self, form: Form, copy: usize) -> Result<(), Error> {
        let product = Product {
            w: self.matrices[copy].address(),
            x: self.x.address(),
            weight: self.weight.address(),
            y: self.y.address(),
            rows: self.problem.rows as u32,
            columns: self.problem.columns as u32,
        };
        // SAFETY: the tensors are this value's, and of these sizes.
        unsafe {
            match form {
                Form::Alone => self.kernels.alone(product),
                Form::OnLoad(norm) => self.kernels.on_load(norm, product),
                Form::TwoSteps(norm) => {
                    let row = |memory: &Memory| {
                        let address = memory.address();
                        DeviceRows::new(address, ElementType::Bf16, 1, self.problem.columns)
                            .expect("a row fits")
                    };
                    let call = Forward::new(norm, row(&self.x), row(&self.normed))
                        .weight(self.weight.address(), ElementType::Bf16);
                    self.gpu.launch(&call);
                    self.kernels.alone(Product { x: self.normed.address(), ..product })
                }
            }
        }
    }

    /// Fails unless a form gives what it has to.
    pub fn check(&self, form: Form) -> Result<(), Error> {
        self.y.fill(0xff)?;
        self.launch(form, self.matrices.len() - 1)?;
        self.gpu.synchronize();
        let mut given = vec![0.0_f32; self.problem.rows + GUARD];
        self.y.read(0, bytemuck::cast_slice_mut(&mut given))?;
        let guards = given.split_off(self.problem.rows);
        assert!(guards.iter().all(|y| y.to_bits() == u32::MAX), "{form:?} writes past the rows");
        for (row, (wanted, given)) in self.problem.wanted(form.norm()).iter().zip(given).enumerate()
        {
            assert!(wanted.is(given, form.rounding()), "{form:?}, row {row}: {given}");
        }
        Ok(())
    }
}
