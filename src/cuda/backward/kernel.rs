//! The kernels of gradients by name, loaded for one function and one type of x.

use crate::cuda::module::{compile, find, unload};
use crate::cuda::ptx;
use crate::{ElementType, Error, Norm};
use core::ptr;
use cudarc::driver::sys;

/// `kernels/backward_rows.cuh` and `kernels/backward_columns.cuh` say what each does.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(usize)]
pub(super) enum Kernel {
    /// Rows in registers, a vector a thread.
    Keep1,
    /// Two vectors.
    Keep2,
    /// Four vectors.
    Keep4,
    /// What is to be known of rows.
    Measure,
    /// The same at any alignment.
    MeasureAny,
    /// Column by column, 16 bytes at a time.
    Columns,
    /// The same, an element at a time.
    ColumnsAny,
    /// The sums of all groups.
    AddUp,
}

impl Kernel {
    const COUNT: usize = Self::AddUp as usize + 1;

    /// Those that `norm` has.
    fn all(norm: Norm) -> &'static [Self] {
        use Kernel::*;
        if norm.is_elementwise() {
            &[Columns, ColumnsAny, AddUp]
        } else {
            &[Keep1, Keep2, Keep4, Measure, MeasureAny, Columns, ColumnsAny, AddUp]
        }
    }

    /// Its name in the PTX.
    fn name(self, norm: Norm, x: ElementType) -> String {
        let form = match self {
            Self::Keep1 => "keep1",
            Self::Keep2 => "keep2",
            Self::Keep4 => "keep4",
            Self::Measure => "measure",
            Self::MeasureAny => "measure_any",
            Self::Columns => "columns",
            Self::ColumnsAny => "columns_any",
            Self::AddUp => "add_up",
        };
        format!("{}{}_{}_{form}", norm.name(), ptx::GRADIENTS, x.name())
    }
}

/// A module with its kernels. Unloaded by hand, as [`Module`](crate::cuda::module::Module).
#[derive(Debug)]
pub(crate) struct GradientModule {
    module: sys::CUmodule,
    kernels: [sys::CUfunction; Kernel::COUNT],
}

impl GradientModule {
    /// Loads the kernels of the gradients of `norm` for `x`.
    ///
    /// # Safety
    /// The driver must be loaded and a context be current.
    pub(crate) unsafe fn load(norm: Norm, x: ElementType) -> Result<Self, Error> {
        let missing = Error::GradientNotLoaded { name: norm.name(), element: x };
        let ptx = ptx::find_gradients(norm, x).ok_or(missing)?;
        // SAFETY: the same contract; embedded PTX ends with a 0 byte.
        let module = unsafe { compile(&ptx) }?;
        let mut loaded = Self { module, kernels: [ptr::null_mut(); Kernel::COUNT] };
        for &kernel in Kernel::all(norm) {
            // SAFETY: the module is loaded.
            match unsafe { find(loaded.module, kernel.name(norm, x)) } {
                Ok(found) => loaded.kernels[kernel as usize] = found,
                Err(error) => {
                    // SAFETY: nothing of the module has been used.
                    unsafe { loaded.unload() };
                    return Err(error);
                }
            }
        }
        Ok(loaded)
    }

    /// A kernel that the function has.
    pub(super) fn kernel(&self, kernel: Kernel) -> sys::CUfunction {
        self.kernels[kernel as usize]
    }

    /// # Safety
    /// The context of [`load`](Self::load) must be current, and no kernel of the module in use.
    pub(crate) unsafe fn unload(&self) {
        // SAFETY: the same contract.
        unsafe { unload(self.module) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_in_the_ptx_and_nothing_else() {
        for norm in Norm::DEFAULTS {
            for x in ElementType::ALL {
                let text = String::from_utf8(ptx::find_gradients(norm, x).unwrap()).unwrap();
                for kernel in Kernel::all(norm) {
                    let entry = format!(".entry {}(", kernel.name(norm, x));
                    assert_eq!(text.matches(&entry).count(), 1, "{entry}");
                }
                assert_eq!(text.matches(".entry ").count(), Kernel::all(norm).len());
            }
        }
    }
}
