//! The kernels of `gemv.cu`.

use dynorm::Norm;
use dynorm_gpu_lab::{Argument, Error, Kernel, Lab};
use std::ffi::CStr;

/// Rows and threads of a block, as in `gemv.cu`.
const ROWS: u32 = 8;
const THREADS: u32 = 128;

const PTX: &str = concat!(include_str!("gemv.sm_80.ptx"), "\0");

/// A product: the device addresses of W, x, weight (all bf16) and y (f32), and the size of W.
#[derive(Clone, Copy)]
pub struct Product {
    pub w: u64,
    pub x: u64,
    pub weight: u64,
    pub y: u64,
    pub rows: u32,
    /// A multiple of 8.
    pub columns: u32,
}

pub struct Kernels<'lab> {
    alone: Kernel<'lab>,
    rms_norm: Kernel<'lab>,
    dyt: Kernel<'lab>,
    dyisru: Kernel<'lab>,
    derf: Kernel<'lab>,
}

impl<'lab> Kernels<'lab> {
    pub fn load(lab: &'lab Lab) -> Result<Self, Error> {
        let module = lab.module(CStr::from_bytes_with_nul(PTX.as_bytes()).expect("one 0"))?;
        Ok(Self {
            alone: module.kernel(c"gemv")?,
            rms_norm: module.kernel(c"gemv_rms_norm")?,
            dyt: module.kernel(c"gemv_dyt")?,
            dyisru: module.kernel(c"gemv_dyisru")?,
            derf: module.kernel(c"gemv_derf")?,
        })
    }

    /// Puts `y = W x` on the stream.
    ///
    /// # Safety
    /// The tensors must be there until it is done.
    pub unsafe fn alone(&self, product: Product) -> Result<(), Error> {
        let Product { w, x, y, rows, columns, .. } = product;
        let tensors = [w, x, y].map(Argument::Address);
        let sizes = [rows, columns].map(Argument::Count);
        // SAFETY: as the caller says; these are the kernel's arguments.
        unsafe { launch(&self.alone, rows, &[&tensors[..], &sizes].concat()) }
    }

    /// Puts `y = W (weight * norm(x))` on the stream, the norm applied on load.
    ///
    /// # Safety
    /// The tensors must be there until it is done.
    ///
    /// # Panics
    /// For LayerNorm: with its mean, `W (weight * x)` would need a correction by a multiple of
    /// `W weight`, which cancels where the mean is large.
    pub unsafe fn on_load(&self, norm: Norm, product: Product) -> Result<(), Error> {
        let Product { w, x, weight, y, rows, columns } = product;
        let (kernel, parameters) = match norm {
            Norm::RmsNorm { eps } => (&self.rms_norm, vec![eps]),
            Norm::DyT { alpha } => (&self.dyt, vec![alpha]),
            Norm::DyIsru { beta, scale } => (&self.dyisru, vec![beta, scale]),
            Norm::Derf { alpha, shift } => (&self.derf, vec![alpha, shift]),
            _ => panic!("{} is not among the kernels", norm.name()),
        };
        let tensors = [w, x, weight, y].map(Argument::Address);
        let sizes = [rows, columns].map(Argument::Count);
        let parameters: Vec<_> = parameters.into_iter().map(Argument::Number).collect();
        // SAFETY: as the caller says; these are the kernel's arguments.
        unsafe { launch(kernel, rows, &[&tensors[..], &sizes, &parameters].concat()) }
    }
}

/// # Safety
/// As for [`Kernel::launch`].
unsafe fn launch(kernel: &Kernel, rows: u32, arguments: &[Argument]) -> Result<(), Error> {
    // SAFETY: the same.
    unsafe { kernel.launch(rows.div_ceil(ROWS), THREADS, arguments) }
}
