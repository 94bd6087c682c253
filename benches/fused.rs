//! What fusing costs and saves: each variant's speed as a share of a copy of as many bytes as it
//! reads and writes, beside the plain call. The copy is the best of three ways, measured in the
//! same round, and of the heads alone where a variant leaves gaps between rows. A last line has the share of
//! a loop that only writes one byte for each two that it reads, as outputs of 8 bits do: where reading takes
//! longer than writing, that is below 1, and what these are to be compared with.
//!
//!     cargo bench --bench fused

mod common;

use common::{SLACK, aligned, median_and_quartiles, seconds};
use dynorm::{
    F8E4M3, HeadShape, Norm, QuantizedRowsMut, QuantizedType, Rows, RowsMut, Scale, bf16, cpu,
};

const CHANNELS: usize = 4096;
const HEAD: usize = 128;
/// Channels with a scale in common.
const GROUP: usize = 128;
/// Channels of the heads, which lie side by side at the beginning of a row.
const OF_HEADS: usize = 3 * CHANNELS / 4;

/// Buffers of one size, all of bf16 but the quantised ones.
struct Buffers {
    rows: usize,
    x: Vec<bf16>,
    residual: Vec<bf16>,
    z: Vec<bf16>,
    y: Vec<bf16>,
    int8: Vec<i8>,
    fp8: Vec<F8E4M3>,
    scales: Vec<f32>,
    weight: Vec<bf16>,
}

/// A variant: its name, the bytes that it reads and writes for each element, the channels of each row that the
/// copy beside it has, and the call.
type Variant = (&'static str, f64, usize, fn(&mut Buffers, Norm));

const VARIANTS: [Variant; 10] = [
    ("plain", 4.0, CHANNELS, |b, norm| {
        let Buffers { rows, x, y, weight, .. } = b;
        let y = RowsMut::new(aligned(y), *rows, CHANNELS).expect("the shape fits");
        norm.forward(rows_of(x, *rows), y).weight(weight).run().expect("valid");
    }),
    ("residual", 8.0, CHANNELS, |b, norm| {
        let Buffers { rows, x, residual, y, weight, .. } = b;
        let y = RowsMut::new(aligned(y), *rows, CHANNELS).expect("the shape fits");
        let residual = RowsMut::new(aligned(residual), *rows, CHANNELS).expect("the shape fits");
        norm.forward(rows_of(x, *rows), y).residual(residual).weight(weight).run().expect("valid");
    }),
    ("gate", 6.0, CHANNELS, |b, norm| {
        let Buffers { rows, x, z, y, weight, .. } = b;
        let y = RowsMut::new(aligned(y), *rows, CHANNELS).expect("the shape fits");
        norm.forward(rows_of(x, *rows), y)
            .gate(rows_of(z, *rows))
            .weight(weight)
            .run()
            .expect("valid");
    }),
    ("int8, scale given", 3.0, CHANNELS, |b, norm| {
        let Buffers { rows, x, int8, weight, .. } = b;
        let y = QuantizedRowsMut::new(aligned(int8), *rows, CHANNELS).expect("the shape fits");
        let call = norm.forward_quantized(rows_of(x, *rows), y, Scale::Given(0.05));
        call.weight(weight).run().expect("valid");
    }),
    ("int8, computed", 3.0, CHANNELS, |b, norm| {
        let Buffers { rows, x, int8, weight, scales, .. } = b;
        let y = QuantizedRowsMut::new(aligned(int8), *rows, CHANNELS).expect("the shape fits");
        let scales = Scale::Computed(&mut scales[..*rows]);
        let call = norm.forward_quantized(rows_of(x, *rows), y, scales);
        call.weight(weight).run().expect("valid");
    }),
    ("int8, groups of 128", 3.0, CHANNELS, |b, norm| {
        let Buffers { rows, x, int8, weight, scales, .. } = b;
        let y = QuantizedRowsMut::new(aligned(int8), *rows, CHANNELS).expect("the shape fits");
        let scales = Scale::ComputedPerGroup { scales, group_size: GROUP };
        norm.forward_quantized(rows_of(x, *rows), y, scales).weight(weight).run().expect("valid");
    }),
    ("fp8, scale given", 3.0, CHANNELS, |b, norm| {
        let Buffers { rows, x, fp8, weight, .. } = b;
        let y = QuantizedRowsMut::new(aligned(fp8), *rows, CHANNELS).expect("the shape fits");
        let call = norm.forward_quantized(rows_of(x, *rows), y, Scale::Given(0.05));
        call.weight(weight).run().expect("valid");
    }),
    ("residual, int8 given", 7.0, CHANNELS, |b, norm| residual_and_int8(b, norm, false)),
    ("residual, int8 computed", 7.0, CHANNELS, |b, norm| residual_and_int8(b, norm, true)),
    // Of 4096 channels 3072 are q, as heads of 128. Not in place: repeated, that would soon make zeros.
    ("heads", 4.0 * 0.75, OF_HEADS, |b, norm| {
        let Buffers { rows, x, y, weight, .. } = b;
        let shape = HeadShape {
            tokens: *rows,
            heads: OF_HEADS / HEAD,
            channels: HEAD,
            token_stride: CHANNELS,
            head_stride: HEAD,
        };
        let x = Rows::of_heads(aligned(x), shape).expect("the shape fits");
        let y = RowsMut::of_heads(aligned(y), shape).expect("the shape fits");
        norm.forward(x, y).weight(&weight[..HEAD]).run().expect("valid");
    }),
];

fn residual_and_int8(b: &mut Buffers, norm: Norm, computed: bool) {
    let Buffers { rows, x, residual, int8, weight, scales, .. } = b;
    let y = QuantizedRowsMut::new(aligned(int8), *rows, CHANNELS).expect("the shape fits");
    let residual = RowsMut::new(aligned(residual), *rows, CHANNELS).expect("the shape fits");
    let scale = if computed { Scale::Computed(&mut scales[..*rows]) } else { Scale::Given(0.05) };
    let call = norm.forward_quantized(rows_of(x, *rows), y, scale);
    call.residual(residual).weight(weight).run().expect("valid");
}

fn rows_of(buffer: &[bf16], rows: usize) -> Rows<'_> {
    let start = buffer.as_ptr().align_offset(64);
    Rows::new(&buffer[start..start + rows * CHANNELS], rows, CHANNELS).expect("the shape fits")
}

impl Buffers {
    fn new(rows: usize) -> Self {
        let n = rows * CHANNELS + SLACK;
        let wave = |step: f32| -> Vec<bf16> {
            (0..n).map(|i| bf16::from_f32((i as f32 * step).sin() * 3.0 - 0.2)).collect()
        };
        Self {
            rows,
            x: wave(0.37),
            residual: wave(0.11),
            z: wave(0.71),
            y: wave(0.53),
            int8: vec![-1; n],
            fp8: vec![F8E4M3::from_bits(0x7f); n],
            scales: vec![f32::NAN; rows * CHANNELS / GROUP],
            weight: wave(0.23)[..CHANNELS].to_vec(),
        }
    }

    /// Seconds of the best copy of the first channels of each row.
    fn copy_seconds(&mut self, repeats: usize, channels: usize) -> f64 {
        let from: &[f32] = bytemuck::cast_slice(aligned(&mut self.x));
        let to: &mut [f32] = bytemuck::cast_slice_mut(aligned(&mut self.y));
        // Two bf16 to an f32. Without gaps all is one row.
        let row = if channels == CHANNELS { from.len() } else { CHANNELS / 2 };
        let copied = row - (CHANNELS - channels) / 2;
        let mut time_of = |copy: fn(&[f32], &mut [f32])| {
            seconds(repeats, || {
                for (from, to) in from.chunks_exact(row).zip(to.chunks_exact_mut(row)) {
                    copy(&from[..copied], &mut to[..copied]);
                }
            })
        };
        time_of(|from, to| cpu::copy(from, to, false).expect("of one length"))
            .min(time_of(|from, to| cpu::copy(from, to, true).expect("of one length")))
            .min(time_of(|from, to| to.copy_from_slice(from)))
    }

    /// Seconds of the better of two ways to write the upper byte of each element.
    fn narrowing_seconds(&mut self, repeats: usize) -> f64 {
        let n = self.rows * CHANNELS;
        let from: &[u16] = bytemuck::cast_slice(&aligned(&mut self.x)[..n]);
        let to = &mut aligned(&mut self.int8)[..n];
        let mut time_of = |narrow: fn(&[u16], &mut [i8])| seconds(repeats, || narrow(from, to));
        time_of(narrow).min(time_of(narrow_past_caches))
    }
}

fn narrow(from: &[u16], to: &mut [i8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = (from >> 8) as i8;
    }
}

/// Streamed, and with what is read fetched ahead into the second level of the caches. `to` must begin at a multiple of
/// 16 bytes.
#[cfg(target_arch = "x86_64")]
fn narrow_past_caches(from: &[u16], to: &mut [i8]) {
    use std::arch::x86_64::*;
    /// Elements from what is read to what is fetched, and to a cache line.
    const AHEAD: usize = 6 << 10;
    const LINE: usize = 32;
    assert!(to.as_ptr().addr().is_multiple_of(16), "the output is aligned");
    for (from, to) in from.chunks_exact(LINE).zip(to.chunks_exact_mut(LINE)) {
        // SAFETY: SSE2 is part of x86-64; what is fetched need not be there; a line follows both addresses, and
        // stores are aligned, since lines are multiples of 16 bytes.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(from.as_ptr().wrapping_add(AHEAD).cast());
            for part in (0..LINE).step_by(16) {
                let from: *const __m128i = from.as_ptr().add(part).cast();
                let [a, b] = [_mm_loadu_si128(from), _mm_loadu_si128(from.add(1))];
                let bytes = _mm_packus_epi16(_mm_srli_epi16::<8>(a), _mm_srli_epi16::<8>(b));
                _mm_stream_si128(to.as_mut_ptr().add(part).cast(), bytes);
            }
        }
    }
    // SAFETY: as above.
    unsafe { _mm_sfence() };
}

#[cfg(not(target_arch = "x86_64"))]
use narrow as narrow_past_caches;

fn main() {
    // Cargo passes `--test` to see whether benches run at all.
    let test = std::env::args().any(|arg| arg == "--test");
    let isa = dynorm::Isa::current().expect("there is one");
    println!(
        "{}, one thread, bf16, rows of {CHANNELS} channels with weight: share of a copy of as many \
         bytes, median of the rounds (quartiles), and ps per element",
        isa.name()
    );
    let largest = QuantizedType::I8.largest();
    println!(
        "caches: {:?}; scales given: 0.05, so that {} is the largest value",
        cpu::cache_sizes(),
        0.05 * largest
    );
    let sizes =
        if test { vec![("L2", 2, 1, 1)] } else { vec![("L2", 16, 15, 40), ("DRAM", 16384, 7, 1)] };
    for (memory, rows, rounds, repeats) in sizes {
        let mut buffers = Buffers::new(rows);
        println!("\n{memory}, {rows} rows");
        print!("{:<26}", "");
        for norm in Norm::DEFAULTS {
            print!("{:>27}", norm.name());
        }
        println!();
        for (name, bytes, copied, call) in VARIANTS {
            print!("{name:<26}");
            for norm in Norm::DEFAULTS {
                let mut shares = Vec::new();
                let mut times = Vec::new();
                for _ in 0..rounds {
                    let copy = buffers.copy_seconds(repeats, copied);
                    let time = seconds(repeats, || call(&mut buffers, norm));
                    let copied_bytes = 4.0 * copied as f64 / CHANNELS as f64;
                    shares.push(copy * (bytes / copied_bytes) / time);
                    times.push(time);
                }
                times.sort_by(f64::total_cmp);
                let ps = times[times.len() / 2] * 1e12 / (rows * CHANNELS) as f64;
                print!("  {} {ps:>5.0}", median_and_quartiles(shares));
            }
            println!();
        }
        let shares = (0..rounds).map(|_| {
            let copy = buffers.copy_seconds(repeats, CHANNELS);
            copy * (3.0 / 4.0) / buffers.narrowing_seconds(repeats)
        });
        println!("{:<26}  {}", "16 to 8 bits, no function", median_and_quartiles(shares.collect()));
    }
}
