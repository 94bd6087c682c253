//! Heads of tokens in a larger tensor: the bits of the same rows side by side, and nothing between
//! them touched.

mod common;

use common::isas;
use common::random::Random;
use dynorm::{Error, HeadShape, Norm, QuantizedRowsMut, Rows, RowsMut, Scale};

/// A value that no computation gives.
const POISON: u32 = 0x7fc5_a5a5;

/// Shapes with tokens in heads, heads in tokens, gaps or none, one head, and no token.
fn shapes() -> Vec<HeadShape> {
    let shape = |tokens, heads, channels, token_stride, head_stride| HeadShape {
        tokens,
        heads,
        channels,
        token_stride,
        head_stride,
    };
    vec![
        shape(5, 3, 64, 3 * 64 + 128, 64),
        shape(5, 3, 64, 3 * 64, 64),
        shape(4, 2, 5, 40, 9),
        // All tokens of a head together, as in [heads, tokens, channels].
        shape(6, 3, 33, 33, 6 * 33),
        shape(6, 3, 33, 40, 6 * 40 + 1),
        shape(7, 1, 130, 200, 3),
        shape(1, 7, 130, 3, 140),
        shape(0, 4, 16, 64, 16),
        shape(3, 2, 600, 2000, 700),
        shape(40, 9, 16, 200, 16),
    ]
}

fn begin(shape: &HeadShape, token: usize, head: usize) -> usize {
    token * shape.token_stride + head * shape.head_stride
}

fn span(shape: &HeadShape) -> usize {
    if shape.tokens * shape.heads == 0 {
        return 0;
    }
    begin(shape, shape.tokens - 1, shape.heads - 1) + shape.channels
}

/// The rows of `data`, side by side.
fn gathered(shape: &HeadShape, data: &[f32]) -> Vec<f32> {
    let mut rows = Vec::new();
    for token in 0..shape.tokens {
        for head in 0..shape.heads {
            rows.extend_from_slice(&data[begin(shape, token, head)..][..shape.channels]);
        }
    }
    rows
}

/// Poison, with `rows` put where the shape says.
fn scattered(shape: &HeadShape, rows: &[f32]) -> Vec<u32> {
    let mut data = vec![POISON; span(shape) + 7];
    for token in 0..shape.tokens {
        for head in 0..shape.heads {
            let row = (token * shape.heads + head) * shape.channels;
            for c in 0..shape.channels {
                data[begin(shape, token, head) + c] = rows[row + c].to_bits();
            }
        }
    }
    data
}

fn bits(data: &[f32]) -> Vec<u32> {
    data.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn same_bits_as_side_by_side() {
    for shape in shapes() {
        let data = Random(5).normals(span(&shape) + 7, 0.1, 1.5);
        let weight = Random(6).normals(shape.channels, 1.0, 1.0);
        let (rows, channels) = (shape.tokens * shape.heads, shape.channels);
        let dense = gathered(&shape, &data);
        for norm in Norm::DEFAULTS {
            for isa in isas() {
                let mut wanted = vec![0.0; dense.len()];
                let into = RowsMut::new(&mut wanted, rows, channels).unwrap();
                norm.forward(Rows::new(&dense, rows, channels).unwrap(), into)
                    .isa(isa)
                    .weight(&weight)
                    .run()
                    .unwrap();
                let wanted = scattered(&shape, &wanted);

                for parts in [1, 2, 3, 16] {
                    let mut y = vec![f32::from_bits(POISON); span(&shape) + 7];
                    let x = Rows::of_heads(&data, shape).unwrap();
                    let into = RowsMut::of_heads(&mut y, shape).unwrap();
                    let mut call = norm.forward(x, into).isa(isa).weight(&weight);
                    for part in call.parts(parts) {
                        part.run().unwrap();
                    }
                    assert!(bits(&y) == wanted, "{norm:?} {isa:?} {shape:?} {parts}");
                }

                // In place, only the rows change.
                let mut xy = data.clone();
                norm.forward_in_place(RowsMut::of_heads(&mut xy, shape).unwrap())
                    .isa(isa)
                    .weight(&weight)
                    .run()
                    .unwrap();
                for (i, (&given, &wanted)) in bits(&xy).iter().zip(&wanted).enumerate() {
                    let wanted = if wanted == POISON { data[i].to_bits() } else { wanted };
                    assert_eq!(given, wanted, "{norm:?} {isa:?} {shape:?} at {i}");
                }
            }
        }
    }
}

/// Input, output, gate and residual each in a layout of its own.
#[test]
fn layouts_mix() {
    let packed =
        HeadShape { tokens: 5, heads: 3, channels: 70, token_stride: 500, head_stride: 90 };
    let transposed =
        HeadShape { tokens: 5, heads: 3, channels: 70, token_stride: 70, head_stride: 350 };
    let x = Random(1).normals(span(&packed), 0.0, 1.0);
    let z = Random(2).normals(span(&transposed), 0.0, 1.0);
    let residual = Random(3).normals(15 * 70, 0.0, 1.0);
    for norm in Norm::DEFAULTS {
        let mut wanted = vec![0.0; 15 * 70];
        let (x_rows, z_rows) = (gathered(&packed, &x), gathered(&transposed, &z));
        let mut wanted_sum = residual.clone();
        norm.forward(
            Rows::new(&x_rows, 15, 70).unwrap(),
            RowsMut::new(&mut wanted, 15, 70).unwrap(),
        )
        .gate(Rows::new(&z_rows, 15, 70).unwrap())
        .residual(RowsMut::new(&mut wanted_sum, 15, 70).unwrap())
        .run()
        .unwrap();

        for parts in [1, 2, 3, 7] {
            let mut y = vec![f32::from_bits(POISON); span(&transposed) + 7];
            let mut sum = vec![0.0; span(&packed)];
            let mut call = norm
                .forward(
                    Rows::of_heads(&x, packed).unwrap(),
                    RowsMut::of_heads(&mut y, transposed).unwrap(),
                )
                .gate(Rows::of_heads(&z, transposed).unwrap())
                .residual_into(
                    Rows::new(&residual, 15, 70).unwrap(),
                    RowsMut::of_heads(&mut sum, packed).unwrap(),
                );
            for part in call.parts(parts) {
                part.run().unwrap();
            }
            assert!(bits(&y) == scattered(&transposed, &wanted), "{norm:?}");
            assert!(bits(&gathered(&packed, &sum)) == bits(&wanted_sum), "{norm:?}");

            // Sum and output transposed, no gate: the function reads what is not in order.
            let mut y = vec![f32::from_bits(POISON); span(&transposed) + 7];
            let mut sum = vec![0.0; span(&transposed)];
            let mut call = norm
                .forward(
                    Rows::of_heads(&z, transposed).unwrap(),
                    RowsMut::of_heads(&mut y, transposed).unwrap(),
                )
                .residual_into(
                    Rows::of_heads(&x, packed).unwrap(),
                    RowsMut::of_heads(&mut sum, transposed).unwrap(),
                );
            for part in call.parts(parts) {
                part.run().unwrap();
            }
            let added: Vec<f32> = z_rows.iter().zip(&x_rows).map(|(z, x)| z + x).collect();
            let mut wanted = vec![0.0; 15 * 70];
            norm.forward(
                Rows::new(&added, 15, 70).unwrap(),
                RowsMut::new(&mut wanted, 15, 70).unwrap(),
            )
            .run()
            .unwrap();
            assert!(bits(&gathered(&transposed, &sum)) == bits(&added), "{norm:?}");
            assert!(bits(&y) == scattered(&transposed, &wanted), "{norm:?}");
        }
    }
}

/// An output of 8 bits in heads.
#[test]
fn quantised_heads() {
    let shape = HeadShape { tokens: 3, heads: 2, channels: 70, token_stride: 200, head_stride: 90 };
    let x = Random(1).normals(6 * 70, 0.0, 1.0);
    let norm = Norm::RmsNorm { eps: 0.0 };
    let (mut dense, mut scales) = (vec![0_i8; 6 * 70], vec![0.0; 6]);
    let into = QuantizedRowsMut::new(&mut dense, 6, 70).unwrap();
    norm.forward_quantized(Rows::new(&x, 6, 70).unwrap(), into, Scale::Computed(&mut scales))
        .run()
        .unwrap();
    let mut y = vec![99_i8; span(&shape)];
    let into = QuantizedRowsMut::of_heads(&mut y, shape).unwrap();
    norm.forward_quantized(Rows::new(&x, 6, 70).unwrap(), into, Scale::GivenPerRow(&scales))
        .run()
        .unwrap();
    for row in 0..6 {
        let at = begin(&shape, row / 2, row % 2);
        assert_eq!(y[at..at + 70], dense[row * 70..][..70]);
    }
    assert_eq!(y[70..90], [99; 20]);

    // The same with scales of groups.
    let of_groups = |rows: Rows<'_>, y: QuantizedRowsMut<'_>| {
        let mut scales = vec![f32::NAN; 6 * 3];
        let groups = Scale::ComputedPerGroup { scales: &mut scales, group_size: 32 };
        norm.forward_quantized(rows, y, groups).run().unwrap();
        scales
    };
    let rows = Rows::new(&x, 6, 70).unwrap();
    let wanted = of_groups(rows, QuantizedRowsMut::new(&mut dense, 6, 70).unwrap());
    assert!(wanted.iter().all(|scale| scale.is_finite()));
    let into = QuantizedRowsMut::of_heads(&mut y, shape).unwrap();
    assert_eq!(of_groups(rows, into), wanted);
    for row in 0..6 {
        let at = begin(&shape, row / 2, row % 2);
        assert_eq!(y[at..at + 70], dense[row * 70..][..70]);
    }
    assert_eq!(y[70..90], [99; 20]);
}

#[test]
fn rows_that_overlap_are_refused() {
    let shape = HeadShape { tokens: 3, heads: 2, channels: 8, token_stride: 15, head_stride: 8 };
    let data = [0.0_f32; 100];
    let overlapping = [
        shape,
        HeadShape { head_stride: 7, token_stride: 100, ..shape },
        HeadShape { head_stride: 16, token_stride: 7, ..shape },
        HeadShape { head_stride: 23, token_stride: 8, ..shape },
    ];
    for given in overlapping {
        let error = Rows::of_heads(&data, given).unwrap_err();
        assert_eq!(error, Error::HeadStride { what: "input", given });
    }
    let text = "input has 2 heads of 8 channels, one every 8 elements, in tokens that are 15 \
                elements apart; they overlap";
    assert_eq!(Rows::of_heads(&data, shape).unwrap_err().to_string(), text);

    let fits = HeadShape { token_stride: 16, ..shape };
    assert!(Rows::of_heads(&data[..48], fits).is_ok());
    let error = Rows::of_heads(&data[..47], fits).unwrap_err();
    assert_eq!(error, Error::Length { what: "input", given: 47, wanted: 48 });
    let error = Rows::of_heads(&data, HeadShape { channels: 0, ..fits }).unwrap_err();
    assert_eq!(error, Error::NoChannels { what: "input" });
}

#[test]
fn shapes_beyond_memory_are_refused() {
    let shape = HeadShape { tokens: 3, heads: 2, channels: 8, token_stride: 16, head_stride: 8 };
    let large = usize::MAX / 4;
    for given in [
        HeadShape { tokens: large, heads: 8, ..shape },
        HeadShape { token_stride: large, ..shape },
        HeadShape { head_stride: large, token_stride: 8, ..shape },
        HeadShape { channels: large, token_stride: usize::MAX, ..shape },
        HeadShape { tokens: large, token_stride: large, ..shape },
        HeadShape { tokens: 1 << 40, token_stride: 1 << 40, head_stride: 1 << 30, ..shape },
    ] {
        let error = RowsMut::of_heads(&mut [0.0_f32; 8], given).unwrap_err();
        let refused = matches!(error, Error::TooLarge { .. } | Error::HeadStride { .. });
        assert!(refused, "{given:?}: {error}");
    }
}
