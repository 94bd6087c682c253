//! RMSNorm with a weight, then DyT in place.

use dynorm::{Norm, Rows, RowsMut, bf16};

fn main() -> Result<(), dynorm::Error> {
    let (rows, channels) = (2, 4096);
    let x = vec![bf16::from_f32(0.5); rows * channels];
    let weight = vec![1.0_f32; channels]; // element types mix freely
    let mut y = vec![bf16::ZERO; rows * channels];

    // On the calling thread.
    Norm::RmsNorm { eps: 1e-5 }
        .forward(Rows::new(&x, rows, channels)?, RowsMut::new(&mut y, rows, channels)?)
        .weight(&weight)
        .run()?;
    println!("RMSNorm {}", y[0]);

    // In place, on rayon's threads where that pays.
    Norm::DyT { alpha: 0.5 }
        .forward_in_place(RowsMut::new(&mut y, rows, channels)?)
        .run_parallel()?;
    println!("DyT {}", y[0]);
    Ok(())
}
