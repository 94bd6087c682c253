//! What is fused around the function, called from C: the bits of the same call from Rust, whose
//! values other tests look at.

use super::call::{CHANNELS, Contents, Fused, HEADS, Memory, ROWS, Tensor};
use super::{close, element, find_statistics, launch, norm, open};
use crate::emulator::{self, Emulator};
use crate::{TYPES, allocations, device};
use dynorm::cuda::{Device, Statistics};
use dynorm::ffi::*;
use dynorm::{Norm, QuantizedType};
use dynorm_scale::*;
use dynorm_status::*;
use std::mem::{MaybeUninit, offset_of};
use std::ptr;

const MODES: [dynorm_scale; 3] =
    [DYNORM_SCALE_GIVEN, DYNORM_SCALE_GIVEN_PER_ROW, DYNORM_SCALE_COMPUTED];

/// The machine, with a device opened by C and one by Rust.
struct Both<'a> {
    emulator: &'a Emulator,
    c: *mut dynorm_cuda,
    rust: Device,
}

impl<'a> Both<'a> {
    fn open(emulator: &'a Emulator) -> Self {
        Self { emulator, c: open(&[]), rust: device() }
    }

    /// Runs the call from C and from Rust; gives what it leaves, which is the same.
    fn run(&self, fused: Fused) -> Contents {
        let mut memory = Memory::new(fused.types);
        memory.expose(self.emulator);
        let by_c = memory.after(|memory| {
            let status = launch(self.c, &fused.args(memory));
            assert_eq!(status, DYNORM_OK, "{fused:?}: {}", self.emulator.fault());
        });
        let by_rust = memory.after(|memory| {
            // SAFETY: the machine looks at every access, and is done when it returns.
            let launched = unsafe { fused.call(memory).launch(&self.rust, ptr::null_mut()) };
            assert_eq!(launched, Ok(()), "{fused:?}");
        });
        assert!(by_c == by_rust, "{fused:?}: C and Rust differ");
        assert!(by_c[Tensor::Y as usize] != memory.before()[Tensor::Y as usize], "{fused:?}");
        by_c
    }
}

impl Drop for Both<'_> {
    fn drop(&mut self) {
        close(self.c);
    }
}

/// Calls of all functions, on rows and on heads, each of the types in turn.
fn calls() -> impl Iterator<Item = Fused> {
    let heads = [false, true].into_iter();
    let with_types = heads.flat_map(|heads| (0..3).map(move |types| (heads, types)));
    with_types.flat_map(|(heads, types)| {
        Norm::DEFAULTS.into_iter().map(move |norm| Fused { heads, ..Fused::new(norm, types) })
    })
}

#[test]
fn residuals_and_gates_arrive() {
    let emulator = emulator::lock();
    let both = Both::open(&emulator);
    for call in calls() {
        both.run(call);
        for sum in [Tensor::Residual, Tensor::Sum] {
            both.run(Fused { residual: Some(sum), ..call });
            both.run(Fused { residual: Some(sum), gate: true, ..call });
        }
        both.run(Fused { gate: true, ..call });
    }
}

#[test]
fn outputs_of_8_bits_arrive_with_every_kind_of_scale() {
    let emulator = emulator::lock();
    let both = Both::open(&emulator);
    for call in calls() {
        for quantized in QuantizedType::ALL.into_iter().flat_map(|y| MODES.map(|mode| (y, mode))) {
            let plain = Fused { quantized: Some(quantized), ..call };
            both.run(plain);
            both.run(Fused { residual: Some(Tensor::Sum), gate: true, ..plain });
        }
    }
}

#[test]
fn statistics_that_are_given_arrive() {
    let emulator = emulator::lock();
    let both = Both::open(&emulator);
    for call in calls().filter(|call| !call.norm.is_elementwise()) {
        let given = Fused { statistics: true, ..call };
        assert!(both.run(given) != both.run(call), "{call:?}: they are of other rows");
        let residual = Some(Tensor::Residual);
        let quantized = Some((QuantizedType::I8, DYNORM_SCALE_COMPUTED));
        both.run(Fused { residual, gate: true, quantized, ..given });
    }
}

#[test]
fn statistics_that_are_found_arrive() {
    let emulator = emulator::lock();
    let both = Both::open(&emulator);
    for call in calls().filter(|call| !call.norm.is_elementwise()) {
        let mut memory = Memory::new(call.types);
        memory.expose(&emulator);
        for flags in [0, dynorm_flag::DYNORM_FLAG_PROGRAMMATIC as u32] {
            let programmatic = emulator.counts().programmatic;
            let by_c = memory.after(|memory| {
                // No more of it is looked at.
                let args = dynorm_forward_args {
                    flags,
                    y: ptr::null_mut(),
                    weight: ptr::without_provenance(1),
                    ..call.args(memory)
                };
                let status = find_statistics(both.c, &args, memory.at(Tensor::Statistics));
                assert_eq!(status, DYNORM_OK, "{call:?}: {}", emulator.fault());
            });
            let launched = emulator.counts().programmatic - programmatic;
            assert_eq!(launched, u64::from(flags != 0));
            let by_rust = memory.after(|memory| {
                let to = memory.address(Tensor::Statistics);
                let call = Statistics::new(call.norm, call.rows(memory, Tensor::X), to);
                // SAFETY: the machine looks at every access, and is done when it returns.
                assert_eq!(unsafe { call.launch(&both.rust, ptr::null_mut()) }, Ok(()));
            });
            assert!(by_c == by_rust, "{call:?}: C and Rust differ");
            assert!(by_c != *memory.before(), "{call:?}: nothing was written");
        }
    }
}

#[test]
fn heads_in_place_in_a_packed_tensor_are_rows_by_themselves() {
    let emulator = emulator::lock();
    let both = Both::open(&emulator);
    let (packed, types) = (Tensor::Y, 0);
    for norm in Norm::DEFAULTS {
        let mut memory = Memory::new(types);
        memory.expose(&emulator);
        let in_place = |memory: &Memory| dynorm_forward_args {
            x: memory.at(packed),
            x_element: element(packed.element(types)),
            x_row_stride: packed.row_stride(),
            x_token_stride: packed.token_stride(),
            ..Fused { heads: true, ..Fused::new(norm, types) }.args(memory)
        };
        let together = memory.after(|memory| {
            let status = launch(both.c, &in_place(memory));
            assert_eq!(status, DYNORM_OK, "{norm:?}: {}", emulator.fault());
        });
        let alone = memory.after(|memory| {
            let all = in_place(memory);
            for row in 0..ROWS {
                let (token, head) = (row / HEADS, row % HEADS);
                let at = token * packed.token_stride() + head * packed.row_stride();
                let y = all.y.wrapping_byte_add(at * packed.element(types).size());
                let one = dynorm_forward_args { rows: 1, heads: 0, x: y, y, ..all };
                assert_eq!(launch(both.c, &one), DYNORM_OK, "{norm:?}: {}", emulator.fault());
            }
        });
        assert!(together == alone && together != *memory.before(), "{norm:?}");
    }
}

#[test]
fn a_struct_of_the_first_version_has_nothing_fused() {
    let emulator = emulator::lock();
    let both = Both::open(&emulator);
    let call = Fused::new(Norm::DEFAULTS[0], 1);
    let wanted = both.run(call);
    let mut memory = Memory::new(call.types);
    memory.expose(&emulator);
    let given = memory.after(|memory| {
        let all = Fused { residual: Some(Tensor::Sum), gate: true, statistics: true, ..call };
        // What comes after its size is not the struct's.
        let size = offset_of!(dynorm_forward_args, residual);
        let args = dynorm_forward_args { size, scale_group_size: 1, heads: 5, ..all.args(memory) };
        assert_eq!(launch(both.c, &args), DYNORM_OK, "{}", emulator.fault());
    });
    assert!(given == wanted);
}

#[test]
fn no_rows_launch_nothing() {
    let emulator = emulator::lock();
    let both = Both::open(&emulator);
    let before = emulator.counts().launches;
    // SAFETY: zeros are every field's default.
    let defaults: dynorm_forward_args = unsafe { std::mem::zeroed() };
    let none = dynorm_forward_args {
        size: size_of::<dynorm_forward_args>(),
        norm: norm(Norm::DEFAULTS[0]),
        channels: CHANNELS,
        x_element: element(TYPES[0]),
        y_element: MaybeUninit::new(dynorm_element::DYNORM_I8),
        scale_mode: MaybeUninit::new(DYNORM_SCALE_GIVEN),
        heads: HEADS,
        ..defaults
    };
    assert_eq!(launch(both.c, &none), DYNORM_OK);
    assert_eq!(find_statistics(both.c, &none, ptr::null_mut()), DYNORM_OK);
    assert_eq!(emulator.counts().launches, before);
}

#[test]
fn fused_calls_allocate_nothing() {
    let emulator = emulator::lock();
    let both = Both::open(&emulator);
    let memory = Memory::new(0);
    memory.expose(&emulator);
    let call = Fused {
        heads: true,
        residual: Some(Tensor::Sum),
        gate: true,
        quantized: Some((QuantizedType::F8E4M3, DYNORM_SCALE_COMPUTED)),
        statistics: true,
        ..Fused::new(Norm::DEFAULTS[1], 0)
    };
    let args = call.args(&memory);
    let alone = Fused { residual: None, ..call }.args(&memory);
    let run = || {
        assert_eq!(launch(both.c, &args), DYNORM_OK, "{}", emulator.fault());
        let to = memory.at(Tensor::Statistics);
        assert_eq!(find_statistics(both.c, &alone, to), DYNORM_OK, "{}", emulator.fault());
    };
    // cudarc looks functions up when they are first called.
    run();
    let before = allocations::count();
    run();
    assert_eq!(allocations::count(), before);
}
