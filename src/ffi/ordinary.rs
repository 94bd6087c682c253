//! Calls as most hosts make them, seen at a glance to be in order. A small call feels every check and every copy of
//! what describes it, and those that find out what exactly is wrong take longer than a short row.

use super::args::dynorm_forward_args;
use super::enums::{OutputType, dynorm_element, dynorm_flag, dynorm_scale, value};
use super::memory::Memory;
use super::tensors::{Operand, Output, Residual, Scales, Shape, Tensor, Tensors, groups, layout};
use crate::tensor::Layout;
use crate::{ElementType, Isa, Norm, RowStatistics};
use core::ffi::c_void;
use core::mem::MaybeUninit;

/// A call that is in order.
pub(super) struct Ordinary {
    pub(super) norm: Norm,
    pub(super) tensors: Tensors,
    pub(super) isa: Option<Isa>,
    pub(super) stream: Option<bool>,
}

impl dynorm_forward_args {
    /// What the call is, if there are rows, and what is written is either where it may be in place or apart from
    /// everything else. Other calls may be in order, too; that takes a closer look.
    #[inline(always)]
    pub(super) fn ordinary(&self) -> Option<Ordinary> {
        let Self { channels, rows, .. } = *self;
        let reserved = self.reserved | self.norm.reserved[0] | self.norm.reserved[1];
        if reserved != 0 || rows == 0 {
            return None;
        }
        let norm = self.norm.of(value(self.norm.function)?);
        let (isa, stream) = (value(self.isa)?.choice(), self.ordinary_stream()?);
        let strides = [self.x_row_stride, self.x_token_stride];
        let (x, x_at) = self.rows_at(self.x, element(self.x_element)?, strides)?;
        let (y, y_at, scales_at, scales_are_written) = self.ordinary_output()?;
        let in_place = matches!(&y, Output::Element(y) if coincide((y, y_at), (&x, x_at)));
        let (weight, weight_at) = operand(self.weight, self.weight_element, channels)?;
        let (bias, bias_at) = operand(self.bias, self.bias_element, channels)?;
        let (residual, residual_at, sum_at) = self.ordinary_residual()?;
        let (z, z_at) = match self.z.is_null() {
            true => (None, Memory::NONE),
            false => {
                let strides = [self.z_row_stride, self.z_token_stride];
                let z = self.rows_at(self.z, element(self.z_element)?, strides)?;
                (Some(z.0), z.1)
            }
        };
        let (statistics, statistics_at) = match self.statistics.is_null() {
            true => (None, Memory::NONE),
            false => {
                let form = [size_of::<RowStatistics>(), align_of::<RowStatistics>()];
                (Some(self.statistics), Memory::of(self.statistics.cast(), form, rows)?)
            }
        };
        // What is read and nothing else.
        let read = [x_at, weight_at, bias_at, z_at, statistics_at];
        let [_, others @ ..] = read;
        let mut apart = y_at.is_apart_from_all(others) && (in_place || y_at.is_apart_from(x_at));
        apart &= y_at.is_apart_from_all([residual_at, sum_at, scales_at]);
        // With a sum of its own a residual is read, else it is the sum.
        let written = if self.residual_sum.is_null() { residual_at } else { sum_at };
        apart &= written.is_apart_from_all(read) && written.is_apart_from(scales_at);
        if scales_are_written {
            apart &= scales_at.is_apart_from_all(read) && scales_at.is_apart_from(residual_at);
        }
        let tensors = Tensors { x, y, weight, bias, residual, z, statistics };
        apart.then_some(Ordinary { norm, tensors, isa, stream })
    }

    /// Whether the output is to be written past the caches, if nothing else is asked for.
    #[inline(always)]
    fn ordinary_stream(&self) -> Option<Option<bool>> {
        const STREAM: u32 = dynorm_flag::DYNORM_FLAG_STREAM as u32;
        const NO_STREAM: u32 = dynorm_flag::DYNORM_FLAG_NO_STREAM as u32;
        match self.flags {
            0 => Some(None),
            STREAM => Some(Some(true)),
            NO_STREAM => Some(Some(false)),
            _ => None,
        }
    }

    /// The output, its memory and that of its scales, and whether these are written.
    #[inline(always)]
    fn ordinary_output(&self) -> Option<(Output, Memory, Memory, bool)> {
        let (mode, strides) = (value(self.scale_mode)?, [self.y_row_stride, self.y_token_stride]);
        if (self.scale_group_size != 0) != (mode == dynorm_scale::DYNORM_SCALE_COMPUTED_PER_GROUP) {
            return None;
        }
        let (scales, count) = match mode {
            dynorm_scale::DYNORM_SCALE_NONE => {
                let (y, at) = self.rows_at(self.y, element(self.y_element)?, strides)?;
                return Some((Output::Element(y), at, Memory::NONE, false));
            }
            dynorm_scale::DYNORM_SCALE_GIVEN => (Scales::Given(self.scales), 1),
            dynorm_scale::DYNORM_SCALE_GIVEN_PER_ROW => {
                (Scales::GivenPerRow(self.scales), self.rows)
            }
            dynorm_scale::DYNORM_SCALE_COMPUTED => (Scales::Computed(self.scales), self.rows),
            dynorm_scale::DYNORM_SCALE_COMPUTED_PER_GROUP => {
                let size = self.scale_group_size;
                let count = self.rows.checked_mul(groups(self.channels, size))?;
                (Scales::ComputedPerGroup(self.scales, size), count)
            }
        };
        let OutputType::Quantized(element) = value(self.y_element)?.output() else { return None };
        let (layout, at) = self.layout_at(self.y, 1, strides)?;
        let form = [size_of::<f32>(), align_of::<f32>()];
        let scales_at = Memory::of(self.scales.cast(), form, count)?;
        let written = matches!(scales, Scales::Computed(_) | Scales::ComputedPerGroup(..));
        let y = Output::Quantized(Tensor { data: self.y, element, layout }, scales);
        Some((y, at, scales_at, written))
    }

    /// The residual, its memory, and that of a sum that is not in its place.
    #[inline(always)]
    fn ordinary_residual(&self) -> Option<(Option<Residual>, Memory, Memory)> {
        if self.residual.is_null() {
            let none = (None, Memory::NONE, Memory::NONE);
            return self.residual_sum.is_null().then_some(none);
        }
        let element = element(self.residual_element)?;
        let strides = [self.residual_row_stride, self.residual_token_stride];
        let (input, at) = self.rows_at(self.residual, element, strides)?;
        if self.residual_sum.is_null() {
            return Some((Some(Residual { input, sum: None }), at, Memory::NONE));
        }
        let strides = [self.residual_sum_row_stride, self.residual_sum_token_stride];
        let (sum, sum_at) = self.rows_at(self.residual_sum, element, strides)?;
        let in_order = coincide((&sum, sum_at), (&input, at)) || sum_at.is_apart_from(at);
        in_order.then_some((Some(Residual { input, sum: Some(sum) }), at, sum_at))
    }

    /// Rows, with their strides of rows and tokens.
    #[inline(always)]
    fn rows_at(
        &self,
        data: *const c_void,
        element: ElementType,
        strides: [usize; 2],
    ) -> Option<(Tensor, Memory)> {
        let (layout, at) = self.layout_at(data, element.size(), strides)?;
        Some((Tensor { data: data.cast_mut(), element, layout }, at))
    }

    /// The same of elements of `size` bytes. Gaps count as memory, that behind the last row, too, but for heads.
    #[inline(always)]
    fn layout_at(
        &self,
        data: *const c_void,
        size: usize,
        [row, token]: [usize; 2],
    ) -> Option<(Layout, Memory)> {
        let Self { rows, channels, heads, .. } = *self;
        let layout = layout("", size, Shape { rows, channels, heads }, row, token).ok()?;
        let count = match layout.heads {
            None if layout.stride < channels => return None,
            None => rows.checked_mul(layout.stride)?,
            Some(_) => layout.span("", size).ok()?,
        };
        let at = Memory::of(data, [size, size], count)?;
        (channels > 0).then_some((layout, at))
    }
}

/// Whether one may be written where the other is read.
#[inline(always)]
fn coincide(a: (&Tensor, Memory), b: (&Tensor, Memory)) -> bool {
    a.1.start == b.1.start && a.0.element.size() == b.0.element.size() && a.0.layout == b.0.layout
}

/// A weight or a bias, if there is one.
#[inline(always)]
fn operand(
    data: *const c_void,
    given: MaybeUninit<dynorm_element>,
    channels: usize,
) -> Option<(Option<Operand>, Memory)> {
    if data.is_null() {
        return Some((None, Memory::NONE));
    }
    let element = element(given)?;
    let at = Memory::of(data, [element.size(); 2], channels)?;
    Some((Some(Operand { data: data.cast_mut(), element }), at))
}

/// A type that is not of 8 bits.
#[inline(always)]
fn element(given: MaybeUninit<dynorm_element>) -> Option<ElementType> {
    match value(given)?.output() {
        OutputType::Element(element) => Some(element),
        OutputType::Quantized(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Named, ShortRows};
    use crate::ffi::enums::{Enum, dynorm_function, dynorm_isa};
    use crate::ffi::forward::call_of;
    use crate::ffi::refusal::Refusal;
    use core::ptr::NonNull;
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;
    use std::cell::Cell;

    /// A value of `E` by its number, which may be none.
    fn raw<E: Enum>(number: u32) -> MaybeUninit<E> {
        const { assert!(size_of::<E>() == size_of::<u32>()) };
        // SAFETY: of the same size, and any bytes will do.
        unsafe { core::mem::transmute_copy(&number) }
    }

    /// Addresses that are NULL, misaligned, near one another or apart; nothing is there.
    fn address() -> impl Strategy<Value = usize> {
        prop_oneof![
            1 => Just(0_usize),
            1 => 4096_usize..4200,
            16 => (0_usize..60).prop_map(|line| 8192 + 64 * line),
        ]
    }

    fn some_or_none() -> impl Strategy<Value = usize> {
        prop_oneof![4 => Just(0_usize), 1 => address()]
    }

    prop_compose! {
        fn args()(
            [rows, channels] in [0_usize..4, 0_usize..12],
            [x, y] in [address(), address()],
            [weight, bias, residual, sum, z, statistics] in
                [some_or_none(), some_or_none(), some_or_none(), some_or_none(), some_or_none(), some_or_none()],
            scales in address(),
            elements in [0_u32..4, 0_u32..6, 0_u32..4, 0_u32..4, 0_u32..4, 0_u32..4],
            scale_mode in prop_oneof![1 => Just(0_u32), 2 => 0_u32..6],
            group_size in prop_oneof![1 => Just(0_u32), 2 => 1_u32..14],
            strides in [0_usize..12, 0_usize..12, 0_usize..12, 0_usize..12, 0_usize..12],
            rare in prop::option::weighted(0.2, 1_u32..4),
            function in 0_u32..6,
        ) -> dynorm_forward_args {
            // SAFETY: zeros are every field's default.
            let mut args: dynorm_forward_args = unsafe { core::mem::zeroed() };
            args.size = size_of::<dynorm_forward_args>();
            args.norm.function = raw(function);
            set_parameters(&mut args);
            (args.rows, args.channels) = (rows, channels);
            let at = |address: usize| core::ptr::without_provenance_mut::<c_void>(address);
            (args.x, args.y) = (at(x), at(y));
            (args.weight, args.bias) = (at(weight), at(bias));
            (args.residual, args.residual_sum, args.z) = (at(residual), at(sum), at(z));
            (args.statistics, args.scales) = (at(statistics).cast(), at(scales).cast());
            let [x, y, weight, bias, residual, z] = elements;
            // Mostly of 8 bits where there are scales.
            let y = if (1..=4).contains(&scale_mode) && y > 0 { 4 + y % 2 } else { y };
            // Mostly where there are groups.
            args.scale_group_size = if scale_mode == 4 || group_size == 13 { group_size } else { 0 };
            let [x, y, weight, bias, residual, z] = [x, y, weight, bias, residual, z].map(raw);
            (args.x_element, args.y_element, args.weight_element) = (x, y, weight);
            (args.bias_element, args.residual_element, args.z_element) = (bias, residual, z);
            args.scale_mode = raw(scale_mode);
            // Mostly the default.
            let strides = strides.map(|stride| if stride < 8 { 0 } else { stride });
            [args.x_row_stride, args.y_row_stride, args.residual_row_stride, ..] = strides;
            [.., args.residual_sum_row_stride, args.z_row_stride] = strides;
            match rare {
                Some(1) => args.heads = 2,
                Some(2) => args.flags = 1,
                Some(_) => args.x_token_stride = 24,
                None => {}
            }
            args
        }
    }

    /// What a closer look says.
    fn checked(args: &dynorm_forward_args) -> Result<Ordinary, Refusal> {
        let (norm, isa, stream) = (args.norm()?, args.isa()?, args.flags()?.stream()?);
        Ok(Ordinary { norm, tensors: args.tensors()?, isa, stream })
    }

    /// Whether a call is short, as which it must be one for a closer look, too.
    #[track_caller]
    fn is_short(args: &dynorm_forward_args) -> bool {
        let Some(call) = args.short() else { return false };
        let closer = checked(args).unwrap_or_else(|refusal| panic!("{refusal}"));
        let ShortRows { parameters, rows, channels, x, y, weight, bias, weight_offset, residual } =
            call.rows;
        let wanted = Named::from(closer.norm);
        assert_eq!((call.kind, parameters), (wanted.kind, wanted.parameters));
        assert!(args.rows == rows && args.channels == channels && closer.tensors.z.is_none());
        assert!(closer.isa.is_none() && closer.stream.is_none());
        assert_eq!(args.weight_offset, weight_offset);
        let operand =
            |data: NonNull<u8>| Operand { data: data.cast().as_ptr(), element: call.weight };
        assert_eq!(closer.tensors.weight, Some(operand(weight)));
        assert_eq!(closer.tensors.bias, bias.map(operand));
        let dense = |data: NonNull<u8>| Tensor {
            data: data.cast().as_ptr(),
            element: call.element,
            layout: Layout::new(rows, channels, channels),
        };
        assert_eq!((closer.tensors.x, closer.tensors.y), (dense(x), Output::Element(dense(y))));
        let sum_of = |given: Residual| [given.input, given.sum.unwrap_or(given.input)];
        assert_eq!(closer.tensors.residual.map(sum_of), residual.map(|both| both.map(dense)));
        assert!(closer.tensors.statistics.is_none());
        // Or the parts of a call might not agree, see `ShortCall::is_undivided`.
        // SAFETY: no address is followed.
        let of_rust = unsafe { call_of(args, closer.norm, closer.tensors) };
        let of_rust = of_rust.short().expect("a call that is short from Rust, too");
        assert_eq!(of_rust.is_undivided(), call.is_undivided());
        true
    }

    /// Whether a call is ordinary. If it is, a closer look must come to the same.
    #[track_caller]
    fn stands_up(args: &dynorm_forward_args) -> bool {
        let Some(seen) = args.ordinary() else {
            assert!(!is_short(args));
            return false;
        };
        let closer = checked(args).unwrap_or_else(|refusal| panic!("{refusal}"));
        assert_eq!(seen.norm, closer.norm);
        assert_eq!(seen.tensors, closer.tensors);
        assert_eq!((seen.isa, seen.stream), (closer.isa, closer.stream));
        true
    }

    #[test]
    fn what_is_seen_at_a_glance_stands_up_to_a_closer_look() {
        let (ordinary, others) = (Cell::new(0), Cell::new(0));
        let config =
            ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) };
        let mut runner = TestRunner::new(config);
        let run = runner.run(&args(), |args| {
            let seen = if stands_up(&args) { &ordinary } else { &others };
            seen.set(seen.get() + 1);
            Ok(())
        });
        run.unwrap();
        assert!(ordinary.get() > 1000 && others.get() > 1000, "{ordinary:?} {others:?}");
    }

    /// The same with what short calls have, mostly.
    fn mostly_short() -> impl Strategy<Value = dynorm_forward_args> {
        (args(), address(), 0_u32..12).prop_map(|(mut args, weight, change)| {
            (args.z, args.statistics, args.weight) = (at(0), at(0), at(weight));
            (args.heads, args.flags, args.scale_mode) = (0, 0, raw(0));
            args.scale_group_size = 0;
            args.norm.function = raw(1 + change % 5);
            let elements = [&mut args.x_element, &mut args.y_element, &mut args.residual_element];
            for element in elements {
                *element = raw(1 + change % 3);
            }
            // Both of f32, or both of the input's type.
            let operands = if change % 2 == 0 { 1 } else { 1 + change % 3 };
            (args.weight_element, args.bias_element) = (raw(operands), raw(operands));
            match change {
                0 => args.x_element = raw(2),
                1 => args.bias_element = raw(3),
                2 => args.weight_offset = 1.0,
                3 => args.isa = raw(1),
                4 => args.weight_element = raw(3),
                _ => {}
            }
            args
        })
    }

    #[test]
    fn what_is_short_stands_up_to_a_closer_look() {
        let (short, others) = (Cell::new(0), Cell::new(0));
        let config =
            ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) };
        let run = TestRunner::new(config).run(&mostly_short(), |args| {
            let seen = if is_short(&args) { &short } else { &others };
            seen.set(seen.get() + 1);
            stands_up(&args);
            Ok(())
        });
        run.unwrap();
        assert!(short.get() > 1000 && others.get() > 1000, "{short:?} {others:?}");
    }

    fn at<T>(address: usize) -> *mut T {
        core::ptr::without_provenance_mut(address)
    }

    /// No two are the same.
    fn set_parameters(args: &mut dynorm_forward_args) {
        let norm = &mut args.norm;
        (norm.eps, norm.alpha, norm.beta, norm.scale, norm.shift) = (0.5, 2.0, 3.0, 1.0, 5.0);
    }

    /// A call of two rows of eight channels in f32 with everything that there is, each at an address of its own.
    fn of_everything() -> dynorm_forward_args {
        // SAFETY: zeros are every field's default.
        let mut args: dynorm_forward_args = unsafe { core::mem::zeroed() };
        args.size = size_of::<dynorm_forward_args>();
        args.norm.function = MaybeUninit::new(dynorm_function::DYNORM_RMS_NORM);
        set_parameters(&mut args);
        (args.rows, args.channels) = (2, 8);
        let f32 = MaybeUninit::new(dynorm_element::DYNORM_F32);
        (args.x_element, args.y_element, args.weight_element) = (f32, f32, f32);
        (args.bias_element, args.residual_element, args.z_element) = (f32, f32, f32);
        for (i, place) in PLACES.iter().enumerate() {
            place(&mut args, 4096 * (i + 1));
        }
        args
    }

    /// What puts each of the tensors at an address.
    const PLACES: [fn(&mut dynorm_forward_args, usize); 9] = [
        |args, address| args.x = at(address),
        |args, address| args.y = at(address),
        |args, address| args.weight = at(address),
        |args, address| args.bias = at(address),
        |args, address| args.residual = at(address),
        |args, address| args.residual_sum = at(address),
        |args, address| args.z = at(address),
        |args, address| args.statistics = at(address),
        |args, address| args.scales = at(address),
    ];

    #[test]
    fn each_tensor_is_looked_at_beside_each_other() {
        let mut one_in_place = of_everything();
        one_in_place.residual_sum = core::ptr::null_mut();
        let (mut short, mut short_in_place) = (of_everything(), one_in_place);
        for args in [&mut short, &mut short_in_place] {
            (args.z, args.statistics) = (at(0), at(0));
        }
        let mut quantised = of_everything();
        quantised.y_element = MaybeUninit::new(dynorm_element::DYNORM_I8);
        quantised.scale_mode = MaybeUninit::new(dynorm_scale::DYNORM_SCALE_COMPUTED);
        let mut grouped = quantised;
        grouped.scale_mode = MaybeUninit::new(dynorm_scale::DYNORM_SCALE_COMPUTED_PER_GROUP);
        grouped.scale_group_size = 1;
        for args in [of_everything(), one_in_place, short, short_in_place, quantised, grouped] {
            assert!(stands_up(&args));
            let all_short = is_short(&args);
            assert_eq!(all_short, args.z.is_null());
            let sum_is_apart = !args.residual_sum.is_null();
            for (i, move_one) in PLACES.iter().enumerate() {
                // A sum that is not there is not to be there.
                if i == 5 && !sum_is_apart {
                    continue;
                }
                for other in (1..=PLACES.len()).map(|number| 4096 * number) {
                    for apart in [-64_isize, -32, -4, 0, 4, 32, 64] {
                        let mut args = args;
                        move_one(&mut args, other.wrapping_add_signed(apart));
                        // Rows follow one another here, so that no closer look allows more.
                        assert_eq!(stands_up(&args), checked(&args).is_ok(), "{i} {other} {apart}");
                        let still_short = args.z.is_null() && args.statistics.is_null();
                        if all_short && still_short {
                            assert_eq!(is_short(&args), stands_up(&args), "{i} {other} {apart}");
                        } else {
                            assert!(!is_short(&args), "{i} {other} {apart}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_leads_beyond_memory_is_not_ordinary() {
        let far = usize::MAX / 4 * 4;
        let changes: [fn(&mut dynorm_forward_args, usize); 8] = [
            |args, far| args.rows = far,
            |args, far| args.channels = far,
            |args, far| (args.rows, args.x_row_stride) = (3, far / 2),
            |args, far| args.y_row_stride = far / 4,
            |args, far| args.residual_row_stride = far / 16,
            |args, far| args.x = at(far - 16),
            |args, far| args.statistics = at(far - 16),
            |args, far| args.weight = at(far - 16),
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut args = of_everything();
            change(&mut args, far);
            assert!(args.ordinary().is_none(), "{i}");
            (args.z, args.statistics) = (at(0), at(0));
            // Which then is in order.
            let of_statistics = i == 6;
            assert_eq!(args.short().is_some(), of_statistics, "{i}");
        }
        let reserved: [fn(&mut dynorm_forward_args); 6] = [
            |args| args.reserved = 1,
            |args| args.scale_group_size = 1,
            |args| args.norm.reserved[0] = 1,
            |args| args.norm.reserved[1] = 1,
            |args| args.isa = raw(99),
            |args| args.flags = 3,
        ];
        for (i, set) in reserved.iter().enumerate() {
            let mut args = of_everything();
            set(&mut args);
            assert!(args.ordinary().is_none() && checked(&args).is_err(), "{i}");
            (args.z, args.statistics) = (at(0), at(0));
            assert!(args.short().is_none(), "{i}");
        }
    }

    #[test]
    fn usual_calls_are_ordinary() {
        let mut args = of_everything();
        (args.residual, args.residual_sum) = (at(0), at(0));
        (args.bias, args.z, args.statistics) = (at(0), at(0), at(0));
        args.y = at(args.x.addr() + 64);
        assert!(stands_up(&args) && is_short(&args), "side by side");
        args.y = args.x.cast_mut();
        assert!(stands_up(&args) && is_short(&args), "in place");
        (args.x_row_stride, args.y_row_stride) = (9, 9);
        assert!(stands_up(&args) && !is_short(&args), "with gaps");
        (args.x_row_stride, args.y_row_stride) = (8, 8);
        assert!(is_short(&args), "without gaps");
        (args.rows, args.x, args.y) = (1 << 10, at(1 << 21), at(1 << 21));
        assert!(stands_up(&args) && !is_short(&args), "of many rows");
        args.rows = 2;
        args.flags = dynorm_flag::DYNORM_FLAG_NO_STREAM.number();
        args.isa = MaybeUninit::new(dynorm_isa::DYNORM_ISA_PORTABLE);
        assert!(stands_up(&args), "with choices");
        args.residual = at(1 << 20);
        assert!(stands_up(&args), "with a residual");
        (args.rows, args.heads) = (6, 3);
        (args.x_token_stride, args.y_token_stride) = (80, 80);
        assert!(stands_up(&args), "of heads");
        args.y_token_stride = 81;
        assert!(!stands_up(&args), "of heads, in places of others");
    }
}
