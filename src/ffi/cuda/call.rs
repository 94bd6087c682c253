//! What a call's struct says, as the crate's own interface to CUDA takes it. Layouts are checked as
//! they become tensors, addresses when the call is launched.

use super::super::args::{Flags, dynorm_forward_args};
use super::super::backward::{self, dynorm_backward_args};
use super::super::enums::dynorm_flag;
use super::super::refusal::Refusal;
use super::super::statistics::dynorm_row_statistics;
use super::super::tensors::{Output, Residual, Scales, Tensor, Tensors, address};
use crate::backward::{DX, DY};
use crate::cuda::{Backward, DeviceQuantizedRows, DeviceRows, DeviceScale, Forward, Statistics};
use crate::{Error, QuantizedType};

impl dynorm_forward_args {
    pub(super) fn cuda_forward(&self) -> Result<Forward, Refusal> {
        let flags = self.flags()?;
        // What it says is for the CPU, but it cannot say both.
        flags.stream()?;
        let norm = self.norm()?;
        let Tensors { x, y, weight, bias, residual, z, statistics } = self.unchecked_tensors()?;
        let x = x.on_device("input")?;
        let mut call = match y {
            Output::Element(y) => Forward::new(norm, x, y.on_device("output")?),
            Output::Quantized(y, scales) => {
                Forward::quantized(norm, x, y.on_device("output")?, scales.on_device()?)
            }
        };
        if let Some(Residual { input, sum }) = residual {
            let input = input.on_device("residual")?;
            call = match sum {
                None => call.residual(input),
                Some(sum) => call.residual_into(input, sum.on_device("residual's sum")?),
            };
        }
        if let Some(z) = z {
            call = call.gate(z.on_device("gate")?);
        }
        if let Some(statistics) = statistics {
            call = call.statistics(address(statistics));
        }
        if let Some(weight) = weight {
            call = call.weight(address(weight.data), weight.element);
        }
        if let Some(bias) = bias {
            call = call.bias(address(bias.data), bias.element);
        }
        Ok(call
            .weight_offset(self.weight_offset)
            .fast_tanh(flags.has(dynorm_flag::DYNORM_FLAG_FAST_TANH))
            .programmatic(is_programmatic(flags)))
    }

    pub(super) fn cuda_statistics(
        &self,
        statistics: *mut dynorm_row_statistics,
    ) -> Result<Statistics, Refusal> {
        let flags = self.flags()?;
        let (norm, x) = (self.norm()?, self.statistics_input()?);
        let call = Statistics::new(norm, x.on_device("input")?, address(statistics));
        Ok(call.programmatic(is_programmatic(flags)))
    }
}

impl dynorm_backward_args {
    pub(super) fn cuda_backward(&self) -> Result<Backward, Refusal> {
        let norm = self.norm.read()?;
        let backward::Tensors { x, dy, dx, weight } = self.unchecked_tensors(norm)?;
        let (x, dy, dx) = (x.on_device("input")?, dy.on_device(DY)?, dx.on_device(DX)?);
        let mut call = Backward::new(norm, x, dy, dx).weight_offset(self.weight_offset);
        if let Some(weight) = weight {
            call = call.weight(address(weight.data), weight.element);
        }
        if !self.d_weight.is_null() {
            call = call.d_weight(address(self.d_weight));
        }
        if !self.d_bias.is_null() {
            call = call.d_bias(address(self.d_bias));
        }
        if !self.d_parameters.is_null() {
            call = call.d_parameters(address(self.d_parameters));
        }
        Ok(call.workspace(address(self.workspace), self.workspace_len))
    }
}

fn is_programmatic(flags: Flags) -> bool {
    flags.has(dynorm_flag::DYNORM_FLAG_PROGRAMMATIC)
}

impl Tensor {
    fn on_device(self, what: &'static str) -> Result<DeviceRows, Error> {
        DeviceRows::of_layout(what, address(self.data), self.element, self.layout)
    }
}

impl Tensor<QuantizedType> {
    fn on_device(self, what: &'static str) -> Result<DeviceQuantizedRows, Error> {
        DeviceQuantizedRows::of_layout(what, address(self.data), self.element, self.layout)
    }
}

impl Scales {
    /// # Errors
    /// They are of groups, for which there are no kernels.
    fn on_device(self) -> Result<DeviceScale, Refusal> {
        Ok(match self {
            Self::Given(data) => DeviceScale::GivenAt(address(data)),
            Self::GivenPerRow(data) => DeviceScale::GivenPerRow(address(data)),
            Self::Computed(data) => DeviceScale::Computed(address(data)),
            Self::ComputedPerGroup(..) => {
                let reason = "CUDA calls compute no scales of groups";
                let what = "args.scale_mode";
                return Err(Refusal::Unwanted { what, reason });
            }
        })
    }
}
