//! `dynorm quantize`: outputs of 8 bits on real activations: a scale computed for each row beside the
//! static one, in accuracy and in speed.

use crate::{
    load::{self, Activations},
    params,
    table::Table,
};
use anstream::{print, println};
use anyhow::Result;
use dynorm::{
    F8E4M3, Isa, Norm, Quantized, QuantizedRowsMut, QuantizedType, Rows, Scale, bf16, reference,
};
use std::time::Instant;

/// What is quantised.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: load::Source,
    /// Measure for a moment only: shows that everything runs, the speeds mean little
    #[arg(long)]
    quick: bool,
}

/// Where a scale comes from.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    /// The largest result of each row.
    Row,
    /// The largest result of each group of channels of each row.
    Group,
    /// Weight and parameters alone.
    Static,
}

/// Channels of a group.
const GROUP: usize = 32;

impl Source {
    fn name(self) -> String {
        match self {
            Self::Row => "row".to_owned(),
            Self::Group => format!("group of {GROUP}"),
            Self::Static => "static".to_owned(),
        }
    }
}

/// The outcome of one function, type and scale over all layers.
#[derive(Default)]
struct Found {
    signal: f64,
    noise: f64,
    /// The row of the worst ratio of signal to noise.
    worst: f64,
    elements: usize,
    seconds: f64,
    /// Whether every result is the nearest step to the exact one, up to the function's own error.
    nearest: bool,
}

/// Does it all; `true` if every result is right.
pub fn run(args: &Args) -> Result<bool> {
    let activations = args.source.load()?;
    let isa = Isa::current()?;
    println!("activations: {}", activations.source);
    println!("isa: {}, one thread, bf16 in; each layer with its weight\n", isa.name());
    let mut table = Table {
        head: [
            "function",
            "parameters",
            "type",
            "scale",
            "SNR, dB",
            "worst row",
            "ps/element",
            "check",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: Vec::new(),
    };
    let mut right = true;
    for (kind, fit) in [("as RMSNorm", true), ("papers'", false)] {
        for norm in Norm::DEFAULTS {
            // The row functions' own parameters are the same in both.
            if !fit && !norm.is_elementwise() {
                continue;
            }
            for element in QuantizedType::ALL {
                for source in [Source::Row, Source::Group, Source::Static] {
                    if source == Source::Static && !norm.is_elementwise() {
                        continue;
                    }
                    let rounds = if args.quick { 1 } else { 25 };
                    let found = match element {
                        QuantizedType::I8 => {
                            measure::<i8>(&activations, norm, fit, source, rounds, f32::from)?
                        }
                        QuantizedType::F8E4M3 => measure::<F8E4M3>(
                            &activations,
                            norm,
                            fit,
                            source,
                            rounds,
                            F8E4M3::to_f32,
                        )?,
                    };
                    right &= found.nearest;
                    let decibel = |ratio: f64| format!("{:.1}", 10.0 * ratio.log10());
                    table.rows.push(vec![
                        norm.name().to_owned(),
                        kind.to_owned(),
                        element.name().to_owned(),
                        source.name(),
                        decibel(found.signal / found.noise),
                        decibel(found.worst),
                        format!("{:.0}", found.seconds * 1e12 / found.elements as f64),
                        if found.nearest { "ok" } else { "WRONG" }.to_owned(),
                    ]);
                }
            }
        }
    }
    print!("{}", table.to_text());
    for line in LEGEND {
        println!("{line}");
    }
    Ok(right)
}

const LEGEND: [&str; 5] = [
    "\nscale: row, group: computed from the largest result of each row, or of each group of its channels, in the same \
     call; static: from weight and parameters alone, one for all rows.",
    "parameters: fitted so that the function stands in for RMSNorm, as in `compare`; or those that the \
     papers start from.",
    "SNR: sum of the squared exact results (f64) over that of the squared errors, all rows, and the \
     row where it is least.",
    "ps/element: median of the layers' calls, in the caches.",
    "check: every result is the step nearest to the exact one, or all but as near: by the function's own error.",
];

/// Quantises every layer and compares with f64.
fn measure<Q: Quantized + Default>(
    activations: &Activations,
    norm: Norm,
    fit: bool,
    source: Source,
    rounds: usize,
    value: impl Fn(Q) -> f32,
) -> Result<Found> {
    let channels = activations.channels;
    let all = activations.all_values();
    let norm = if fit { params::fitted(norm, &all, channels) } else { norm };
    let mut found = Found { worst: f64::INFINITY, nearest: true, ..Found::default() };
    for layer in &activations.layers {
        let x: Vec<bf16> = layer.values.iter().map(|&x| bf16::from_f32(x)).collect();
        let weight = layer.weight.clone().unwrap_or_else(|| vec![1.0; channels]);
        let rows = x.len() / channels;
        let mut y = vec![Q::default(); x.len()];
        let group_size = if source == Source::Group { GROUP } else { channels };
        let mut scales = vec![0.0_f32; rows * channels.div_ceil(group_size)];
        if source == Source::Static {
            let bound = norm.output_bound(Some(&weight), 0.0, None::<&[f32]>)?;
            scales.fill(Q::TYPE.scale_for(bound));
        }
        let mut times = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            let scale = match source {
                Source::Row => Scale::Computed(&mut scales),
                Source::Group => Scale::ComputedPerGroup { scales: &mut scales, group_size },
                Source::Static => Scale::Given(scales[0]),
            };
            let into = QuantizedRowsMut::new(&mut y, rows, channels)?;
            let call = norm.forward_quantized(Rows::new(&x, rows, channels)?, into, scale);
            call.weight(&weight).run()?;
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        found.seconds += times[times.len() / 2];
        found.elements += x.len();

        let exact_x: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
        let exact_weight: Vec<f64> = weight.iter().map(|&w| w.into()).collect();
        let wanted = reference::forward(norm, &exact_x, Some(&exact_weight), None, 0.0, channels);
        let tiles = wanted.chunks_exact(channels).zip(y.chunks_exact(channels));
        for ((wanted, y), scales) in tiles.zip(scales.chunks(channels.div_ceil(group_size))) {
            let (mut signal, mut noise) = (0.0, 0.0);
            for (channel, (&wanted, &y)) in wanted.iter().zip(y).enumerate() {
                let scale = f64::from(scales[channel / group_size]);
                let given = f64::from(value(y)) * scale;
                signal += wanted * wanted;
                noise += (given - wanted) * (given - wanted);
                let nearest = reference::quantized(wanted / scale, Q::TYPE) * scale;
                // Half way between two steps the results' own errors may decide otherwise: in f32, and with what
                // the element-wise functions make do with.
                let error = if norm.is_elementwise() { 1.5e-4 } else { 1e-5 };
                let slack = error * (wanted.abs() + nearest.abs());
                found.nearest &= (given - wanted).abs() <= (nearest - wanted).abs() + slack;
            }
            found.signal += signal;
            found.noise += noise;
            if noise > 0.0 {
                found.worst = found.worst.min(signal / noise);
            }
        }
    }
    Ok(found)
}
