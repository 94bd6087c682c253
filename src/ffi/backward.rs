//! Gradients, on the CPU.

use super::args::{self, Args, dynorm_norm};
use super::boundary::guard;
use super::enums::{dynorm_element, dynorm_isa, element, known};
use super::forward::{channels, rows, rows_mut};
use super::refusal::Refusal;
use super::status::dynorm_status;
use super::tensors::{Operand, Shape, Tensor, address, layout, operand};
use crate::backward::{DX, DY};
use crate::cpu::Wanted;
use crate::place::{self, Access};
use crate::{Backward, ElementType, Norm};
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::slice;

/// A call for the gradients of a forward call without anything fused into it, over the same `rows` rows of `channels`
/// elements: with `dy` the gradient of some loss by its output, those by the input, and on request by weight, bias and
/// parameters. The bias changes none of them and is not given.
///
/// Fields that are left at 0 have their default. Later versions of the library may add fields at
/// the end, whose default will be 0, too: `size` tells them which of them the caller knows.
///
/// Everything stays the caller's, and nothing is kept. In place means that dy and dx are the same address, with the same
/// strides. Any other overlap of what is written (all but x, dy and weight) with what is read or written is refused.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynorm_backward_args {
    /// `sizeof(dynorm_backward_args)`.
    pub size: usize,
    /// The function and its parameters.
    pub norm: dynorm_norm,
    /// Rows, those of all heads. With 0 gradients that are sums over rows become 0.
    pub rows: usize,
    /// Elements of a row; at least 1.
    pub channels: usize,
    /// Input of the forward call, aligned to its element; only read.
    pub x: *const c_void,
    /// The gradient of its output, aligned to its element; only read, unless in place.
    pub dy: *const c_void,
    /// Where the gradient of the input goes, aligned to its element. What lies between its rows is neither read nor
    /// written.
    pub dx: *mut c_void,
    /// Elements from the begin of a row of x to the begin of the next (of the next head, with heads), at least
    /// `channels`. 0 for `channels`.
    pub x_row_stride: usize,
    /// The same of dy.
    pub dy_row_stride: usize,
    /// The same of dx.
    pub dx_row_stride: usize,
    /// The type of x, dy and dx; none of 8 bits.
    pub element: MaybeUninit<dynorm_element>,
    /// The type of weight; not looked at without one.
    pub weight_element: MaybeUninit<dynorm_element>,
    /// The forward call's weight, one factor per channel, side by side, aligned to its element. NULL for none.
    pub weight: *const c_void,
    /// The forward call's weight_offset; finite.
    pub weight_offset: f32,
    /// The CPU's instructions.
    pub isa: MaybeUninit<dynorm_isa>,
    /// Where the gradient of the weight goes, `sum(dy f(x))` over the rows: one for each channel. NULL if it is not wanted.
    pub d_weight: *mut f32,
    /// Where the gradient of the bias goes, `sum(dy)` over the rows: one for each channel. NULL if it is not wanted.
    pub d_bias: *mut f32,
    /// Where the gradients of the function's parameters go, sums over all elements: of DyT alpha, of DyISRU beta and scale, of Derf
    /// alpha and shift. NULL if they are not wanted; the other functions have none.
    pub d_parameters: *mut f32,
    /// Memory for partial sums, which need not hold anything before; NULL if none is needed.
    pub workspace: *mut f32,
    /// How many values of f32 it has room for: at least what `dynorm_backward_workspace` says, on a GPU
    /// `dynorm_cuda_backward_workspace`, which may be some for dx alone, too.
    pub workspace_len: usize,
    /// Heads of a token, the same in x, dy and dx; `rows` is a multiple of it. Row `token * heads + head` begins
    /// `token * token_stride + head * row_stride` elements behind the first. 0 for rows that are all one row stride apart; token
    /// strides are not looked at then.
    pub heads: usize,
    /// Elements from the begin of a token of x to the begin of the next. 0 for `heads` row strides.
    pub x_token_stride: usize,
    /// The same of dy.
    pub dy_token_stride: usize,
    /// The same of dx.
    pub dx_token_stride: usize,
}

impl Args for dynorm_backward_args {
    const NAME: &'static str = "dynorm_backward_args";
    const OLDEST: usize = size_of::<dynorm_backward_args>();
    const LATER: &'static str = "a field behind the end of dynorm_backward_args";
}

/// Does the work on the calling thread. Nothing is allocated, and no lock is taken. dx is rounded once to its type; the other
/// gradients are summed up in an order that depends on the shape alone.
///
/// Returns DYNORM_OK, or an error, and then has written nothing: DYNORM_ERROR_NULL, _ALIGNMENT, _STRUCT_SIZE, _VALUE, _SHAPE (a
/// workspace that is too small, too), _PARAMETER, _OVERLAP, _ISA, or _UNSUPPORTED for fields of a later version. Any number of threads may call it at once, on
/// outputs of their own.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_backward(args: *const dynorm_backward_args) -> dynorm_status {
    guard(|| {
        let mut room = MaybeUninit::uninit();
        // SAFETY: the caller keeps what the header says.
        unsafe { with_call(args::read(args, &mut room)?, |mut call| Ok(call.run()?)) }
    })
}

/// As `dynorm_backward`, on the threads of the pool of `dynorm_forward_parallel`. Small work stays on the calling thread;
/// results have the same bits.
///
/// DYNORM_ERROR_UNSUPPORTED if the library was built without the feature rayon.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_backward_parallel(
    args: *const dynorm_backward_args,
) -> dynorm_status {
    guard(|| {
        let mut room = MaybeUninit::uninit();
        #[cfg(feature = "rayon")]
        let run = |mut call: Backward<'_>| Ok(call.run_parallel()?);
        #[cfg(not(feature = "rayon"))]
        let run = |_: Backward<'_>| Err(Refusal::Unsupported { feature: "rayon" });
        // SAFETY: the caller keeps what the header says.
        unsafe { with_call(args::read(args, &mut room)?, run) }
    })
}

/// Writes to `len` how many values of f32 a call's workspace has to have room for, by its rows and channels and by which gradients are
/// not NULL; none of them is written, and nothing else is looked at.
///
/// DYNORM_ERROR_NULL, _ALIGNMENT, _STRUCT_SIZE or _UNSUPPORTED, and then nothing is written.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_backward_workspace(
    args: *const dynorm_backward_args,
    len: *mut usize,
) -> dynorm_status {
    guard(|| {
        let mut room = MaybeUninit::uninit();
        // SAFETY: the caller keeps what the header says.
        let args: &dynorm_backward_args = unsafe { args::read(args, &mut room) }?;
        if len.is_null() {
            return Err(Refusal::Null { what: "len" });
        }
        let wanted = Wanted {
            weight: !args.d_weight.is_null(),
            bias: !args.d_bias.is_null(),
            parameters: !args.d_parameters.is_null(),
        };
        // SAFETY: it is not NULL; the caller vouches for it.
        unsafe { len.write(wanted.workspace(args.rows, args.channels)) };
        Ok(())
    })
}

/// The tensors of a call.
pub(super) struct Tensors {
    pub(super) x: Tensor,
    pub(super) dy: Tensor,
    pub(super) dx: Tensor,
    pub(super) weight: Option<Operand>,
}

impl dynorm_backward_args {
    fn tensor(
        &self,
        what: &'static str,
        data: *const c_void,
        element: ElementType,
        (row_stride, token_stride): (usize, usize),
    ) -> Result<Tensor, Refusal> {
        let Self { rows, channels, heads, .. } = *self;
        let shape = Shape { rows, channels, heads };
        let layout = layout(what, element.size(), shape, row_stride, token_stride)?;
        Ok(Tensor { data: data.cast_mut(), element, layout })
    }

    /// Layouts are not checked yet.
    pub(super) fn unchecked_tensors(&self, norm: Norm) -> Result<Tensors, Refusal> {
        let element = element("args.element", self.element)?;
        let x = self.tensor("input", self.x, element, (self.x_row_stride, self.x_token_stride))?;
        let dy = self.tensor(DY, self.dy, element, (self.dy_row_stride, self.dy_token_stride))?;
        let dx = self.tensor(DX, self.dx, element, (self.dx_row_stride, self.dx_token_stride))?;
        let weight = operand("args.weight_element", self.weight, self.weight_element)?;
        if !self.d_parameters.is_null() && norm.parameter_count() == 0 {
            let reason = "the function has no parameters with gradients";
            return Err(Refusal::Unwanted { what: "args.d_parameters", reason });
        }
        Ok(Tensors { x, dy, dx, weight })
    }

    /// The tensors, checked against each other.
    fn tensors(&self, norm: Norm) -> Result<Tensors, Refusal> {
        let tensors = self.unchecked_tensors(norm)?;
        let Tensors { x, dy, dx, weight } = &tensors;
        let sums = |what, data: *mut f32, len| {
            Access::sums(what, (!data.is_null()).then(|| address(data)), len)
        };
        let sums = [
            sums("gradient of the weight", self.d_weight, self.channels)?,
            sums("gradient of the bias", self.d_bias, self.channels)?,
            sums("gradient of the parameters", self.d_parameters, norm.parameter_count())?,
            sums("workspace", self.workspace, self.workspace_len)?,
        ];
        // These are there without rows, too.
        place::check(1, &sums)?;
        let [d_weight, d_bias, d_parameters, workspace] = sums;
        let all = [
            Some(x.access("input")?),
            Some(dy.access(DY)?),
            Some(Access { is_written: true, in_place_of: Some(DY), ..dx.access(DX)? }),
            weight.as_ref().map(|weight| weight.access("weight", self.channels)).transpose()?,
            d_weight,
            d_bias,
            d_parameters,
            workspace,
        ];
        place::check(self.rows, &all)?;
        Ok(tensors)
    }
}

/// Has `run` run the call that `args` describe, with everything checked that only C can get wrong.
///
/// # Safety
/// What it points at must be memory as its shapes say, which nobody else writes, nor reads where it is written.
unsafe fn with_call(
    args: &dynorm_backward_args,
    run: impl FnOnce(Backward<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let norm = args.norm.read()?;
    let isa = known("args.isa", args.isa)?.choice();
    let Tensors { x, dy, dx, weight } = args.tensors(norm)?;
    // SAFETY: the layouts and the addresses were checked; the caller vouches for the memory. In place dy is not made a
    // view of.
    unsafe {
        let sums = |data: *mut f32, len| {
            (!data.is_null() && len > 0)
                .then(|| slice::from_raw_parts_mut(data.cast::<MaybeUninit<f32>>(), len))
        };
        let gradients = [
            sums(args.d_weight, args.channels),
            sums(args.d_bias, args.channels),
            sums(args.d_parameters, norm.parameter_count()),
        ];
        let workspace = sums(args.workspace, args.workspace_len).unwrap_or_default();
        let call = match dy.data == dx.data {
            true => norm.backward_in_place(rows(x), rows_mut(dx)),
            false => norm.backward(rows(x), rows(dy), rows_mut(dx)),
        };
        let call = call
            .operand(channels(weight, args.channels))
            .weight_offset(args.weight_offset)
            .choose_isa(isa)
            .sums(gradients, workspace);
        run(call)
    }
}
