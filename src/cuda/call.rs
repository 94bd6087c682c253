//! A call on a device: what it works on, whether that can be, and its launch.

use super::Device;
use super::device::Grid;
use super::driver::Current;
use super::launch::plan;
use super::rows::{DeviceChannels, DeviceQuantizedRows, DeviceRows, DeviceScale};
use crate::norm::require;
use crate::place::{self, Access, Place};
use crate::tensor::Layout;
use crate::{Error, Norm};
use core::ffi::c_void;

/// All that a launch is decided from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) norm: Norm,
    pub(crate) x: DeviceRows,
    pub(crate) output: Output,
    pub(crate) residual: Option<Residual>,
    pub(crate) gate: Option<DeviceRows>,
    /// The address of what is known of the rows.
    pub(crate) statistics: Option<u64>,
    pub(crate) weight: Option<DeviceChannels>,
    pub(crate) bias: Option<DeviceChannels>,
    pub(crate) weight_offset: f32,
    pub(crate) fast: bool,
    pub(crate) programmatic: bool,
}

/// What a call writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    Rows(DeviceRows),
    Quantized(DeviceQuantizedRows, DeviceScale),
    /// The statistics of rows, at this address.
    Statistics(u64),
}

/// x is added to `input`; the sum is what the function is taken of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residual {
    pub(crate) input: DeviceRows,
    pub(crate) sum: DeviceRows,
}

impl Call {
    pub(crate) fn new(norm: Norm, x: DeviceRows, output: Output) -> Self {
        Self {
            norm,
            x,
            output,
            residual: None,
            gate: None,
            statistics: None,
            weight: None,
            bias: None,
            weight_offset: 0.0,
            fast: false,
            programmatic: false,
        }
    }

    /// Puts the work on `stream`.
    ///
    /// # Safety
    /// As [`Forward::launch`](super::Forward::launch).
    pub(crate) unsafe fn launch(&self, device: &Device, stream: *mut c_void) -> Result<(), Error> {
        let accesses = self.accesses()?;
        place::check(self.x.rows(), &accesses)?;
        let module = device.module(self.norm, self.source().element)?;
        let Some(launch) = plan(self, module.max_cluster())? else { return Ok(()) };
        // SAFETY: a device's context is alive. The caller vouches for the memory and the stream,
        // `accesses` and `plan` for what the kernel is told about them.
        unsafe {
            let _current = Current::new(device.context().cast())?;
            device.check_addresses(&accesses)?;
            let kernel = module.kernel(launch.kernel);
            let grid = Grid { blocks: launch.grid, threads: launch.block, cluster: launch.cluster };
            device.start(kernel, grid, launch.args, self.programmatic, stream)
        }
    }

    /// What the function is taken of, but for x that is added to it.
    pub(crate) fn source(&self) -> DeviceRows {
        self.residual.map_or(self.x, |residual| residual.input)
    }

    /// Checks what can be known without a device, but for addresses; gives the tensors that there
    /// are.
    pub(crate) fn accesses(&self) -> Result<[Option<Access>; 9], Error> {
        let Self { norm, x, .. } = *self;
        norm.check()?;
        require("weight_offset", self.weight_offset, self.weight_offset.is_finite(), "finite")?;
        let wants_statistics = matches!(self.output, Output::Statistics(_));
        if (self.statistics.is_some() || wants_statistics) && norm.is_elementwise() {
            return Err(Error::NoStatistics { name: norm.name() });
        }
        let (output, scales) = self.output_access()?;
        let (residual, sum) = self.residual_access()?;
        let operand = |what, operand: Option<DeviceChannels>| {
            let access = |given: DeviceChannels| {
                Access::of_channels(what, given.address, given.element.size(), x.channels())
            };
            operand.map(access).transpose()
        };
        let statistics =
            self.statistics.map(|address| Access::per_row("statistics", address, x.rows(), 4));
        Ok([
            Some(Access::read("input", x.place())),
            Some(output),
            residual,
            sum,
            self.gate.map(|z| self.read("gate", z)).transpose()?,
            operand("weight", self.weight)?,
            operand("bias", self.bias)?,
            scales,
            statistics.transpose()?,
        ])
    }

    /// The output and the scales, if they are in memory.
    fn output_access(&self) -> Result<(Access, Option<Access>), Error> {
        let rows = self.x.rows();
        match self.output {
            Output::Rows(y) => Ok((Access::output(self.of_shape("output", y.place())?), None)),
            Output::Quantized(y, scale) => {
                let scales = match scale {
                    DeviceScale::Given(scale) => {
                        let usable = scale.is_finite() && scale >= f32::MIN_POSITIVE;
                        require("scale", scale, usable, "finite and at least 2^-126")?;
                        None
                    }
                    DeviceScale::GivenAt(address) => Some((address, 1, false)),
                    DeviceScale::GivenPerRow(address) => Some((address, rows, false)),
                    DeviceScale::Computed(address) => Some((address, rows, true)),
                };
                let access = |(address, rows, is_written)| {
                    Ok(Access { is_written, ..Access::per_row("scales", address, rows, 1)? })
                };
                let output = Access::output(self.of_shape("output", y.place())?);
                Ok((output, scales.map(access).transpose()?))
            }
            Output::Statistics(address) => {
                let statistics = Access::per_row("statistics", address, rows, 4)?;
                Ok((Access { is_written: true, ..statistics }, None))
            }
        }
    }

    /// The residual, and its sum if it goes elsewhere.
    fn residual_access(&self) -> Result<(Option<Access>, Option<Access>), Error> {
        let Some(Residual { input, sum }) = self.residual else { return Ok((None, None)) };
        if input.element != sum.element {
            return Err(Error::SumType { given: sum.element, wanted: input.element });
        }
        let elsewhere = (input != sum).then(|| self.read("residual's sum", sum)).transpose()?;
        let (residual, sum) = Access::residual(self.read("residual", input)?, elsewhere);
        Ok((Some(residual), sum))
    }

    fn read(&self, what: &'static str, tensor: DeviceRows) -> Result<Access, Error> {
        Ok(Access::read(what, self.of_shape(what, tensor.place())?))
    }

    fn of_shape(&self, what: &'static str, place: Place) -> Result<Place, Error> {
        of_shape(what, place, self.x.layout, self.heads())
    }

    /// Heads of a token, if some tensor has any: the first that has.
    pub(crate) fn heads(&self) -> Option<usize> {
        let of = |rows: DeviceRows| heads(rows.layout);
        let output = match self.output {
            Output::Rows(y) => heads(y.layout),
            Output::Quantized(y, _) => heads(y.layout),
            Output::Statistics(_) => None,
        };
        let residual = self.residual.and_then(|of_sum| of(of_sum.input).or(of(of_sum.sum)));
        of(self.x).or(output).or(residual).or(self.gate.and_then(of))
    }
}

/// Heads of a token of a tensor.
pub(crate) fn heads(layout: Layout) -> Option<usize> {
    layout.heads.map(|heads| heads.count.get())
}

/// # Errors
/// [`Error::Shape`] if it is not the input's; [`Error::Heads`] if its tokens are not of `wanted` heads.
pub(crate) fn of_shape(
    what: &'static str,
    place: Place,
    input: Layout,
    wanted: Option<usize>,
) -> Result<Place, Error> {
    let given = place.layout;
    given.check_shape(what, input)?;
    match (heads(given), wanted) {
        (Some(given), Some(wanted)) if given != wanted => Err(Error::Heads { what, given, wanted }),
        _ => Ok(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ElementType::{Bf16, F32};
    use crate::{HeadShape, QuantizedType};

    fn rows(address: u64) -> DeviceRows {
        DeviceRows::new(address, F32, 4, 8).unwrap()
    }

    fn call(x: u64, y: u64) -> Call {
        Call::new(Norm::DEFAULTS[0], rows(x), Output::Rows(rows(y)))
    }

    fn check(call: Call) -> Result<(), Error> {
        place::check(call.x.rows(), &call.accesses()?)
    }

    fn operand(address: u64) -> Option<DeviceChannels> {
        Some(DeviceChannels { address, element: Bf16 })
    }

    #[test]
    fn calls_are_checked() {
        assert_eq!(check(call(4096, 8192)), Ok(()));
        assert!(matches!(check(call(4098, 8192)), Err(Error::Address { what: "input", .. })));
        assert!(matches!(check(call(4096, 4100)), Err(Error::Overlap { what: "input", .. })));
        let weighted = Call { weight: operand(8193), ..call(4096, 8192) };
        assert!(matches!(check(weighted), Err(Error::Address { what: "weight", .. })));
        let biased = Call { bias: operand(8192), ..call(4096, 8192) };
        assert!(matches!(check(biased), Err(Error::Overlap { what: "bias", .. })));
        let offset = Call { weight_offset: f32::NAN, ..call(4096, 8192) };
        assert!(matches!(check(offset), Err(Error::Parameter { .. })));
    }

    #[test]
    fn shapes_must_agree_and_no_rows_need_no_memory() {
        let rows = |rows, channels| DeviceRows::new(0, F32, rows, channels).unwrap();
        let call = |x, y| check(Call::new(Norm::DEFAULTS[0], x, Output::Rows(y)));
        assert!(matches!(call(rows(4, 8), rows(4, 7)), Err(Error::Shape { .. })));
        assert_eq!(call(rows(0, 8), rows(0, 8)), Ok(()));
    }

    #[test]
    fn a_residual_goes_into_its_own_place_or_another() {
        let with = |input, sum| {
            check(Call { residual: Some(Residual { input, sum }), ..call(4096, 8192) })
        };
        assert_eq!(with(rows(16384), rows(16384)), Ok(()));
        assert_eq!(with(rows(16384), rows(32768)), Ok(()));
        // x is read before anything is written.
        assert_eq!(with(rows(4096), rows(16384)), Ok(()));
        let overlap = |written, what| Err(Error::Overlap { written, what });
        assert_eq!(with(rows(16384), rows(16388)), overlap("residual's sum", "residual"));
        assert_eq!(with(rows(8192), rows(8192)), overlap("output", "residual"));
        assert_eq!(with(rows(4096), rows(4096)), overlap("residual", "input"));
        let bf16 = DeviceRows::new(32768, Bf16, 4, 8).unwrap();
        assert_eq!(with(rows(16384), bf16), Err(Error::SumType { given: Bf16, wanted: F32 }));
        let narrow = DeviceRows::new(16384, F32, 4, 7).unwrap();
        assert!(matches!(with(narrow, narrow), Err(Error::Shape { what: "residual", .. })));
    }

    #[test]
    fn gates_scales_and_statistics_are_checked() {
        let gated = |z| check(Call { gate: Some(rows(z)), ..call(4096, 8192) });
        assert_eq!(gated(4096), Ok(()));
        assert_eq!(gated(8192), Err(Error::Overlap { written: "output", what: "gate" }));

        let y = DeviceQuantizedRows::new(8192, QuantizedType::I8, 4, 8).unwrap();
        let scaled =
            |scale| check(Call { output: Output::Quantized(y, scale), ..call(4096, 8192) });
        assert_eq!(scaled(DeviceScale::Given(0.5)), Ok(()));
        assert!(matches!(scaled(DeviceScale::Given(0.0)), Err(Error::Parameter { .. })));
        assert_eq!(scaled(DeviceScale::GivenAt(16384)), Ok(()));
        assert_eq!(scaled(DeviceScale::GivenPerRow(4096)), Ok(()));
        let overlap = |written, what| Err(Error::Overlap { written, what });
        assert_eq!(scaled(DeviceScale::Computed(4096)), overlap("scales", "input"));
        assert_eq!(scaled(DeviceScale::GivenPerRow(8192)), overlap("output", "scales"));
        let misaligned = scaled(DeviceScale::GivenAt(16385));
        assert!(matches!(misaligned, Err(Error::Address { what: "scales", .. })));

        let known = |norm| check(Call { norm, statistics: Some(16384), ..call(4096, 8192) });
        assert_eq!(known(Norm::DEFAULTS[1]), Ok(()));
        assert_eq!(known(Norm::DEFAULTS[2]), Err(Error::NoStatistics { name: "dyt" }));
        let wanted = |at| check(Call { output: Output::Statistics(at), ..call(4096, 8192) });
        assert_eq!(wanted(8192), Ok(()));
        assert_eq!(wanted(4096), overlap("statistics", "input"));
    }

    #[test]
    fn tokens_of_all_tensors_have_as_many_heads() {
        let heads = |address, tokens, heads| {
            let shape =
                HeadShape { tokens, heads, channels: 8, token_stride: 1024, head_stride: 8 };
            DeviceRows::of_heads(address, F32, shape).unwrap()
        };
        let with = |x, y| check(Call::new(Norm::DEFAULTS[0], x, Output::Rows(y)));
        let dense = DeviceRows::new(1 << 20, F32, 12, 8).unwrap();
        assert_eq!(with(heads(4096, 4, 3), dense), Ok(()));
        assert_eq!(with(dense, heads(4096, 4, 3)), Ok(()));
        assert_eq!(with(heads(4096, 4, 3), heads(1 << 20, 4, 3)), Ok(()));
        let refused = Err(Error::Heads { what: "output", given: 4, wanted: 3 });
        assert_eq!(with(heads(4096, 4, 3), heads(1 << 20, 3, 4)), refused);
    }
}
