//! A call for gradients on a device: what it works on, whether that can be, and its launches.

use super::plan::{plan, workspace_len};
use crate::backward::{DX, DY};
use crate::cuda::Device;
use crate::cuda::call::{heads, of_shape};
use crate::cuda::driver::Current;
use crate::cuda::rows::{DeviceChannels, DeviceRows};
use crate::norm::require;
use crate::place::{self, Access};
use crate::{Error, Norm};
use core::ffi::c_void;

/// All that the launches are decided from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) norm: Norm,
    pub(super) x: DeviceRows,
    pub(super) dy: DeviceRows,
    pub(super) dx: DeviceRows,
    pub(super) weight: Option<DeviceChannels>,
    pub(super) weight_offset: f32,
    /// Addresses of f32.
    pub(super) d_weight: Option<u64>,
    pub(super) d_bias: Option<u64>,
    pub(super) d_parameters: Option<u64>,
    /// Its address, and how many f32 it has room for.
    pub(super) workspace: (u64, usize),
}

impl Call {
    /// Columns whose sums over rows are wanted.
    pub(super) fn columns(&self) -> usize {
        let wanted = usize::from(self.d_weight.is_some()) + usize::from(self.d_bias.is_some());
        self.x.channels().saturating_mul(wanted)
    }

    /// Heads of a token, if some tensor has any.
    pub(super) fn heads(&self) -> Option<usize> {
        [self.x, self.dy, self.dx].into_iter().find_map(|tensor| heads(tensor.layout))
    }

    /// Puts the work on `stream`.
    ///
    /// # Safety
    /// As [`Backward::launch`](super::Backward::launch).
    pub(super) unsafe fn launch(&self, device: &Device, stream: *mut c_void) -> Result<(), Error> {
        let (sums, tensors) = (self.sums()?, self.tensors()?);
        // Sums are there without rows, too.
        place::check(1, &sums)?;
        let mut all = [None; 8];
        all[..4].copy_from_slice(&tensors);
        all[4..].copy_from_slice(&sums);
        place::check(self.x.rows(), &all)?;
        let module = device.gradient_module(self.norm, self.x.element)?;
        let launches = plan(self)?;
        // SAFETY: a device's context is alive. The caller vouches for the memory and the stream, the checks and `plan`
        // for what the kernels are told about them.
        unsafe {
            let _current = Current::new(device.context().cast())?;
            device.check_addresses(if self.x.rows() == 0 { &sums } else { &all })?;
            for launch in launches.into_iter().flatten() {
                let kernel = module.kernel(launch.kernel);
                device.start(kernel, launch.grid, launch.args, false, stream)?;
            }
        }
        Ok(())
    }

    /// Checks what can be known without a device, but for addresses; gives the tensors that there are.
    fn tensors(&self) -> Result<[Option<Access>; 4], Error> {
        self.norm.check()?;
        let offset = self.weight_offset;
        require("weight_offset", offset, offset.is_finite(), "finite")?;
        let (input, heads) = (self.x.layout, self.heads());
        let read = |what, tensor: DeviceRows| {
            let (given, wanted) = (tensor.element, self.x.element);
            if given != wanted {
                return Err(Error::GradientType { what, given, wanted });
            }
            Ok(Access::read(what, of_shape(what, tensor.place(), input, heads)?))
        };
        let weight = self.weight.map(|given| {
            let size = given.element.size();
            Access::of_channels("weight", given.address, size, input.channels)
        });
        Ok([
            Some(Access::read("input", self.x.place())),
            Some(read(DY, self.dy)?),
            Some(Access { is_written: true, in_place_of: Some(DY), ..read(DX, self.dx)? }),
            weight.transpose()?,
        ])
    }

    /// The same of what is f32 and written.
    fn sums(&self) -> Result<[Option<Access>; 4], Error> {
        let (workspace, given) = self.workspace;
        let wanted = workspace_len(self);
        if given < wanted {
            return Err(Error::Length { what: "workspace", given, wanted });
        }
        let channels = self.x.channels();
        Ok([
            Access::sums("gradient of the weight", self.d_weight, channels)?,
            Access::sums("gradient of the bias", self.d_bias, channels)?,
            Access::sums(
                "gradient of the parameters",
                self.d_parameters,
                self.norm.parameter_count(),
            )?,
            Access::sums("workspace", Some(workspace), wanted)?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ElementType::{Bf16, F32};

    fn rows(address: u64) -> DeviceRows {
        DeviceRows::new(address, F32, 4, 8).unwrap()
    }

    fn call() -> Call {
        Call {
            norm: Norm::DEFAULTS[2],
            x: rows(4096),
            dy: rows(8192),
            dx: rows(12_288),
            weight: None,
            weight_offset: 0.0,
            d_weight: None,
            d_bias: None,
            d_parameters: None,
            workspace: (16_384, 1024),
        }
    }

    fn check(call: Call) -> Result<(), Error> {
        let (sums, tensors) = (call.sums()?, call.tensors()?);
        place::check(1, &sums)?;
        place::check(call.x.rows(), &[tensors, sums].concat())
    }

    #[test]
    fn calls_are_checked() {
        assert_eq!(check(call()), Ok(()));
        assert_eq!(check(Call { dx: rows(8192), ..call() }), Ok(()), "in place");
        let overlap = |written, what| Err(Error::Overlap { written, what });
        assert_eq!(check(Call { dx: rows(4096), ..call() }), overlap(DX, "input"));
        assert_eq!(check(Call { dx: rows(8196), ..call() }), overlap(DX, DY));
        let sums = |address| check(Call { d_weight: Some(address), ..call() });
        assert_eq!(sums(20_480), Ok(()));
        assert_eq!(sums(4096), overlap("gradient of the weight", "input"));
        assert_eq!(sums(16_384), overlap("gradient of the weight", "workspace"));
        assert!(matches!(sums(20_481), Err(Error::Address { .. })));
        let bf16 = DeviceRows::new(8192, Bf16, 4, 8).unwrap();
        let given = Error::GradientType { what: DY, given: Bf16, wanted: F32 };
        assert_eq!(check(Call { dy: bf16, ..call() }), Err(given));
        let narrow = DeviceRows::new(8192, F32, 4, 7).unwrap();
        assert!(matches!(check(Call { dy: narrow, ..call() }), Err(Error::Shape { what: DY, .. })));
        let small = Call { d_bias: Some(20_480), workspace: (16_384, 7), ..call() };
        assert!(matches!(check(small), Err(Error::Length { what: "workspace", given: 7, .. })));
        let offset = Call { weight_offset: f32::NAN, ..call() };
        assert!(matches!(check(offset), Err(Error::Parameter { .. })));
    }

    #[test]
    fn only_sums_and_rows_that_are_read_first_need_a_workspace() {
        assert_eq!(workspace_len(&call()), 0);
        assert_eq!(check(Call { workspace: (0, 0), ..call() }), Ok(()));
        for (norm, words) in [(Norm::DEFAULTS[0], 2), (Norm::DEFAULTS[1], 5)] {
            assert_eq!(workspace_len(&Call { norm, ..call() }), 4 * words);
        }
        // Four rows side by side, in one group.
        assert_eq!(workspace_len(&Call { d_bias: Some(20_480), ..call() }), 8);
    }
}
