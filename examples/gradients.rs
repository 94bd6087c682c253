//! A step of gradient descent for DyT's weight, bias and alpha.

use dynorm::{Norm, Rows, RowsMut};

fn main() -> Result<(), dynorm::Error> {
    let (rows, channels) = (2, 4);
    let x = [0.5_f32, -1.0, 2.0, 0.0, 1.0, 1.0, -3.0, 0.5];
    let dy = [0.1_f32, 0.2, -0.1, 0.3, -0.2, 0.1, 0.1, 0.2]; // of the loss by the output
    let (mut alpha, mut weight, mut bias) = (0.5_f32, [1.0_f32; 4], [0.0_f32; 4]);

    let mut dx = [0.0_f32; 8];
    let (mut d_weight, mut d_bias, mut d_alpha) = ([0.0; 4], [0.0; 4], [0.0]);
    let call = Norm::DyT { alpha }
        .backward(
            Rows::new(&x, rows, channels)?,
            Rows::new(&dy, rows, channels)?,
            RowsMut::new(&mut dx, rows, channels)?,
        )
        .weight(&weight)
        .d_weight(&mut d_weight)
        .d_bias(&mut d_bias)
        .d_parameters(&mut d_alpha);
    // Once for a training run: it depends on the shape and on which gradients are wanted.
    let mut workspace = vec![0.0; call.workspace_len()];
    call.workspace(&mut workspace).run()?;

    let step = 0.1;
    alpha -= step * d_alpha[0];
    for channel in 0..channels {
        weight[channel] -= step * d_weight[channel];
        bias[channel] -= step * d_bias[channel];
    }
    println!("dx {dx:?}\nalpha {alpha}\nweight {weight:?}\nbias {bias:?}");
    Ok(())
}
