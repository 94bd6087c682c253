//! The identities of the paper: DyISRU is RMSNorm, and LayerNorm of the deviation from the mean,
//! once beta is what the other channels of the row give. And its table of values.

mod common;

use common::isas;
use common::random::Random;
use common::tolerance::ulp;
use dynorm::{ElementType, Isa, Norm, Rows, RowsMut, reference};

const CHANNELS: usize = 100;
const ROWS: usize = 12;
const EPS: f32 = 1e-5;

fn run(norm: Norm, isa: Isa, x: &[f32], channels: usize) -> Vec<f32> {
    let rows = x.len() / channels;
    let mut y = vec![f32::NAN; x.len()];
    norm.forward(
        Rows::new(x, rows, channels).unwrap(),
        RowsMut::new(&mut y, rows, channels).unwrap(),
    )
    .isa(isa)
    .run()
    .unwrap();
    y
}

/// Rows of different sizes, each with an outlier.
fn rows() -> Vec<f32> {
    let mut random = Random(37);
    let mut x = Vec::new();
    for row in 0..ROWS {
        let scale = 0.01 * 3.0_f64.powi(row as i32);
        let mut values = random.normals(CHANNELS, 0.3 * scale, scale);
        values[7 * row] *= 20.0;
        x.extend(values);
    }
    x
}

/// DyISRU's beta that makes it RMSNorm of channel `i`.
fn beta_of_rms_norm(row: &[f32], i: usize) -> f64 {
    let others = row.iter().enumerate().filter(|&(k, _)| k != i);
    let sum: f64 = others.map(|(_, &x)| f64::from(x) * f64::from(x)).sum();
    sum + CHANNELS as f64 * f64::from(EPS)
}

/// DyISRU's beta that makes it LayerNorm of channel `i`, and that channel's deviation.
fn beta_of_layer_norm(row: &[f32], i: usize) -> (f64, f64) {
    let channels = CHANNELS as f64;
    let others = || row.iter().enumerate().filter(|&(k, _)| k != i).map(|(_, &x)| f64::from(x));
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / channels;
    let mean_of_others = others().sum::<f64>() / (channels - 1.0);
    let deviations: f64 = others().map(|x| (x - mean_of_others).powi(2)).sum();
    let beta = (channels - 1.0) / channels * (deviations + channels * f64::from(EPS));
    (beta, f64::from(row[i]) - mean)
}

#[test]
fn dyisru_is_rms_norm() {
    let (x, scale) = (rows(), (CHANNELS as f32).sqrt());
    for isa in isas() {
        let wanted = run(Norm::RmsNorm { eps: EPS }, isa, &x, CHANNELS);
        for (row, wanted) in x.chunks_exact(CHANNELS).zip(wanted.chunks_exact(CHANNELS)) {
            for i in 0..CHANNELS {
                let beta = beta_of_rms_norm(row, i) as f32;
                let given = run(Norm::DyIsru { beta, scale }, isa, &[row[i]], 1)[0];
                let error = f64::from(given) - f64::from(wanted[i]);
                let allowed = 4.0 * ulp(ElementType::F32, wanted[i].into());
                assert!(error.abs() <= allowed, "{given} instead of {} {isa:?}", wanted[i]);
            }
        }
    }
}

#[test]
fn dyisru_of_the_deviation_is_layer_norm() {
    let (x, scale) = (rows(), (CHANNELS as f32 - 1.0).sqrt());
    for isa in isas() {
        let wanted = run(Norm::LayerNorm { eps: EPS }, isa, &x, CHANNELS);
        for (row, wanted) in x.chunks_exact(CHANNELS).zip(wanted.chunks_exact(CHANNELS)) {
            for i in 0..CHANNELS {
                let (beta, deviation) = beta_of_layer_norm(row, i);
                let norm = Norm::DyIsru { beta: beta as f32, scale };
                let given = run(norm, isa, &[deviation as f32], 1)[0];
                let error = f64::from(given) - f64::from(wanted[i]);
                // LayerNorm's own error is relative to the row's root mean square, which is 1.
                let allowed = 4.0 * ulp(ElementType::F32, f64::from(wanted[i].abs().max(1.0)));
                assert!(error.abs() <= allowed, "{given} instead of {} {isa:?}", wanted[i]);
            }
        }
    }
}

#[test]
fn the_identities_hold_exactly_in_the_definition() {
    let x = rows();
    for row in x.chunks_exact(CHANNELS) {
        let wide: Vec<f64> = row.iter().map(|&x| x.into()).collect();
        let of = |norm| reference::forward(norm, &wide, None, None, 0.0, CHANNELS);
        let (rms, layer) = (of(Norm::RmsNorm { eps: EPS }), of(Norm::LayerNorm { eps: EPS }));
        for i in 0..CHANNELS {
            let root = (beta_of_rms_norm(row, i) + wide[i] * wide[i]).sqrt();
            let isru = (CHANNELS as f64).sqrt() * wide[i] / root;
            assert!((isru - rms[i]).abs() <= 1e-14 * rms[i].abs());
            let (beta, u) = beta_of_layer_norm(row, i);
            let isru = (CHANNELS as f64 - 1.0).sqrt() * u / (beta + u * u).sqrt();
            assert!((isru - layer[i]).abs() <= 1e-13 * layer[i].abs().max(1.0));
        }
    }
}

#[test]
fn table_of_values_made_with_40_digits() {
    const TABLE: [(f64, [f64; 3]); 8] = [
        (-50.0, [-1.0, -0.999200958722, -1.0]),
        (-3.0, [-0.905148253645, -0.832050294338, -0.966105146475]),
        (-0.75, [-0.358357398351, -0.351123441588, -0.404116909435]),
        (0.001, [0.000499999958333, 0.0004999999375, 0.000564189536532]),
        (0.5, [0.244918662404, 0.242535625036, 0.276326390168]),
        (2.5, [0.848283639958, 0.780868809443, 0.922900128256]),
        (10.0, [0.999909204263, 0.980580675691, 0.999999999998]),
        (1000.0, [1.0, 0.999998000006, 1.0]),
    ];
    let norms = [
        Norm::DyT { alpha: 0.5 },
        Norm::DyIsru { beta: 4.0, scale: 1.0 },
        Norm::Derf { alpha: 0.5, shift: 0.0 },
    ];
    for (x, wanted) in TABLE {
        for (norm, wanted) in norms.into_iter().zip(wanted) {
            // The table has 12 digits.
            let definition = reference::forward(norm, &[x], None, None, 0.0, 1)[0];
            assert!((definition - wanted).abs() <= 1e-11 * wanted.abs(), "{norm:?} of {x}");
            for isa in isas() {
                let given = f64::from(run(norm, isa, &[x as f32], 1)[0]);
                // And x may be half an ulp from what the table has.
                let allowed = 2.7 * ulp(ElementType::F32, wanted) + 1e-11 * wanted.abs();
                assert!((given - wanted).abs() <= allowed, "{norm:?} of {x}: {given} {isa:?}");
            }
        }
    }
}
