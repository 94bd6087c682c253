//! The bound of the element-wise functions' results.

use super::args::{self, dynorm_forward_args};
use super::boundary::guard;
use super::refusal::Refusal;
use super::status::dynorm_status;
use super::tensors::Operand;
use crate::ElementType;
use core::mem::MaybeUninit;
use half::{bf16, f16};

/// Writes to `bound` what no result of DyT, DyISRU or Derf exceeds in magnitude, whatever the input:
/// the largest of `|weight_offset + weight| * |scale| + |bias|` over the channels, with scale that of
/// DyISRU and 1 of the others, rounded up. Results exceed it by no more than rounding in f32 does, 2
/// ulp. `dynorm_scale_for` makes it the scale of a y of 8 bits that needs neither calibration nor a
/// pass over the data; compute it once.
///
/// Of `args`, the function with its parameters, channels, weight and bias with their types, and
/// weight_offset are used; z must be NULL, since what it is multiplied with has no bound; nothing
/// else is looked at. Weight and bias are in the host's memory, also where y will be a device's.
///
/// DYNORM_ERROR_NULL, _ALIGNMENT, _STRUCT_SIZE, _SHAPE, _PARAMETER; _VALUE also for RMSNorm and
/// LayerNorm, which have no such bound, and for a z. On error `bound` is left as it was. Any thread may
/// call it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_output_bound(
    args: *const dynorm_forward_args,
    bound: *mut f32,
) -> dynorm_status {
    guard(|| {
        let mut room = MaybeUninit::uninit();
        // SAFETY: the caller keeps what the header says.
        let args = unsafe { args::read(args, &mut room) }?;
        if bound.is_null() {
            return Err(Refusal::Null { what: "bound" });
        }
        if !args.z.is_null() {
            let reason = "what it is multiplied with has no bound";
            return Err(Refusal::Unwanted { what: "args.z", reason });
        }
        let (norm, weight, bias) = (args.norm()?, args.weight()?, args.bias()?);
        for (what, operand) in [("weight", weight), ("bias", bias)] {
            let Some(operand) = operand else { continue };
            operand.access(what, args.channels)?.check_alignment()?;
        }
        // Without either all channels are the same.
        let channels = if weight.or(bias).is_some() { args.channels } else { 1 };
        // SAFETY: the addresses were checked; the caller vouches for `channels` elements there.
        let value = |operand: Option<Operand>, c| operand.map(|given| unsafe { given.value(c) });
        let found = norm.bound_over(
            channels,
            |c| value(weight, c),
            args.weight_offset,
            |c| value(bias, c),
        )?;
        // SAFETY: not NULL, and the caller vouches that it is a place for one.
        unsafe { bound.write_unaligned(found) };
        Ok(())
    })
}

impl Operand {
    /// The value of a channel.
    ///
    /// # Safety
    /// It must be one of the operand's, at an address aligned to its element.
    unsafe fn value(self, channel: usize) -> f32 {
        // SAFETY: the same contract.
        unsafe {
            match self.element {
                ElementType::F32 => self.data.cast::<f32>().add(channel).read(),
                ElementType::F16 => self.data.cast::<f16>().add(channel).read().to_f32(),
                ElementType::Bf16 => self.data.cast::<bf16>().add(channel).read().to_f32(),
            }
        }
    }
}
