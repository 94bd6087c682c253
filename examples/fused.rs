//! What engines fuse around a norm: residual, quantised output, heads, gate, shards.

use dynorm::{
    HeadShape, Norm, QuantizedRowsMut, QuantizedType, RowStatistics, Rows, RowsMut, Scale,
};

fn main() -> Result<(), dynorm::Error> {
    let (rows, channels) = (2, 4096);
    let rms_norm = Norm::RmsNorm { eps: 1e-5 };
    let weight = vec![1.0_f32; channels];
    let mut x: Vec<f32> = (0..rows * channels).map(|i| (i as f32).sin()).collect();

    // residual += x, x = norm(residual): fused_add_rms_norm.
    let mut residual = vec![0.5_f32; rows * channels];
    rms_norm
        .forward_in_place(RowsMut::new(&mut x, rows, channels)?)
        .residual(RowsMut::new(&mut residual, rows, channels)?)
        .weight(&weight)
        .run()?;
    println!("residual {}, norm {}", residual[1], x[1]);

    // int8 with a scale for each row, from the row's largest result.
    let (mut q, mut scales) = (vec![0_i8; rows * channels], vec![0.0; rows]);
    let quantized = QuantizedRowsMut::new(&mut q, rows, channels)?;
    rms_norm
        .forward_quantized(Rows::new(&x, rows, channels)?, quantized, Scale::Computed(&mut scales))
        .weight(&weight)
        .run()?;
    println!("int8 {} x {}", q[1], scales[0]);

    // The same with a scale for each 32 channels of a row.
    let group_size = 32;
    let mut of_groups = vec![0.0; rows * channels.div_ceil(group_size)];
    let quantized = QuantizedRowsMut::new(&mut q, rows, channels)?;
    let scale = Scale::ComputedPerGroup { scales: &mut of_groups, group_size };
    rms_norm
        .forward_quantized(Rows::new(&x, rows, channels)?, quantized, scale)
        .weight(&weight)
        .run()?;
    println!("int8 {} x {}", q[1], of_groups[0]);

    // int8 with a scale that follows from the weight alone, once and for all.
    let dyt = Norm::DyT { alpha: 0.5 };
    let bound = dyt.output_bound(Some(&weight), 0.0, None::<&[f32]>)?;
    let scale = Scale::Given(QuantizedType::I8.scale_for(bound));
    let quantized = QuantizedRowsMut::new(&mut q, rows, channels)?;
    dyt.forward_quantized(Rows::new(&x, rows, channels)?, quantized, scale)
        .weight(&weight)
        .run()?;
    println!("int8 {} x {}", q[1], bound / 127.0);

    // q of a packed qkv, 8 heads of 128 and as much again for k and v, in place.
    let mut qkv = vec![2.0_f32; rows * 3 * 1024];
    let heads = HeadShape {
        tokens: rows,
        heads: 8,
        channels: 128,
        token_stride: 3 * 1024,
        head_stride: 128,
    };
    rms_norm.forward_in_place(RowsMut::of_heads(&mut qkv, heads)?).weight(&weight[..128]).run()?;
    println!("q {}, k {}", qkv[0], qkv[1024]);

    // norm(x) * silu(z), Qwen3-Next's gate.
    let z = vec![1.0_f32; rows * channels];
    let mut y = vec![0.0_f32; rows * channels];
    rms_norm
        .forward(Rows::new(&x, rows, channels)?, RowsMut::new(&mut y, rows, channels)?)
        .gate(Rows::new(&z, rows, channels)?)
        .run()?;
    println!("gated {}", y[1]);

    // Two shards of the channels: the statistics of each, brought together, applied to each.
    let half = channels / 2;
    let mut whole = vec![RowStatistics::EMPTY; rows];
    for shard in 0..2 {
        let mut part = vec![RowStatistics::EMPTY; rows];
        let x = Rows::with_stride(&x[shard * half..], rows, half, channels)?;
        rms_norm.row_statistics(x, &mut part)?;
        whole.iter_mut().zip(part).for_each(|(whole, part)| *whole = whole.merge(part));
    }
    for shard in 0..2 {
        let x = Rows::with_stride(&x[shard * half..], rows, half, channels)?;
        let y = RowsMut::with_stride(&mut y[shard * half..], rows, half, channels)?;
        rms_norm.forward(x, y).weight(&weight[..half]).statistics(&whole).run()?;
    }
    println!("sharded {}", y[1]);
    Ok(())
}
