//! Nothing outside the slices is touched, neither written nor read: they lie between two pages
//! that may not be accessed, at the very end of their memory and at its very begin.
#![cfg(unix)]

mod common;

use common::random::Random;
use common::tensor::Sample;
use common::{isas, lengths};
use core::{ptr, slice};
use dynorm::cpu::lanes::{self, Kernel, Lanes};
use dynorm::{Forward, Isa, Norm, QuantizedRowsMut, Rows, RowsMut, Scale, bf16, cpu, f16};

/// Memory with a page on either side that may not be accessed.
struct Fenced {
    base: *mut libc::c_void,
    page: usize,
    bytes: usize,
}

impl Fenced {
    fn new(at_least: usize) -> Self {
        // SAFETY: a question about the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let bytes = at_least.next_multiple_of(page);
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
        // SAFETY: new memory at an address of the system's choice; the middle of it is opened.
        unsafe {
            let base = libc::mmap(ptr::null_mut(), bytes + 2 * page, libc::PROT_NONE, kind, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(base.byte_add(page), bytes, access), 0);
            Self { base, page, bytes }
        }
    }

    /// The last `len` elements of the memory, or the first.
    fn slice<T: Sample>(&mut self, len: usize, at_end: bool) -> &mut [T] {
        let bytes = len * size_of::<T>();
        assert!(bytes <= self.bytes);
        let offset = self.page + if at_end { self.bytes - bytes } else { 0 };
        // SAFETY: inside the open memory, which is zeroed at first and borrowed with `self`;
        // every bit pattern is a number; `bytes` and the size of a page are multiples of `T`'s
        // alignment.
        unsafe { slice::from_raw_parts_mut(self.base.byte_add(offset).cast(), len) }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: the memory that `new` mapped, no longer borrowed.
        unsafe { libc::munmap(self.base, self.bytes + 2 * self.page) };
    }
}

/// The tensors of a call.
struct Memory {
    x: Fenced,
    y: Fenced,
    weight: Fenced,
    bias: Fenced,
}

/// More than are read ahead.
const ROWS: usize = 5;
/// Elements between rows, where there are any.
const GAP: usize = 2;

impl Memory {
    fn new() -> Self {
        let tensor = || Fenced::new(ROWS * (1025 + GAP) * size_of::<f32>());
        Self { x: tensor(), y: tensor(), weight: tensor(), bias: tensor() }
    }

    /// Runs in fenced memory, and compares with the same call in ordinary memory.
    fn check<X: Sample, Y: Sample, W: Sample>(
        &mut self,
        (norm, isa): (Norm, Isa),
        channels: usize,
        (rows, gap, at_end, stream): (usize, usize, bool, Option<bool>),
    ) {
        let stride = channels + gap;
        let span = rows * stride - gap;
        let mut random = Random(channels as u64);
        let mut fill = |len: usize| random.normals(len, 0.0, 1.0);
        let x = self.x.slice::<X>(span, at_end);
        x.iter_mut().zip(fill(span)).for_each(|(x, v)| *x = X::round(v));
        let y = self.y.slice::<Y>(span, at_end);
        let weight = self.weight.slice::<W>(channels, at_end);
        weight.iter_mut().zip(fill(channels)).for_each(|(w, v)| *w = W::round(v));
        let bias = self.bias.slice::<W>(channels, at_end);
        bias.iter_mut().zip(fill(channels)).for_each(|(b, v)| *b = W::round(v));

        let run = |x: &[X], y: &mut [Y], weight: &[W], bias: &[W]| {
            let x = Rows::with_stride(x, rows, channels, stride).unwrap();
            let y = RowsMut::with_stride(y, rows, channels, stride).unwrap();
            let call = norm.forward(x, y).isa(isa);
            let call = stream.into_iter().fold(call, Forward::stream);
            call.weight(weight).bias(bias).run().unwrap();
        };
        run(x, y, weight, bias);
        let mut wanted = vec![Y::round(0.0); span];
        let ordinary = (x.to_vec(), weight.to_vec(), bias.to_vec());
        run(&ordinary.0, &mut wanted, &ordinary.1, &ordinary.2);
        for row in 0..rows {
            for i in row * stride..row * stride + channels {
                assert_eq!(y[i].bits(), wanted[i].bits(), "{norm:?} {isa:?} {channels}");
            }
        }
    }
}

#[test]
fn no_byte_outside_the_slices_is_read_or_written() {
    let mut memory = Memory::new();
    for call in
        Norm::DEFAULTS.into_iter().flat_map(|norm| isas().into_iter().map(move |isa| (norm, isa)))
    {
        for channels in lengths() {
            for rows in 1..=4 {
                for at_end in [true, false] {
                    // Short calls.
                    let place = (rows, 0, at_end, None);
                    memory.check::<f32, f32, f32>(call, channels, place);
                    memory.check::<f16, f16, f32>(call, channels, place);
                    memory.check::<bf16, bf16, f32>(call, channels, place);
                    memory.check::<f16, f16, f16>(call, channels, place);
                    memory.check::<bf16, bf16, bf16>(call, channels, place);
                }
            }
            let ends = [(true, false), (true, true), (false, false), (false, true)];
            for place in ends
                .into_iter()
                .flat_map(|(at_end, stream)| [GAP, 0].map(|gap| (ROWS, gap, at_end, Some(stream))))
            {
                memory.check::<f32, f32, f32>(call, channels, place);
                memory.check::<f32, f16, bf16>(call, channels, place);
                memory.check::<f16, bf16, f16>(call, channels, place);
                memory.check::<bf16, bf16, bf16>(call, channels, place);
                memory.check::<bf16, f16, f32>(call, channels, place);
                memory.check::<f16, f16, f32>(call, channels, place);
            }
        }
    }
}

/// With a residual, a gate and an output of 8 bits, whose last row ends with its memory or whose first
/// one begins with it.
#[test]
fn fused_calls_keep_inside_too() {
    let tensor = || Fenced::new(ROWS * (4099 + GAP) * size_of::<f32>());
    let (mut x, mut z, mut sum, mut y) = (tensor(), tensor(), tensor(), tensor());
    let mut scales = tensor();
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for channels in common::fused::LENGTHS.into_iter().chain([2, 3, 7, 63, 64, 65]) {
                let stride = channels + GAP;
                let span = ROWS * stride - GAP;
                for (at_end, stream, group_size) in [
                    (true, false, None),
                    (true, true, None),
                    (false, false, None),
                    (true, true, Some(32)),
                    (false, false, Some(48)),
                ] {
                    let x = x.slice::<bf16>(span, at_end);
                    x.fill(bf16::ONE);
                    let z = z.slice::<f16>(span, at_end);
                    z.fill(f16::ONE);
                    let sum = sum.slice::<bf16>(span, at_end);
                    sum.fill(bf16::ZERO);
                    let words: &mut [u8] =
                        bytemuck::cast_slice_mut(y.slice::<f32>(span.div_ceil(4), at_end));
                    let before = if at_end { words.len() - span } else { 0 };
                    let y: &mut [i8] = bytemuck::cast_slice_mut(&mut words[before..][..span]);
                    y.fill(55);
                    let groups = group_size.map_or(1, |size| channels.div_ceil(size));
                    let scales = scales.slice::<f32>(ROWS * groups, at_end);
                    scales.fill(f32::NAN);
                    let scale = match group_size {
                        None => Scale::Computed(&mut *scales),
                        Some(group_size) => {
                            Scale::ComputedPerGroup { scales: &mut *scales, group_size }
                        }
                    };

                    let rows = Rows::with_stride(x, ROWS, channels, stride).unwrap();
                    let y_rows = QuantizedRowsMut::with_stride(y, ROWS, channels, stride).unwrap();
                    norm.forward_quantized(rows, y_rows, scale)
                        .residual(RowsMut::with_stride(sum, ROWS, channels, stride).unwrap())
                        .gate(Rows::with_stride(z, ROWS, channels, stride).unwrap())
                        .isa(isa)
                        .stream(stream)
                        .run()
                        .unwrap();
                    assert_eq!(sum[..channels], vec![bf16::ONE; channels]);
                    // All elements of a row are the same, and the largest of it and of each group.
                    let largest = if let Norm::LayerNorm { .. } = norm { 0 } else { 127 };
                    for row in y.chunks(stride) {
                        assert_eq!(row[..channels], vec![largest; channels], "{norm:?} {isa:?}");
                    }
                    assert!(scales.iter().all(|scale| scale.is_finite()));
                }
            }
        }
    }
}

/// Gradients, of which every tensor ends with its memory, or begins with it.
#[test]
fn calls_for_gradients_keep_inside_too() {
    fn check<T: Sample>(
        memory: &mut [Fenced; 7],
        norm: Norm,
        isa: Isa,
        channels: usize,
        at_end: bool,
    ) {
        let [x, dy, dx, weight, d_weight, d_bias, workspace] = memory;
        let stride = channels + GAP;
        let span = ROWS * stride - GAP;
        let x = x.slice::<T>(span, at_end);
        x.fill(T::round(0.5));
        let dy = dy.slice::<T>(span, at_end);
        dy.fill(T::round(1.0));
        let dx = dx.slice::<T>(span, at_end);
        let weight = weight.slice::<f32>(channels, at_end);
        weight.fill(1.0);
        let d_weight = d_weight.slice::<f32>(channels, at_end);
        let d_bias = d_bias.slice::<f32>(channels, at_end);
        let mut by = [0.0; 2];
        let call = norm
            .backward(
                Rows::with_stride(x, ROWS, channels, stride).unwrap(),
                Rows::with_stride(dy, ROWS, channels, stride).unwrap(),
                RowsMut::with_stride(dx, ROWS, channels, stride).unwrap(),
            )
            .weight(weight)
            .d_weight(d_weight)
            .d_bias(d_bias)
            .d_parameters(&mut by[..norm.parameter_count()])
            .isa(isa);
        let len = call.workspace_len();
        call.workspace(workspace.slice(len, at_end)).run().unwrap();
        assert_eq!(d_bias, vec![ROWS as f32; channels], "{norm:?} {isa:?}");
        assert!(d_weight.iter().all(|&d| d == d_weight[0]), "{norm:?} {isa:?}");
    }
    let bytes = ROWS * (1025 + GAP) * size_of::<f32>();
    let mut memory = [(); 7].map(|()| Fenced::new(bytes));
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for channels in lengths() {
                for at_end in [true, false] {
                    check::<f32>(&mut memory, norm, isa, channels, at_end);
                    check::<f16>(&mut memory, norm, isa, channels, at_end);
                    check::<bf16>(&mut memory, norm, isa, channels, at_end);
                }
            }
        }
    }
}

/// Calls that need most of the stack, on a thread with little of it: where that is not enough, the process dies.
#[test]
fn little_stack_will_do() {
    // The promise of 64 KiB, and what a thread and this test need.
    const STACK: usize = (64 << 10) + (16 << 10);
    const SHAPE: (usize, usize) = (16, 4096);
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            let n = SHAPE.0 * SHAPE.1;
            let (x, mut y) = (vec![bf16::ONE; n], vec![55_i8; n]);
            let (mut sum, mut scales) = (vec![bf16::ZERO; n], vec![f32::NAN; SHAPE.0]);
            let (weight, bias) = (vec![bf16::ONE; SHAPE.1], vec![f16::ZERO; SHAPE.1]);
            let call = move || {
                let view = |data| Rows::new(data, SHAPE.0, SHAPE.1).unwrap();
                let into = QuantizedRowsMut::new(&mut y, SHAPE.0, SHAPE.1).unwrap();
                norm.forward_quantized(view(&x), into, Scale::Computed(&mut scales))
                    .residual(RowsMut::new(&mut sum, SHAPE.0, SHAPE.1).unwrap())
                    .gate(view(&x))
                    .weight(&weight)
                    .bias(&bias)
                    .isa(isa)
                    .run()
                    .unwrap();
                scales
            };
            let thread = std::thread::Builder::new().stack_size(STACK).spawn(call).unwrap();
            let scales = thread.join().unwrap();
            assert!(scales.iter().all(|scale| scale.is_finite()), "{norm:?} {isa:?}");
        }
    }
}

#[test]
fn copy_keeps_inside_its_slices() {
    let (mut source, mut target) = (Fenced::new(8192), Fenced::new(8192));
    for length in (0..=130).chain([1023, 1024]) {
        for (at_end, stream) in [(true, false), (true, true), (false, false), (false, true)] {
            let source = source.slice::<f32>(length, at_end);
            source.iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
            let target = target.slice::<f32>(length, at_end);
            target.fill(f32::POISON);
            cpu::copy(source, target, stream).unwrap();
            assert_eq!(source, target);
        }
    }
}

/// Loads every vector of a slice, and stores it where it was.
struct LoadAndStore<'a, T>(&'a mut [T]);

impl<T: Sample> Kernel for LoadAndStore<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for part in self.0.chunks_mut(L::COUNT) {
            lanes.store(lanes.load(part), part);
        }
    }
}

#[test]
fn vectors_keep_inside_their_slices() {
    fn check<T: Sample>(memory: &mut Fenced, length: usize, at_end: bool) {
        for isa in isas() {
            let slice = memory.slice::<T>(length, at_end);
            slice.iter_mut().enumerate().for_each(|(i, v)| *v = T::round(i as f32));
            lanes::run(isa, LoadAndStore(slice)).unwrap();
            for (i, v) in slice.iter().enumerate() {
                assert_eq!(v.bits(), T::round(i as f32).bits(), "{isa:?} {length} {i}");
            }
        }
    }
    let mut memory = Fenced::new(256);
    for length in 0..=50 {
        for at_end in [true, false] {
            check::<f32>(&mut memory, length, at_end);
            check::<f16>(&mut memory, length, at_end);
            check::<bf16>(&mut memory, length, at_end);
        }
    }
}
