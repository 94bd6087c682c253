//! RMSNorm and DyT over a candle tensor.

use candle::{DType, Device, Module, Result, Tensor};
use dynorm_candle::{DyT, RmsNorm};

fn main() -> Result<()> {
    let device = Device::Cpu;
    let x = Tensor::randn(0_f32, 1.0, (2, 4096), &device)?.to_dtype(DType::BF16)?;
    let weight = Tensor::ones(4096, DType::F32, &device)?;
    let bias = Tensor::zeros(4096, DType::F32, &device)?;

    let normed = RmsNorm::new(weight.clone(), 1e-5).forward(&x)?;
    println!("RMSNorm {normed}");
    let bounded = DyT::new(0.5, weight, bias).forward(&x)?;
    println!("DyT {bounded}");
    Ok(())
}
