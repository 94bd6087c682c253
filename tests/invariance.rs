//! The same bits for every split of the work, batch size, row position, alignment and kind of
//! store, in place or not, and on AVX-512 with or without its bfloat16 conversion.

mod common;

use common::call::{Call, Numbers};
use common::random::Random;
use common::tensor::Tensor;
use common::{FEW_LENGTHS, isas, type_pairs};
use dynorm::{ElementType, Forward, Isa, Norm};
use std::thread;

use ElementType::{Bf16, F32};

/// Shapes that every split is tried on: fewer rows than threads, one long row, rows of odd
/// lengths, and enough elements that threads are used at all.
const SHAPES: [(usize, usize); 6] =
    [(1, 1), (5, 259), (1, 600_011), (3, 200_003), (601, 1000), (120_001, 5)];

/// A call that reads and writes everything that a call can.
fn full(norm: Norm, isa: Isa, rows: usize, channels: usize) -> Call {
    Call::new(norm, isa, rows, channels).affine(Some(F32), Some(Bf16))
}

/// How the tensors of a split call lie.
#[derive(Clone, Copy)]
enum Layout {
    /// Without weight and bias, so that the whole may be taken as one row.
    Dense,
    Gaps,
    InPlace,
}

/// Runs every shape and layout in one piece and in each of the ways that `splits` are, and
/// compares.
fn same_as_serial<S>(splits: &[S], run: impl Fn(&S, &mut Forward<'_>)) {
    for (rows, channels) in SHAPES {
        for layout in [Layout::Dense, Layout::Gaps, Layout::InPlace] {
            let of = |norm, isa| {
                let full = full(norm, isa, rows, channels);
                match layout {
                    Layout::Dense => Call::new(norm, isa, rows, channels),
                    Layout::Gaps => Call { gaps: (3, 3), y_type: Bf16, ..full },
                    Layout::InPlace => Call { in_place: true, ..full },
                }
            };
            let numbers = of(Norm::DEFAULTS[0], Isa::Portable).numbers(3);
            for norm in Norm::DEFAULTS {
                for isa in isas() {
                    let call = of(norm, isa);
                    let wanted = call.run(&numbers).all_bits();
                    for split in splits {
                        let (y, ()) = call.run_with(&numbers, |call| run(split, call));
                        assert!(y.all_bits() == wanted, "{call:?}");
                    }
                }
            }
        }
    }
}

#[test]
#[cfg(feature = "rayon")]
fn any_number_of_rayon_threads() {
    let pools = [1, 2, 3, 7]
        .map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    same_as_serial(&pools, |pool, call| pool.install(|| call.run_parallel()).unwrap());
}

#[test]
fn any_number_of_parts() {
    same_as_serial(&[1, 2, 3, 5, 16], |&count, call| {
        let parts = call.parts(count);
        assert_eq!(parts.len(), count);
        for part in parts {
            part.run().unwrap();
        }
    });
}

#[test]
fn parts_on_threads_of_the_host() {
    same_as_serial(&[3], |&count, call| {
        let call = &*call;
        thread::scope(|scope| {
            for index in 0..count {
                // SAFETY: each index is given to one thread, and the output is used after.
                scope.spawn(move || unsafe { call.run_part(index, count) }.unwrap());
            }
        });
    });
}

#[test]
fn more_parts_than_work() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            let call = full(norm, isa, 3, 300);
            let numbers = call.numbers(5);
            let wanted = call.run(&numbers).all_bits();
            let (y, ()) = call.run_with(&numbers, |call| {
                for part in call.parts(1000) {
                    part.run().unwrap();
                }
                // Every part of a count so large that all are empty but the first three.
                // SAFETY: no other thread is at work.
                unsafe { call.run_part(usize::MAX - 1, usize::MAX) }.unwrap();
            });
            assert_eq!(y.all_bits(), wanted, "{call:?}");
        }
    }
}

#[test]
fn any_batch_size_and_row_position() {
    // Rows enough that operands are widened, or made where there are none.
    const ROWS: usize = 9;
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for (x_type, y_type) in type_pairs() {
                for (weight, bias) in
                    [(Some(F32), Some(Bf16)), (Some(Bf16), None), (None, None), (None, Some(F32))]
                {
                    // And where chains of sums end with the row, or just not.
                    for channels in FEW_LENGTHS.into_iter().chain([2047, 2048, 2049]) {
                        let batch = Call::new(norm, isa, ROWS, channels).affine(weight, bias);
                        let batch = batch.types(x_type, y_type);
                        let numbers = batch.numbers(11);
                        let all = batch.run(&numbers).all_bits();
                        for row in [0, 4, ROWS - 1] {
                            let alone = Call { rows: 1, ..batch.clone() };
                            let of_row = row * channels..(row + 1) * channels;
                            let x = numbers.x.part(of_row.clone());
                            let y = alone.run(&Numbers { x, ..numbers.clone() });
                            assert_eq!(y.all_bits(), all[of_row], "row {row} of {batch:?}");
                        }
                    }
                }
            }
        }
    }
}

/// Subnormal results here and there: what bfloat16 conversions do not store is stored otherwise, amid a
/// row, while other rows are read.
#[test]
fn rows_with_subnormal_results() {
    const TINY: f32 = 1e-39;
    // One in some blocks of a row; in blocks running; in the last part.
    for places in [&[0][..], &[70, 300], &[1, 70, 130, 200, 260, 330], &[130, 131, 513]] {
        for norm in Norm::DEFAULTS {
            for isa in isas() {
                for (x_type, y_type) in type_pairs() {
                    let channels = 514;
                    let batch = Call::new(norm, isa, 9, channels).affine(Some(F32), None);
                    let batch = batch.types(x_type, y_type);
                    let mut numbers = batch.numbers(23);
                    let mut weight = vec![1.5; channels];
                    for &place in places {
                        weight[place] = TINY;
                    }
                    numbers.weight = Some(Tensor::new(F32, &weight));
                    let all = batch.run(&numbers).all_bits();
                    for row in 0..9 {
                        let of_row = row * channels..(row + 1) * channels;
                        let x = numbers.x.part(of_row.clone());
                        let alone = Call { rows: 1, ..batch.clone() };
                        let y = alone.run(&Numbers { x, ..numbers.clone() });
                        assert_eq!(y.all_bits(), all[of_row.clone()], "row {row} of {batch:?}");
                        if y_type == Bf16 {
                            let tiny = |i: &usize| all[row * channels + i] & 0x7f80 == 0;
                            assert!(places.iter().all(tiny), "{batch:?}");
                        }
                    }
                    let streamed = Call { stream: Some(true), starts: (0, 5), ..batch.clone() };
                    assert_eq!(streamed.run(&numbers).all_bits(), all, "{streamed:?}");
                    if x_type == y_type {
                        let in_place = Call { in_place: true, ..batch.clone() };
                        assert_eq!(in_place.run(&numbers).all_bits(), all, "{in_place:?}");
                    }
                    if isa == Isa::Avx512Bf16 {
                        let other = Call { isa: Isa::Avx512, ..batch.clone() };
                        assert_eq!(other.run(&numbers).all_bits(), all, "{batch:?}");
                    }
                }
            }
        }
    }
}

/// Asserts that the calls that `others` makes of a call give the bits that it gives.
fn same_bits(
    norm: Norm,
    channels: impl IntoIterator<Item = usize>,
    others: impl Fn(&Call) -> Vec<Call>,
) {
    for channels in channels {
        for isa in isas() {
            for (x_type, y_type) in type_pairs() {
                let call = full(norm, isa, 3, channels).types(x_type, y_type);
                let numbers = call.numbers(13);
                let wanted = call.run(&numbers).all_bits();
                for other in others(&call) {
                    assert_eq!(other.run(&numbers).all_bits(), wanted, "{other:?}");
                }
            }
        }
    }
}

#[test]
fn any_alignment_of_input_and_output() {
    for norm in Norm::DEFAULTS {
        same_bits(norm, [5, 17, 67, 131, 300], |call| {
            let starts = (0..33).flat_map(|start| [(start, 0), (0, start), (start, 32 - start)]);
            let made = starts.flat_map(|starts| {
                [false, true].map(|stream| Call { starts, stream: Some(stream), ..call.clone() })
            });
            made.collect()
        });
    }
}

/// Streamed rows without gaps share blocks, unless they are too short; more rows than are read ahead.
#[test]
fn streamed_rows_that_begin_anywhere() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for (x_type, y_type) in type_pairs() {
                for channels in [63, 64, 65, 96, 127, 128, 200, 577] {
                    for (weight, bias) in
                        [(Some(F32), None), (Some(F32), Some(F32)), (None, Some(Bf16))]
                    {
                        let call = Call::new(norm, isa, 7, channels).affine(weight, bias);
                        let call = call.types(x_type, y_type);
                        let numbers = call.numbers(29);
                        let wanted = call.run(&numbers).all_bits();
                        for starts in [(0, 0), (0, 1), (3, 8), (1, 15), (5, 31)] {
                            let other = Call { starts, stream: Some(true), ..call.clone() };
                            assert_eq!(other.run(&numbers).all_bits(), wanted, "{other:?}");
                        }
                    }
                }
            }
        }
    }
}

/// Where the square of an element all but overflows, or does, it has the bits in a block that it has alone.
#[test]
fn dyisru_of_huge_elements() {
    let channels = 4097;
    // 2^63 and 2^64 are 9.2e18 and 1.84e19.
    let below: Vec<f32> = (0..channels).map(|i| 9e18 + i as f32 * 2.2e15).collect();
    let around: Vec<f32> = (0..channels).map(|i| 1e19 * (1 + i % 70) as f32).collect();
    for x in [below, around] {
        for isa in isas() {
            for y_type in [F32, ElementType::F16, Bf16] {
                let call = Call::new(Norm::DyIsru { beta: 4.0, scale: 1.0 }, isa, 1, channels);
                let call = call.affine(Some(F32), None).types(F32, y_type);
                let numbers = Numbers { x: Tensor::new(F32, &x), ..call.numbers(37) };
                let wanted = call.run(&numbers).all_bits();
                for first in (0..channels).step_by(31) {
                    // Shorter than any block.
                    let of_part = first..(first + 31).min(channels);
                    let part = Call { channels: of_part.len(), ..call.clone() };
                    let y = part.run(&Numbers {
                        x: numbers.x.part(of_part.clone()),
                        weight: numbers.weight.as_ref().map(|w| w.part(of_part.clone())),
                        bias: None,
                    });
                    assert_eq!(y.all_bits(), wanted[of_part], "channels from {first} of {call:?}");
                }
            }
        }
    }
}

/// Zeros, and elements whose results are subnormal, infinite or NaN, amid others: in blocks of their own and
/// next to each other, from some place of a row on. The bits are those that each part has alone.
#[test]
fn elements_that_are_not_ordinary() {
    let special =
        [0.0, -0.0, 1e-39, -1e-40, 3e38, -3e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let channels = 514;
    for norm in Norm::DEFAULTS.into_iter().filter(|norm| norm.is_elementwise()) {
        for isa in isas() {
            for (x_type, y_type) in type_pairs() {
                for every in [1, 7, 64, 100] {
                    for bias in [None, Some(F32)] {
                        let call = Call::new(norm, isa, 1, channels).affine(Some(F32), bias);
                        let call = call.types(x_type, y_type);
                        let mut numbers = call.numbers(41);
                        let mut x = Random(43).normals(channels, 0.0, 1.0);
                        let mut biases = Random(45).normals(channels, 0.0, 1.0);
                        for (i, place) in (101..channels).step_by(every).enumerate() {
                            x[place] = special[i % special.len()];
                            biases[place] = if i % 2 == 0 { 1e-39 } else { 0.0 };
                        }
                        numbers.x = Tensor::new(x_type, &x);
                        numbers.bias = bias.map(|element| Tensor::new(element, &biases));
                        let wanted = call.run(&numbers).all_bits();
                        // Shorter than any block.
                        for first in (0..channels).step_by(13) {
                            let of_part = first..(first + 13).min(channels);
                            let part = Call { channels: of_part.len(), ..call.clone() };
                            let of = |t: &Tensor| t.part(of_part.clone());
                            let y = part.run(&Numbers {
                                x: of(&numbers.x),
                                weight: numbers.weight.as_ref().map(of),
                                bias: numbers.bias.as_ref().map(of),
                            });
                            let part_bits = y.all_bits();
                            assert_eq!(part_bits, wanted[of_part], "from {first} of {call:?}");
                        }
                    }
                }
            }
        }
    }
}

/// The same for row functions: zeros, and elements so small that results are subnormal.
#[test]
fn rows_with_zeros_and_tiny_elements() {
    if !Isa::Avx512Bf16.is_available() {
        return;
    }
    let channels = 514;
    for norm in Norm::DEFAULTS {
        for (size, others) in [(1.0, 0.0), (1.0, 1e-39), (1e-40, 0.0), (1e-38, 0.0)] {
            for every in [1, 2, 7, 64, 100] {
                for (x_type, y_type) in type_pairs() {
                    let call = full(norm, Isa::Avx512, 9, channels).types(x_type, y_type);
                    for call in [call.clone().affine(Some(F32), None), call] {
                        let mut numbers = call.numbers(47);
                        let mut x = Random(49).normals(9 * channels, 0.0, size);
                        x.iter_mut().skip(101).step_by(every).for_each(|x| *x = others);
                        numbers.x = Tensor::new(x_type, &x);
                        let other = Call { isa: Isa::Avx512Bf16, ..call.clone() };
                        let bits = call.run(&numbers).all_bits();
                        assert_eq!(bits, other.run(&numbers).all_bits(), "{call:?}");
                    }
                }
            }
        }
    }
}

/// Rows enough that operands which lie across cache lines are copied; alone, streamed and not.
#[test]
fn many_rows_with_operands_that_begin_anywhere() {
    const ROWS: usize = 66;
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for element in ElementType::ALL {
                for channels in [130, 577, 1025] {
                    let call = Call::new(norm, isa, ROWS, channels).types(element, element);
                    let call = call.affine(Some(F32), Some(F32));
                    let numbers = call.numbers(31);
                    let wanted = call.run(&numbers).all_bits();
                    for stream in [false, true] {
                        let other = Call { stream: Some(stream), ..call.clone() };
                        assert_eq!(other.run(&numbers).all_bits(), wanted, "{other:?}");
                    }
                    let alone = Call { rows: 1, ..call.clone() };
                    let of_row = channels..2 * channels;
                    let x = numbers.x.part(of_row.clone());
                    let y = alone.run(&Numbers { x, ..numbers.clone() });
                    assert_eq!(y.all_bits(), wanted[of_row], "a row of {call:?}");
                }
            }
        }
    }
}

#[test]
fn streamed_or_not_and_dense_or_not() {
    for norm in Norm::DEFAULTS {
        same_bits(norm, FEW_LENGTHS, |call| {
            let gaps = [(0, 0), (1, 0), (0, 1), (5, 3)];
            let made = gaps.into_iter().flat_map(|gaps| {
                [None, Some(false), Some(true)].map(|stream| Call { gaps, stream, ..call.clone() })
            });
            made.collect()
        });
    }
}

#[test]
fn in_place_or_not() {
    for norm in Norm::DEFAULTS {
        same_bits(norm, FEW_LENGTHS, |call| {
            let in_place = Call { in_place: true, ..call.clone() };
            if call.x_type == call.y_type { vec![in_place] } else { vec![] }
        });
    }
}

#[test]
fn avx512_with_and_without_its_bfloat16_conversion() {
    if !Isa::Avx512Bf16.is_available() {
        return;
    }
    // A NaN of an element comes to its row through a sum, whose instructions may choose another.
    let bits = |call: &Call, numbers: &Numbers| -> Vec<u64> {
        let values = call.run(numbers).values().into_iter();
        values.map(|y| if y.is_nan() { f64::NAN } else { y }.to_bits()).collect()
    };
    let same = |call: &Call, numbers: &Numbers| {
        let other = Call { isa: Isa::Avx512Bf16, ..call.clone() };
        assert_eq!(bits(call, numbers), bits(&other, numbers), "{call:?}");
    };
    for norm in Norm::DEFAULTS {
        for (x_type, y_type) in type_pairs() {
            for channels in [31, 64, 1000] {
                let call = full(norm, Isa::Avx512, 40, channels).types(x_type, y_type);
                let numbers = call.numbers(17);
                same(&call, &numbers);
                // Bit patterns of every kind: subnormals, infinities, NaN. Without weight and
                // bias they come out as such.
                let call = call.affine(None, None);
                let mut random = Random(19);
                let patterns = (0..40 * channels).map(|_| f32::from_bits(random.bits() as u32));
                let x = Tensor::new(x_type, &patterns.collect::<Vec<_>>());
                same(&call, &Numbers { x, weight: None, bias: None });
            }
        }
    }
}
