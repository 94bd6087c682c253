//! Bad input is refused with an [`Error`] that names what was given and what was wanted, by
//! every way to run, before anything is written.

mod common;

use common::isas;
use common::tensor::Sample;
use dynorm::{Element, Error, Forward, Isa, Norm, Rows, RowsMut, bf16, cpu, f16};

/// Asserts that every way to run a call that `with` completes refuses it with `wanted`, and
/// writes nothing.
fn refuses(norm: Norm, wanted: &Error, with: impl Fn(Forward<'_>) -> Forward<'_>) {
    let x = [0.5_f32; 40];
    let mut y = [f32::POISON; 40];
    let mut call =
        with(norm.forward(Rows::new(&x, 4, 10).unwrap(), RowsMut::new(&mut y, 4, 10).unwrap()));
    all_ways(&mut call, wanted);
    assert!(y.iter().all(|y| y.to_bits() == f32::POISON.to_bits()), "{wanted} after a write");

    let mut xy = x;
    let mut call = with(norm.forward_in_place(RowsMut::new(&mut xy, 4, 10).unwrap()));
    all_ways(&mut call, wanted);
    assert_eq!(xy, x, "{wanted} after a write");
}

fn all_ways(call: &mut Forward<'_>, wanted: &Error) {
    // As text, since an error with a NaN does not equal itself.
    let wanted = format!("Err({wanted:?})");
    let refuses = |result: Result<(), Error>| assert_eq!(format!("{result:?}"), wanted);
    refuses(call.run());
    #[cfg(feature = "rayon")]
    refuses(call.run_parallel());
    for part in call.parts(3) {
        refuses(part.run());
    }
    // SAFETY: no other thread is at work.
    refuses(unsafe { call.run_part(1, 2) });
}

/// Asserts that both views of a slice of `len` elements refuse the shape with `wanted` of their
/// names.
fn refuses_view<T: Element + Default>(
    (len, rows, channels, stride): (usize, usize, usize, usize),
    wanted: impl Fn(&'static str) -> Error,
) {
    let mut data = vec![T::default(); len];
    let x = Rows::with_stride(&data, rows, channels, stride).map(|_| ());
    assert_eq!(x, Err(wanted("input")));
    let y = RowsMut::with_stride(&mut data, rows, channels, stride).map(|_| ());
    assert_eq!(y, Err(wanted("output")));
    if stride == channels {
        assert_eq!(Rows::new(&data, rows, channels).map(|_| ()), Err(wanted("input")));
        assert_eq!(RowsMut::new(&mut data, rows, channels).map(|_| ()), Err(wanted("output")));
    }
}

#[test]
fn rows_of_no_channels() {
    for rows in [0, 1, usize::MAX] {
        for stride in [0, 4] {
            refuses_view::<f32>((0, rows, 0, stride), |what| Error::NoChannels { what });
        }
    }
    let error = Error::NoChannels { what: "input" };
    assert_eq!(error.to_string(), "input has 0 channels; at least 1 is needed");
}

#[test]
fn a_stride_below_the_channels() {
    for (rows, given) in [(3, 9), (0, 9), (1, 0)] {
        refuses_view::<f16>((100, rows, 10, given), |what| Error::Stride {
            what,
            given,
            channels: 10,
        });
    }
    let error = Error::Stride { what: "output", given: 9, channels: 10 };
    assert_eq!(
        error.to_string(),
        "output has a row stride of 9 elements; its rows of 10 channels need at least 10",
    );
}

#[test]
fn a_shape_larger_than_the_address_space() {
    let max = usize::MAX;
    for (rows, stride) in [(max, max), (2, max), (max, 2), (max / 4, 4), (max / 8 + 1, 4)] {
        refuses_view::<f32>((8, rows, 2, stride), |what| Error::TooLarge { what, rows, stride });
    }
    refuses_view::<bf16>((8, max / 4 + 1, 1, 1), |what| Error::TooLarge {
        what,
        rows: max / 4 + 1,
        stride: 1,
    });
    refuses_view::<f32>((8, 1, max, max), |what| Error::TooLarge { what, rows: 1, stride: max });
    let error = Error::TooLarge { what: "input", rows: 3, stride: 5 };
    assert_eq!(
        error.to_string(),
        "input of 3 rows, one every 5 elements, is larger than the address space",
    );
}

#[test]
fn a_slice_of_another_length_than_the_shape() {
    for given in [0, 1, 29, 31, 60] {
        let mut data = vec![0.0_f32; given];
        let wanted = |what| Err(Error::Length { what, given, wanted: 30 });
        assert_eq!(Rows::new(&data, 3, 10).map(|_| ()), wanted("input"));
        assert_eq!(RowsMut::new(&mut data, 3, 10).map(|_| ()), wanted("output"));
    }
    for given in [0, 10, 33] {
        refuses_view::<f32>((given, 3, 10, 12), |what| Error::Length { what, given, wanted: 34 });
    }
    assert!(Rows::with_stride(&[0.0_f32; 34], 3, 10, 12).is_ok());
    assert_eq!(
        Rows::new(&[0.0_f32; 1], 0, 10).unwrap_err().to_string(),
        "input has 1 elements; its shape needs 0",
    );
}

#[test]
fn an_output_of_another_shape_than_the_input() {
    let x = [0.5_f32; 40];
    for (given_rows, given_channels) in [(4, 5), (2, 10), (5, 8), (10, 4), (0, 10), (8, 5)] {
        for norm in Norm::DEFAULTS {
            let mut y = vec![f32::POISON; given_rows * given_channels];
            let view = RowsMut::new(&mut y, given_rows, given_channels).unwrap();
            let mut call = norm.forward(Rows::new(&x, 4, 10).unwrap(), view);
            all_ways(
                &mut call,
                &Error::Shape { what: "output", given_rows, given_channels, rows: 4, channels: 10 },
            );
            assert!(y.iter().all(|y| y.to_bits() == f32::POISON.to_bits()));
        }
    }
    let error =
        Error::Shape { what: "output", given_rows: 1, given_channels: 2, rows: 3, channels: 4 };
    assert_eq!(error.to_string(), "output has 1 rows of 2 channels; the input has 3 of 4");
}

#[test]
fn a_weight_or_bias_that_is_not_one_element_per_channel() {
    const VALUES: [f32; 41] = [1.0; 41];
    const HALVES: [f16; 41] = [f16::ONE; 41];
    for norm in Norm::DEFAULTS {
        for given in [0, 1, 9, 11, 40, 41] {
            let wanted = |what| Error::Length { what, given, wanted: 10 };
            refuses(norm, &wanted("weight"), |call| call.weight(&VALUES[..given]));
            refuses(norm, &wanted("bias"), |call| call.bias(&HALVES[..given]));
            refuses(norm, &wanted("weight"), |call| {
                call.weight(&HALVES[..given]).bias(&VALUES[..10])
            });
        }
    }
}

#[test]
fn parameters_out_of_range() {
    const NOT_FINITE: [f32; 4] = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let refused = |norm: Norm, name: &str, given: f32, wanted: &str| {
        let error = norm.check().unwrap_err();
        assert_eq!(error.to_string(), format!("{name} is {given}; it must be {wanted}"));
        refuses(norm, &error, |call| call);
        // As it is looked at in short calls.
        refuses(norm, &error, |call| call.weight(&[1.0_f32; 10]));
    };
    for eps in NOT_FINITE.into_iter().chain([-1e-45, -1.0, f32::MIN]) {
        refused(Norm::RmsNorm { eps }, "eps", eps, "finite and at least 0");
        refused(Norm::LayerNorm { eps }, "eps", eps, "finite and at least 0");
    }
    for beta in NOT_FINITE.into_iter().chain([0.0, -0.0, -1e-45, -4.0, f32::MIN]) {
        refused(Norm::DyIsru { beta, scale: 1.0 }, "beta", beta, "finite and above 0");
    }
    for bad in NOT_FINITE {
        refused(Norm::DyT { alpha: bad }, "alpha", bad, "finite");
        refused(Norm::DyIsru { beta: 1.0, scale: bad }, "scale", bad, "finite");
        refused(Norm::Derf { alpha: bad, shift: 0.0 }, "alpha", bad, "finite");
        refused(Norm::Derf { alpha: 1.0, shift: bad }, "shift", bad, "finite");
    }
}

#[test]
fn parameters_at_the_ends_of_their_range() {
    let tiny = f32::from_bits(1);
    for norm in [
        Norm::RmsNorm { eps: 0.0 },
        Norm::RmsNorm { eps: -0.0 },
        Norm::LayerNorm { eps: f32::MAX },
        Norm::DyT { alpha: f32::MAX },
        Norm::DyT { alpha: -0.0 },
        Norm::DyIsru { beta: tiny, scale: f32::MIN },
        Norm::DyIsru { beta: f32::MAX, scale: 0.0 },
        Norm::Derf { alpha: f32::MIN, shift: f32::MAX },
    ] {
        assert_eq!(norm.check(), Ok(()), "{norm:?}");
    }
}

#[test]
fn an_offset_that_is_not_finite() {
    for norm in Norm::DEFAULTS {
        for given in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (name, wanted) = ("weight_offset", "finite");
            let error = Error::Parameter { name, given, wanted };
            refuses(norm, &error, |call| call.weight_offset(given));
            refuses(norm, &error, |call| call.weight(&[1.0_f32; 10]).weight_offset(given));
            let bound = norm.output_bound(Some(&[1.0_f32]), given, None::<&[f32]>);
            assert_eq!(format!("{bound:?}"), format!("Err({error:?})"));
        }
    }
}

#[test]
fn parts_that_do_not_exist() {
    for norm in Norm::DEFAULTS {
        let mut xy = [0.5_f32; 8];
        let call = norm.forward_in_place(RowsMut::new(&mut xy, 1, 8).unwrap());
        for (index, count) in [(0, 0), (1, 1), (2, 1), (usize::MAX, 3), (usize::MAX, usize::MAX)] {
            // SAFETY: no other thread is at work.
            let result = unsafe { call.run_part(index, count) };
            assert_eq!(result, Err(Error::Part { index, count }));
        }
        assert_eq!(xy, [0.5; 8]);
    }
    assert_eq!(
        Error::Part { index: 3, count: 2 }.to_string(),
        "part 3 of 2 was asked for; the index must be below the count",
    );
}

#[test]
fn an_instruction_set_that_the_processor_lacks() {
    let best = Isa::detected();
    assert_eq!(isas().last(), Some(&best));
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        let wanted = Error::IsaMissing { wanted: isa.name(), best: best.name() };
        assert_eq!(isa.set_current().as_ref(), Err(&wanted));
        for norm in Norm::DEFAULTS {
            refuses(norm, &wanted, |call| call.isa(isa));
        }
    }
    assert_eq!(
        Error::IsaMissing { wanted: "avx512", best: "avx2" }.to_string(),
        "instruction set avx512 was asked for; this processor's best is avx2",
    );
}

#[test]
fn a_copy_between_different_lengths() {
    let mut target = [f32::POISON; 8];
    let result = cpu::copy(&[1.0; 9], &mut target, false);
    assert_eq!(result, Err(Error::Length { what: "destination", given: 8, wanted: 9 }));
    assert!(target.iter().all(|y| y.to_bits() == f32::POISON.to_bits()));
}
