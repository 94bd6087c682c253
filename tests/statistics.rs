//! Rows in shards: statistics of each, brought together, applied to each.

mod common;

use common::isas;
use common::random::Random;
use common::tensor::Tensor;
use common::tolerance;
use dynorm::{ElementType, Error, Isa, Norm, RowStatistics, Rows, RowsMut, reference};

const ROWS: usize = 5;

fn row_functions() -> impl Iterator<Item = Norm> {
    Norm::DEFAULTS.into_iter().filter(|norm| !norm.is_elementwise())
}

/// `channels` channels of each row of `x` from `first` on, in a view.
fn shard(x: &[f32], channels: usize, first: usize, of: usize) -> Rows<'_> {
    Rows::with_stride(&x[first..], ROWS, of, channels).unwrap()
}

/// The statistics of every row, from `shards` shards merged in order.
fn merged(norm: Norm, x: &[f32], channels: usize, shards: usize) -> Vec<RowStatistics> {
    let of = channels / shards;
    let mut whole = vec![RowStatistics::EMPTY; ROWS];
    for first in (0..channels).step_by(of) {
        let mut part = vec![RowStatistics::EMPTY; ROWS];
        norm.row_statistics(shard(x, channels, first, of), &mut part).unwrap();
        for (whole, part) in whole.iter_mut().zip(part) {
            *whole = whole.merge(part);
        }
    }
    whole
}

/// The shards' results, put together.
fn applied(
    norm: Norm,
    isa: Isa,
    x: &[f32],
    channels: usize,
    shards: usize,
    statistics: Option<&[RowStatistics]>,
    weight: &[f32],
) -> Vec<f32> {
    let of = channels / shards;
    let mut y = vec![f32::NAN; x.len()];
    for first in (0..channels).step_by(of) {
        let into = RowsMut::with_stride(&mut y[first..], ROWS, of, channels).unwrap();
        let weight = &weight[first..first + of];
        let mut call = norm.forward(shard(x, channels, first, of), into).isa(isa).weight(weight);
        if let Some(statistics) = statistics {
            call = call.statistics(statistics);
        }
        call.run().unwrap();
    }
    y
}

/// Rows of an ordinary mean, of none, and of one that is much larger than the deviation.
fn inputs(channels: usize) -> Vec<Vec<f32>> {
    [0.2, 0.0, 300.0].map(|mean| Random(9).normals(ROWS * channels, mean, 1.5)).into()
}

/// Within what a whole row is allowed, and one rounding more of the statistics.
#[test]
fn shards_agree_with_the_definition() {
    for channels in [64, 768, 4096, 8192, 16384] {
        let weight = Random(8).normals(channels, 1.0, 1.0);
        let wide: Vec<f64> = weight.iter().map(|&w| f64::from(w)).collect();
        for x in inputs(channels) {
            let x64: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            for norm in row_functions() {
                let wanted = reference::forward(norm, &x64, Some(&wide), None, 0.0, channels);
                let f = reference::forward(norm, &x64, None, None, 0.0, channels);
                // Of row functions it is the same for all instruction sets.
                let errors = tolerance::of_function(
                    norm,
                    Isa::Portable,
                    ElementType::F32,
                    &x64,
                    &f,
                    channels,
                );
                for shards in [1, 2, 4, 8] {
                    let statistics = merged(norm, &x, channels, shards);
                    for isa in isas() {
                        let y =
                            applied(norm, isa, &x, channels, shards, Some(&statistics), &weight);
                        for i in 0..y.len() {
                            let w = wide[i % channels];
                            let allowed =
                                tolerance::of_affine(f[i], 1.25 * errors[i], Some(w), None);
                            let given = f64::from(y[i]);
                            assert!(
                                tolerance::is_within(given, wanted[i], allowed),
                                "{norm:?} {isa:?} {shards} x {channels}: {given} not {}",
                                wanted[i],
                            );
                        }
                    }
                }
            }
        }
    }
}

/// RMSNorm's statistic is what the plain call computes.
#[test]
fn one_shard_of_rms_norm_has_the_same_bits() {
    for channels in [33, 700, 5000] {
        let x = Random(4).normals(ROWS * channels, 0.0, 1.0);
        let weight = Random(8).normals(channels, 1.0, 1.0);
        let norm = Norm::RmsNorm { eps: 1e-5 };
        let isa = Isa::current().unwrap();
        let statistics = merged(norm, &x, channels, 1);
        let given = applied(norm, isa, &x, channels, 1, Some(&statistics), &weight);
        assert_eq!(given, applied(norm, isa, &x, channels, 1, None, &weight));
    }
}

/// The element-wise functions need nothing: shards have the bits of the whole.
#[test]
fn shards_of_element_wise_functions_have_the_same_bits() {
    for channels in [64, 776, 4096] {
        let x = Random(4).normals(ROWS * channels, 0.0, 2.0);
        let weight = Random(8).normals(channels, 1.0, 1.0);
        for norm in Norm::DEFAULTS.into_iter().filter(|norm| norm.is_elementwise()) {
            for isa in isas() {
                let whole = applied(norm, isa, &x, channels, 1, None, &weight);
                for shards in [2, 4, 8] {
                    let parts = applied(norm, isa, &x, channels, shards, None, &weight);
                    assert!(parts == whole, "{norm:?} {isa:?} {shards}");
                }
            }
        }
    }
}

#[test]
fn every_input_and_output_type() {
    let channels = 200;
    for norm in row_functions() {
        for (x_type, y_type) in common::type_pairs() {
            let x = Tensor::new(x_type, &Random(2).normals(ROWS * channels, 0.5, 1.0));
            let mut statistics = [RowStatistics::EMPTY; ROWS];
            norm.row_statistics(x.rows(channels), &mut statistics).unwrap();
            let mut plain = Tensor::poison(y_type, x.len());
            norm.forward(x.rows(channels), plain.rows_mut(channels)).run().unwrap();
            let mut given = Tensor::poison(y_type, x.len());
            norm.forward(x.rows(channels), given.rows_mut(channels))
                .statistics(&statistics)
                .run()
                .unwrap();
            for i in 0..x.len() {
                let apart = (given.value(i) - plain.value(i)).abs();
                let allowed = tolerance::ulp(y_type, plain.value(i)).max(1e-6);
                assert!(apart <= allowed, "{norm:?} {x_type:?} {y_type:?}");
            }
        }
    }
}

/// Merging in f64 from the parts is the statistic of the whole.
#[test]
fn merging() {
    let x = Random(3).normals(1000, 1000.0, 0.5);
    let norm = Norm::LayerNorm { eps: 0.0 };
    let of = |x: &[f32]| {
        let mut statistics = [RowStatistics::EMPTY];
        norm.row_statistics(Rows::new(x, 1, x.len()).unwrap(), &mut statistics).unwrap();
        statistics[0]
    };
    let exact = |x: &[f32]| {
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64;
        (mean, x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>())
    };
    let whole = [&x[..17], &x[17..500], &x[500..]]
        .into_iter()
        .fold(RowStatistics::EMPTY, |all, part| all.merge(of(part)));
    let (mean, m2) = exact(&x);
    assert_eq!(whole.count, 1000.0);
    assert!((f64::from(whole.mean) + f64::from(whole.mean_low) - mean).abs() < 1e-6);
    assert!((f64::from(whole.m2) / m2 - 1.0).abs() < 1e-6);
    assert_eq!(whole.mean, mean as f32);
    assert_eq!(whole.merge(RowStatistics::EMPTY), whole);
}

/// What an all-reduce that sums up the four numbers gives is right for RMSNorm.
#[test]
fn sums_of_rms_norm() {
    let x = Random(3).normals(ROWS * 64, 0.0, 1.0);
    let norm = Norm::RmsNorm { eps: 0.0 };
    let mut parts = [[RowStatistics::EMPTY; ROWS]; 2];
    for (part, first) in parts.iter_mut().zip([0, 32]) {
        norm.row_statistics(shard(&x, 64, first, 32), part).unwrap();
    }
    let [a, b] = parts;
    let all_reduced: Vec<f32> = bytemuck::cast_slice::<_, f32>(&a)
        .iter()
        .zip(bytemuck::cast_slice::<_, f32>(&b))
        .map(|(a, b)| a + b)
        .collect();
    let merged: Vec<RowStatistics> = a.iter().zip(b).map(|(a, b)| a.merge(b)).collect();
    assert_eq!(bytemuck::cast_slice::<_, RowStatistics>(&all_reduced), merged);
}

#[test]
fn refusals() {
    let mut xy = [0.0_f32; 8];
    let mut statistics = [RowStatistics::EMPTY; 2];
    for norm in Norm::DEFAULTS {
        let result = norm.row_statistics(Rows::new(&xy, 2, 4).unwrap(), &mut statistics[..1]);
        assert_eq!(result, Err(Error::Length { what: "statistics", given: 1, wanted: 2 }));
        let none = Error::NoStatistics { name: norm.name() };
        let result = norm.row_statistics(Rows::new(&xy, 2, 4).unwrap(), &mut statistics);
        let call = norm.forward_in_place(RowsMut::new(&mut xy, 2, 4).unwrap());
        let applied = call.statistics(&statistics).run();
        if norm.is_elementwise() {
            assert_eq!((result, applied), (Err(none.clone()), Err(none)));
        } else {
            assert_eq!((result, applied), (Ok(()), Ok(())));
            let call = norm.forward_in_place(RowsMut::new(&mut xy, 2, 4).unwrap());
            let result = call.statistics(&statistics[..1]).run();
            assert_eq!(result, Err(Error::Length { what: "statistics", given: 1, wanted: 2 }));
        }
    }
}
