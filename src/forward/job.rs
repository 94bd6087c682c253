//! What a call comes to: everything is checked, and the work described to the kernels.

use super::{Form, Forward, Residual, Scales, Tensor};
use crate::cpu::{self, Fused, Isa, Job, Named, Operand, Places, ShortCall, ShortRows, Stored};
use crate::norm::require;
use crate::tensor::{Channels, Layout};
use crate::{ElementType, Error, RowStatistics, Scale};
use core::ptr::NonNull;

impl Forward<'_> {
    /// The call, if it is a short one; its parameters have not been looked at.
    #[inline(always)]
    pub(crate) fn short(&self) -> Option<ShortCall> {
        let (Form::Element(element), Some(weight)) = (self.y.element, self.weight) else {
            return None;
        };
        let Layout { rows, channels, .. } = self.x.layout;
        if !cpu::are_few(rows, channels) {
            return None;
        }
        cpu::prefetch(
            [self.x.data, weight.data, self.y.data].map(|data| data.as_ptr().cast_const()),
        );
        let fits =
            |x: Tensor<ElementType>| x.layout.is_dense(rows, channels) & (x.element == element);
        let plain =
            |given: Channels<'_>| (given.element == weight.element) & (given.len == channels);
        let usual = fits(self.x)
            & self.y.layout.is_dense(rows, channels)
            & ((weight.element == ElementType::F32) | (weight.element == element))
            & plain(weight)
            & self.bias.is_none_or(plain);
        let rare = self.gate.is_some() | self.statistics.is_some();
        if !usual | rare | self.stream.is_some() | self.isa.is_some_and(|isa| !isa.is_available()) {
            return None;
        }
        let residual = match self.residual {
            None => None,
            Some(Residual { input, sum }) => {
                let input = input.unwrap_or(sum);
                if !(fits(input) & fits(sum)) {
                    return None;
                }
                Some([input.data, sum.data])
            }
        };
        let Named { kind, parameters } = self.norm.into();
        let rows = ShortRows {
            parameters,
            rows,
            channels,
            x: self.x.data,
            y: self.y.data,
            weight: weight.data,
            bias: self.bias.map(|bias| bias.data),
            weight_offset: self.weight_offset,
            residual,
        };
        Some(ShortCall { kind, element, weight: weight.element, isa: self.isa, rows })
    }

    /// Checks everything, and has `run` do the work on `threads` threads, or one of them its part.
    #[inline]
    pub(super) fn with_job(&self, threads: usize, run: impl FnOnce(&Job)) -> Result<(), Error> {
        self.norm.check()?;
        require("weight_offset", self.weight_offset, self.weight_offset.is_finite(), "finite")?;
        let (x, y) = (self.x.layout, self.y.layout);
        y.check_shape("output", x)?;
        let operand = |what, channels: Option<Channels<'_>>| match channels {
            None => Ok(None),
            Some(given) => {
                given.check(what, x.channels)?;
                Ok(Some(Operand { data: given.data, element: given.element }))
            }
        };
        let form = self.form()?;
        let isa = match self.isa {
            Some(isa) => isa.checked()?,
            None => Isa::current()?,
        };
        let sum = self.residual.map_or(self.x, |residual| residual.sum);
        let at_once = self.stored_at_once(isa, sum.element, form);
        // By reference: a short call notices a copy of what mostly is not there.
        let behind = at_once.is_none();
        let fused =
            if self.residual.is_some() || behind { Some(&self.fused(form, behind)?) } else { None };
        let y_size = match form {
            cpu::Form::Element(element) => element.size(),
            cpu::Form::Quantized(..) | cpu::Form::Grouped(..) => 1,
        };
        let mut job = Job {
            x: Places::new(sum.data, sum.layout),
            y: Places::new(self.y.data, y),
            x_element: sum.element,
            // What comes between takes f32.
            stored: at_once.unwrap_or(Stored::Element(ElementType::F32)),
            isa,
            rows: x.rows,
            channels: x.channels,
            weight: operand("weight", self.weight)?,
            bias: operand("bias", self.bias)?,
            weight_offset: self.weight_offset,
            scale: self.norm.scale(),
            stream: false,
            fetch: false,
            makes_sums: false,
            statistics: self.checked_statistics()?,
            fused,
            first: (0, 0),
        };
        job.fetch = cpu::is_large(&job, y_size, threads);
        job.stream = self.x.data != self.y.data
            && self
                .stream
                .unwrap_or_else(|| job.fetch && cpu::stream_pays(self.norm, &job, y_size));
        match fused {
            Some(fused @ Fused { output: Some(output), .. }) => {
                // What the function writes stays in the caches.
                let output = cpu::Output { stream: job.stream, ..*output };
                let fused = Fused { output: Some(output), ..*fused };
                run(&Job { stream: false, fused: Some(&fused), ..job });
            }
            _ => run(&job),
        }
        Ok(())
    }

    /// What the output is, with its scales checked.
    #[inline]
    fn form(&self) -> Result<cpu::Form, Error> {
        let (element, scales) = match self.y.element {
            Form::Element(element) => return Ok(cpu::Form::Element(element)),
            Form::Quantized(element, scales) => (element, scales),
        };
        let rows = self.x.layout.rows;
        let scale = match scales {
            Scales::Given(scale) => {
                usable(scale)?;
                cpu::Scale::Given(scale)
            }
            Scales::GivenPerRow(scales, len) => {
                one_per_row("scale", len, rows)?;
                for row in 0..len {
                    // SAFETY: there are `len` of them.
                    usable(unsafe { scales.add(row).read() })?;
                }
                cpu::Scale::GivenPerRow(scales)
            }
            Scales::Computed(scales, len) => {
                one_per_row("scale", len, rows)?;
                cpu::Scale::Computed(scales)
            }
            Scales::ComputedPerGroup(scales, len, size) => {
                let groups = checked_groups(scales, len, size as usize, self.x.layout)?;
                return Ok(cpu::Form::Grouped(element, groups));
            }
        };
        Ok(cpu::Form::Quantized(element, scale))
    }

    /// What the function, of inputs of type `x`, stores if that is the output and nothing comes between. With
    /// statistics given it is compiled for f32 only.
    #[inline]
    fn stored_at_once(&self, isa: Isa, x: ElementType, form: cpu::Form) -> Option<Stored> {
        let between = self.gate.is_some() || self.statistics.is_some();
        if between || !cpu::stores_at_once(isa, self.norm, x, form) {
            return None;
        }
        match form {
            cpu::Form::Element(element) => Some(Stored::Element(element)),
            cpu::Form::Quantized(element, scale) => Some(Stored::Quantized(element, scale)),
            cpu::Form::Grouped(..) => None,
        }
    }

    /// What is done beside the function: with the output behind it, if `behind`.
    fn fused(&self, form: cpu::Form, behind: bool) -> Result<Fused, Error> {
        let shape = self.x.layout;
        let tensor = |what, given: Tensor<ElementType>| {
            given.layout.check_shape(what, shape)?;
            let places = Places::new(given.data, given.layout);
            Ok(cpu::Tensor { places, element: given.element })
        };
        let residual = match self.residual {
            None => None,
            Some(Residual { input, sum: to }) => {
                let sum = tensor("residual's sum", to)?;
                let residual = input.map_or(Ok(sum), |input| tensor("residual", input))?;
                if residual.element != sum.element {
                    let (given, wanted) = (sum.element, residual.element);
                    return Err(Error::SumType { given, wanted });
                }
                let x = tensor("input", self.x)?;
                Some(cpu::Residual { x, residual: residual.places, sum })
            }
        };
        let places = Places::new(self.y.data, self.y.layout);
        let output = cpu::Output { places, form, stream: false, channels: shape.channels };
        Ok(Fused {
            residual,
            gate: self.gate.map(|z| tensor("gate", z)).transpose()?,
            output: behind.then_some(output),
        })
    }

    fn checked_statistics(&self) -> Result<Option<NonNull<RowStatistics>>, Error> {
        let Some(statistics) = self.statistics else { return Ok(None) };
        if self.norm.is_elementwise() {
            return Err(Error::NoStatistics { name: self.norm.name() });
        }
        one_per_row("statistics", statistics.len(), self.x.layout.rows)?;
        Ok(Some(NonNull::from(statistics).cast()))
    }
}

/// An [`Error::Length`] unless there is one for each row.
fn one_per_row(what: &'static str, given: usize, rows: usize) -> Result<(), Error> {
    if given == rows { Ok(()) } else { Err(Error::Length { what, given, wanted: rows }) }
}

/// An error unless results can be divided by it.
fn usable(scale: f32) -> Result<(), Error> {
    let usable = scale.is_finite() && scale >= f32::MIN_POSITIVE;
    require("scale", scale, usable, "finite and at least 2^-126")
}

/// `given` scales of groups of rows of `shape`, if they can be used.
fn checked_groups(
    scales: NonNull<f32>,
    given: usize,
    size: usize,
    shape: Layout,
) -> Result<cpu::GroupScales, Error> {
    let most = Scale::MOST_GROUP_SIZE;
    if !(1..=most).contains(&size) {
        return Err(Error::GroupSize { given: size, most });
    }
    // No more than there are elements.
    let wanted = shape.rows * shape.channels.div_ceil(size);
    if given != wanted {
        return Err(Error::Length { what: "scale", given, wanted });
    }
    Ok(cpu::GroupScales { scales, size: size as u16 })
}

#[cfg(test)]
mod tests {
    use crate::cpu::ShortCall;
    use crate::{Element, Isa, Norm, Rows, RowsMut};
    use half::{bf16, f16};

    #[test]
    fn usual_calls_of_a_few_rows_are_short_and_longer_ones_are_not() {
        let is_short = |isa, norm: Norm, rows, channels, offset| {
            let (x, mut y) = (vec![1.0_f32; rows * channels], vec![0.0_f32; rows * channels]);
            let weight = vec![1.0_f32; channels];
            let x = Rows::new(&x, rows, channels).unwrap();
            let call = norm.forward(x, RowsMut::new(&mut y, rows, channels).unwrap()).isa(isa);
            let call = call.weight(&weight).weight_offset(offset);
            // SAFETY: the second part is empty.
            call.short().is_some_and(|call: ShortCall| unsafe { call.run_part(1) })
        };
        for isa in Isa::available() {
            for norm in Norm::DEFAULTS {
                for (rows, channels) in [(1, 1), (1, 4096), (4, 16_384), (1024, 1), (8, 128)] {
                    assert!(is_short(isa, norm, rows, channels, 0.0), "{isa:?} {norm:?} {rows}");
                    assert!(is_short(isa, norm, rows, channels, 1.0), "{isa:?} {norm:?} {rows}");
                }
                for (rows, channels) in [(1, 16_385), (5, 205), (1025, 1)] {
                    assert!(!is_short(isa, norm, rows, channels, 0.0), "{isa:?} {norm:?} {rows}");
                }
                assert!(!is_short(isa, norm, 1, 64, f32::NAN), "{isa:?} {norm:?}");
            }
            let scaled = |scale| Norm::DyIsru { beta: 1.0, scale };
            assert!(is_short(isa, scaled(2.0), 1, 64, 0.0));
            assert!(!is_short(isa, scaled(f32::INFINITY), 1, 64, 0.0));
        }
    }

    #[test]
    fn weight_and_bias_of_a_short_call_are_of_the_input_s_type_or_of_f32() {
        fn is_short<W: Element, B: Element>(weight: [W; 8], bias: [B; 8]) -> bool {
            let (x, mut y) = ([bf16::ONE; 8], [bf16::ONE; 8]);
            let call = Norm::RmsNorm { eps: 1.0 }
                .forward(Rows::new(&x, 1, 8).unwrap(), RowsMut::new(&mut y, 1, 8).unwrap());
            call.weight(&weight).bias(&bias).short().is_some()
        }
        let (narrow, wide, other) = ([bf16::ONE; 8], [1.0_f32; 8], [f16::ONE; 8]);
        assert!(is_short(narrow, narrow) && is_short(wide, wide));
        assert!(!is_short(narrow, wide) && !is_short(wide, narrow));
        assert!(!is_short(other, other) && !is_short(narrow, other));
    }

    /// Or they would be left to the other kernels, and nobody notice.
    #[test]
    fn there_is_a_kernel_for_each_type() {
        fn has_kernel<X: Element + Default, W: Element + Default>(norm: Norm, isa: Isa) -> bool {
            let (x, mut y) = ([X::default(); 8], [X::default(); 8]);
            let weight = [W::default(); 8];
            let call = norm
                .forward(Rows::new(&x, 1, 8).unwrap(), RowsMut::new(&mut y, 1, 8).unwrap())
                .weight(&weight)
                .isa(isa);
            // SAFETY: the second part is empty.
            call.short().is_some_and(|call| unsafe { call.run_part(1) })
        }
        for isa in Isa::available() {
            for norm in Norm::DEFAULTS {
                assert!(has_kernel::<f32, f32>(norm, isa), "{norm:?} {isa:?}");
                for has in [
                    has_kernel::<f16, f32>,
                    has_kernel::<f16, f16>,
                    has_kernel::<bf16, f32>,
                    has_kernel::<bf16, bf16>,
                ] {
                    assert_eq!(has(norm, isa), !isa.is_lean(), "{norm:?} {isa:?}");
                }
            }
        }
    }

    #[test]
    fn a_single_row_may_have_any_stride() {
        let x = [1.0_f32; 64];
        let (weight, mut y) = ([1.0_f32; 16], [0.0_f32; 64]);
        for (rows, short) in [(1, true), (2, false)] {
            let x = Rows::with_stride(&x, rows, 16, 32).unwrap();
            let y = RowsMut::with_stride(&mut y, rows, 16, 24).unwrap();
            let call = Norm::RmsNorm { eps: 1.0 }.forward(x, y).weight(&weight);
            assert_eq!(call.short().is_some(), short);
        }
    }
}
