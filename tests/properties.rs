//! Calls of any shape, stride, alignment, types and parameters, in any number of parts, agree
//! with the definition; and no input whatever makes the library panic, or write before it
//! refuses.

mod common;

use common::call::Call;
use common::isas;
use common::tensor::Sample;
use dynorm::{ElementType, Isa, Norm, Rows, RowsMut, bf16};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

/// The same cases in every run.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(71),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A function of the list, with parameters of ordinary size.
fn norms() -> impl Strategy<Value = Norm> {
    let (slope, positive) = (-4.0..4.0_f32, 1e-3..1e3_f32);
    (select(&Norm::DEFAULTS[..]), slope.clone(), slope, positive).prop_map(
        |(norm, alpha, shift, positive)| match norm {
            Norm::RmsNorm { .. } => Norm::RmsNorm { eps: positive },
            Norm::LayerNorm { .. } => Norm::LayerNorm { eps: positive },
            Norm::DyT { .. } => Norm::DyT { alpha },
            Norm::DyIsru { .. } => Norm::DyIsru { beta: positive, scale: alpha },
            Norm::Derf { .. } => Norm::Derf { alpha, shift },
            other => other,
        },
    )
}

fn types() -> impl Strategy<Value = ElementType> {
    select(&ElementType::ALL[..])
}

/// Any call that is valid.
fn calls() -> impl Strategy<Value = Call> {
    let shape = (0..6_usize, prop_oneof![1..80_usize, 1..1200_usize]);
    let affine = (
        prop::option::of(types()),
        prop::option::of(types()),
        prop_oneof![Just(0.0), -2.0..2.0_f32],
    );
    let layout = ((0..40_usize, 0..40_usize), (0..40_usize, 0..40_usize));
    let ways = (any::<bool>(), prop::option::of(any::<bool>()));
    (norms(), select(isas()), (types(), types()), shape, affine, layout, ways).prop_map(
        |(norm, isa, (x_type, y_type), (rows, channels), affine, (gaps, starts), ways)| Call {
            weight_offset: affine.2,
            gaps,
            starts,
            in_place: ways.0,
            stream: ways.1,
            ..Call::new(norm, isa, rows, channels)
                .types(if ways.0 { y_type } else { x_type }, y_type)
                .affine(affine.0, affine.1)
        },
    )
}

/// Any number at all, the ends of its range more often than others.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..9_usize,
        1 => any::<usize>(),
        1 => select(vec![usize::MAX, usize::MAX / 2, usize::MAX / 4, isize::MAX as usize]),
        1 => (0..64_u32).prop_map(|shift| 1 << shift),
    ]
}

/// A function of the list, with any parameters at all.
fn wild_norms() -> impl Strategy<Value = Norm> {
    let any = || any::<u32>().prop_map(f32::from_bits);
    (select(&Norm::DEFAULTS[..]), any(), any()).prop_map(|(norm, a, b)| match norm {
        Norm::RmsNorm { .. } => Norm::RmsNorm { eps: a },
        Norm::LayerNorm { .. } => Norm::LayerNorm { eps: a },
        Norm::DyT { .. } => Norm::DyT { alpha: a },
        Norm::DyIsru { .. } => Norm::DyIsru { beta: a, scale: b },
        Norm::Derf { .. } => Norm::Derf { alpha: a, shift: b },
        other => other,
    })
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn calls_agree_with_the_definition_in_any_number_of_parts(
        call in calls(),
        seed: u64,
        count in 1..20_usize,
    ) {
        let numbers = call.numbers(seed);
        let y = call.run(&numbers);
        call.compare(&numbers, &y);
        let (in_parts, ()) = call.run_with(&numbers, |call| {
            for part in call.parts(count) {
                part.run().unwrap();
            }
        });
        prop_assert_eq!(in_parts.all_bits(), y.all_bits());
    }
}

proptest! {
    #![proptest_config(config(20_000))]

    #[test]
    fn nothing_panics_and_nothing_refused_is_written(
        norm in wild_norms(),
        isa in prop::option::of(select(&Isa::ALL[..])),
        x_shape in (0..80_usize, sizes(), sizes(), sizes()),
        y_shape in prop::option::of((0..80_usize, sizes(), sizes(), sizes())),
        operands in (prop::option::of(0..9_usize), prop::option::of(0..9_usize), any::<u32>()),
        (index, count) in (sizes(), sizes()),
    ) {
        // Half of the outputs have the input's shape, so that some calls are run.
        let y_shape = y_shape.unwrap_or(x_shape);
        let x = vec![bf16::ONE; x_shape.0];
        let mut y = vec![f32::POISON; y_shape.0];
        let _ = Rows::new(&x, x_shape.1, x_shape.2);
        let _ = RowsMut::new(&mut y, y_shape.1, y_shape.2);
        let input = Rows::with_stride(&x, x_shape.1, x_shape.2, x_shape.3);
        let output = RowsMut::with_stride(&mut y, y_shape.1, y_shape.2, y_shape.3);
        let mut refused = true;
        if let (Ok(input), Ok(output)) = (input, output) {
            let (weight, bias) = ([1.0_f32; 9], [bf16::ONE; 9]);
            let mut call = norm.forward(input, output).weight_offset(f32::from_bits(operands.2));
            if let Some(isa) = isa {
                call = call.isa(isa);
            }
            if let Some(len) = operands.0 {
                call = call.weight(&weight[..len]);
            }
            if let Some(len) = operands.1 {
                call = call.bias(&bias[..len]);
            }
            let results = [
                call.run(),
                // SAFETY: no other thread is at work.
                unsafe { call.run_part(index, count) },
                call.parts(count).next().map_or(Ok(()), |part| part.run()),
            ];
            refused = results.iter().all(Result::is_err);
        }
        if refused {
            prop_assert!(y.iter().all(|y| y.to_bits() == f32::POISON.to_bits()));
        }
    }
}
