//! The tensors that a call's struct describes, and whether they may be used together.

use super::args::dynorm_forward_args;
use super::enums::{OutputType, dynorm_element, dynorm_scale, element, known};
use super::refusal::Refusal;
use super::statistics::dynorm_row_statistics;
use crate::place::{self, Access, Place};
use crate::tensor::Layout;
use crate::{ElementType, Error, HeadShape, QuantizedType};
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Rows as C gives them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tensor<T = ElementType> {
    pub(super) data: *mut c_void,
    pub(super) element: T,
    pub(super) layout: Layout,
}

/// What y is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Output {
    Element(Tensor),
    Quantized(Tensor<QuantizedType>, Scales),
}

/// The scales of an output of 8 bits, and whether there is one, or one for each row or group of channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scales {
    Given(*mut f32),
    GivenPerRow(*mut f32),
    Computed(*mut f32),
    /// With the size of a group.
    ComputedPerGroup(*mut f32, u32),
}

/// A residual, and where its sum goes if not in its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Residual {
    pub(super) input: Tensor,
    pub(super) sum: Option<Tensor>,
}

/// A weight or a bias as C gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Operand {
    pub(super) data: *mut c_void,
    pub(super) element: ElementType,
}

/// All that a call works on.
#[derive(Debug, PartialEq)]
pub(super) struct Tensors {
    pub(super) x: Tensor,
    pub(super) y: Output,
    pub(super) weight: Option<Operand>,
    pub(super) bias: Option<Operand>,
    pub(super) residual: Option<Residual>,
    pub(super) z: Option<Tensor>,
    pub(super) statistics: Option<*const dynorm_row_statistics>,
}

impl dynorm_forward_args {
    /// Everything that there is, at addresses that can be used together.
    #[inline]
    pub(super) fn tensors(&self) -> Result<Tensors, Refusal> {
        let tensors = self.unchecked_tensors()?;
        tensors.check(self.rows, self.channels)?;
        Ok(tensors)
    }

    /// Everything that there is. Nothing but heads has been checked of shapes, and nothing of
    /// addresses.
    #[inline]
    pub(super) fn unchecked_tensors(&self) -> Result<Tensors, Refusal> {
        Ok(Tensors {
            x: self.input()?,
            y: self.output()?,
            weight: self.weight()?,
            bias: self.bias()?,
            residual: self.residual()?,
            z: self.gate()?,
            statistics: (!self.statistics.is_null()).then_some(self.statistics),
        })
    }

    /// What statistics are taken of.
    ///
    /// # Errors
    /// There is a residual, which would be left out.
    pub(super) fn statistics_input(&self) -> Result<Tensor, Refusal> {
        if !self.residual.is_null() {
            let reason = "statistics are those of x alone";
            return Err(Refusal::Unwanted { what: "args.residual", reason });
        }
        self.input()
    }

    #[inline]
    pub(super) fn input(&self) -> Result<Tensor, Refusal> {
        let element = element("args.x_element", self.x_element)?;
        let layout =
            self.layout("input", element.size(), self.x_row_stride, self.x_token_stride)?;
        Ok(Tensor { data: self.x.cast_mut(), element, layout })
    }

    /// # Errors
    /// A scale is missing, or there is one that y does not need, or groups that it does not have.
    #[inline]
    pub(super) fn output(&self) -> Result<Output, Refusal> {
        let mode = known("args.scale_mode", self.scale_mode)?;
        if self.scale_group_size != 0 && mode != dynorm_scale::DYNORM_SCALE_COMPUTED_PER_GROUP {
            let reason = "only DYNORM_SCALE_COMPUTED_PER_GROUP has groups";
            return Err(Refusal::Unwanted { what: "args.scale_group_size", reason });
        }
        let scales = match mode {
            dynorm_scale::DYNORM_SCALE_NONE => return Ok(Output::Element(self.plain_output()?)),
            dynorm_scale::DYNORM_SCALE_GIVEN => Scales::Given(self.scales),
            dynorm_scale::DYNORM_SCALE_GIVEN_PER_ROW => Scales::GivenPerRow(self.scales),
            dynorm_scale::DYNORM_SCALE_COMPUTED => Scales::Computed(self.scales),
            dynorm_scale::DYNORM_SCALE_COMPUTED_PER_GROUP => {
                Scales::ComputedPerGroup(self.scales, self.scale_group_size)
            }
        };
        let y_element = known("args.y_element", self.y_element)?;
        let OutputType::Quantized(element) = y_element.output() else {
            return Err(Refusal::Scale { mode, y_element });
        };
        let layout = self.layout("output", 1, self.y_row_stride, self.y_token_stride)?;
        Ok(Output::Quantized(Tensor { data: self.y, element, layout }, scales))
    }

    /// The output of a call without scales.
    #[inline]
    fn plain_output(&self) -> Result<Tensor, Refusal> {
        let y_element = known("args.y_element", self.y_element)?;
        let OutputType::Element(element) = y_element.output() else {
            return Err(Refusal::Scale { mode: dynorm_scale::DYNORM_SCALE_NONE, y_element });
        };
        let (size, row, token) = (element.size(), self.y_row_stride, self.y_token_stride);
        Ok(Tensor { data: self.y, element, layout: self.layout("output", size, row, token)? })
    }

    #[inline]
    pub(super) fn weight(&self) -> Result<Option<Operand>, Refusal> {
        operand("args.weight_element", self.weight, self.weight_element)
    }

    #[inline]
    pub(super) fn bias(&self) -> Result<Option<Operand>, Refusal> {
        operand("args.bias_element", self.bias, self.bias_element)
    }

    fn residual(&self) -> Result<Option<Residual>, Refusal> {
        let (data, sum) = (self.residual, self.residual_sum);
        if data.is_null() {
            let (what, wanted_by) = ("args.residual", "args.residual_sum");
            return if sum.is_null() {
                Ok(None)
            } else {
                Err(Refusal::Missing { what, wanted_by })
            };
        }
        let element = element("args.residual_element", self.residual_element)?;
        let (row, token) = (self.residual_row_stride, self.residual_token_stride);
        let layout = self.layout("residual", element.size(), row, token)?;
        let input = Tensor { data, element, layout };
        if sum.is_null() {
            return Ok(Some(Residual { input, sum: None }));
        }
        let (row, token) = (self.residual_sum_row_stride, self.residual_sum_token_stride);
        let layout = self.layout("residual's sum", element.size(), row, token)?;
        Ok(Some(Residual { input, sum: Some(Tensor { data: sum, element, layout }) }))
    }

    fn gate(&self) -> Result<Option<Tensor>, Refusal> {
        if self.z.is_null() {
            return Ok(None);
        }
        let element = element("args.z_element", self.z_element)?;
        let layout = self.layout("gate", element.size(), self.z_row_stride, self.z_token_stride)?;
        Ok(Some(Tensor { data: self.z.cast_mut(), element, layout }))
    }

    #[inline]
    fn layout(
        &self,
        what: &'static str,
        element_size: usize,
        row_stride: usize,
        token_stride: usize,
    ) -> Result<Layout, Refusal> {
        let Self { rows, channels, heads, .. } = *self;
        layout(what, element_size, Shape { rows, channels, heads }, row_stride, token_stride)
    }
}

/// What the tensors of a call have in common. No heads are 0.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) channels: usize,
    pub(super) heads: usize,
}

/// Where the rows of a tensor are; a stride of 0 is the default.
#[inline]
pub(super) fn layout(
    what: &'static str,
    element_size: usize,
    Shape { rows, channels, heads }: Shape,
    row_stride: usize,
    token_stride: usize,
) -> Result<Layout, Refusal> {
    let stride = if row_stride == 0 { channels } else { row_stride };
    if heads == 0 {
        return Ok(Layout::new(rows, channels, stride));
    }
    if !rows.is_multiple_of(heads) {
        return Err(Refusal::Heads { rows, heads });
    }
    let token_stride = match token_stride {
        // What is too large is refused below.
        0 => heads.saturating_mul(stride),
        given => given,
    };
    let tokens = rows / heads;
    let shape = HeadShape { tokens, heads, channels, token_stride, head_stride: stride };
    Ok(Layout::of_heads(what, shape, element_size)?)
}

#[inline]
pub(super) fn operand(
    what: &'static str,
    data: *const c_void,
    raw: MaybeUninit<dynorm_element>,
) -> Result<Option<Operand>, Refusal> {
    if data.is_null() {
        return Ok(None);
    }
    Ok(Some(Operand { data: data.cast_mut(), element: element(what, raw)? }))
}

impl Operand {
    #[inline]
    pub(super) fn access(self, what: &'static str, channels: usize) -> Result<Access, Error> {
        Access::of_channels(what, address(self.data), self.element.size(), channels)
    }
}

impl Tensor {
    #[inline]
    pub(super) fn access(self, what: &'static str) -> Result<Access, Error> {
        let place = Place::new(what, address(self.data), self.element.size(), self.layout)?;
        Ok(Access::read(what, place))
    }
}

impl Tensors {
    /// Checks the addresses.
    #[inline]
    fn check(&self, rows: usize, channels: usize) -> Result<(), Error> {
        let operand = |what, given: Option<Operand>| {
            given.map(|given| given.access(what, channels)).transpose()
        };
        let x = self.x.access("input")?;
        let (y, scales) = self.y.access(rows)?;
        let (weight, bias) = (operand("weight", self.weight)?, operand("bias", self.bias)?);
        let Self { residual, z, statistics, .. } = self;
        let (residual, sum) = match residual {
            None => (None, None),
            Some(residual) => residual.access()?,
        };
        let statistics = statistics
            .map(|data| Access::per_row("statistics", address(data), rows, 4))
            .transpose()?;
        let tensors = [
            Some(x),
            Some(y),
            weight,
            bias,
            residual,
            sum,
            z.map(|z| z.access("gate")).transpose()?,
            scales,
            statistics,
        ];
        place::check(rows, &tensors)
    }
}

impl Output {
    /// The output and its scales.
    #[inline]
    fn access(&self, rows: usize) -> Result<(Access, Option<Access>), Error> {
        match *self {
            Self::Element(y) => Ok((Access::output(y.access("output")?.place), None)),
            Self::Quantized(y, scales) => {
                let place = Place::new("output", address(y.data), 1, y.layout)?;
                Ok((Access::output(place), Some(scales.access(rows, y.layout.channels)?)))
            }
        }
    }
}

impl Residual {
    /// The residual, and its sum if it goes elsewhere.
    #[inline]
    fn access(&self) -> Result<(Option<Access>, Option<Access>), Error> {
        let sum = self.sum.map(|sum| sum.access("residual's sum")).transpose()?;
        let (residual, sum) = Access::residual(self.input.access("residual")?, sum);
        Ok((Some(residual), sum))
    }
}

impl Scales {
    #[inline]
    fn access(self, rows: usize, channels: usize) -> Result<Access, Error> {
        let (data, count, is_written) = match self {
            Self::Given(data) => (data, 1, false),
            Self::GivenPerRow(data) => (data, rows, false),
            Self::Computed(data) => (data, rows, true),
            // No more than the output's elements, which have been found to fit into memory.
            Self::ComputedPerGroup(data, size) => (data, rows * groups(channels, size), true),
        };
        Ok(Access { is_written, ..Access::per_row("scales", address(data), count, 1)? })
    }
}

/// Groups of `size` channels in a row.
pub(super) fn groups(channels: usize, size: u32) -> usize {
    // What is none is refused later.
    channels.div_ceil(size.max(1) as usize)
}

pub(super) fn address<T>(data: *const T) -> u64 {
    data.addr() as u64
}

/// A pointer that is NULL only if there are no rows, and so is not used.
pub(super) fn memory<T, U>(data: *mut T) -> NonNull<U> {
    NonNull::new(data.cast()).unwrap_or(NonNull::dangling())
}
