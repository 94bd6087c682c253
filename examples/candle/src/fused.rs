//! The operation with a residual before it or a gate behind it.

use crate::cpu;
use crate::op::{Input, Op};
use candle::{CpuStorage, CustomOp2, Layout, Result, Shape, Storage, Tensor};
#[cfg(feature = "cuda")]
use {crate::cuda, candle::CudaStorage};

/// What is done beside the function, with the second input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Beside {
    /// It is added to `x`. Behind one another there are two results: the sums, and the function of them.
    Residual,
    /// The result is multiplied by its silu.
    Gate,
}

impl Beside {
    /// The shape of what comes out of an `x` of `shape`.
    pub(crate) fn shape(self, shape: &Shape) -> Shape {
        match self {
            Self::Residual => Shape::from([&[2], shape.dims()].concat()),
            Self::Gate => shape.clone(),
        }
    }
}

/// A function over `x` and what is done beside it. candle has operations of three inputs at most, so weight and bias
/// are kept here. It has no gradients.
#[derive(Clone, Debug)]
pub(crate) struct Fused {
    pub(crate) op: Op,
    pub(crate) weight: Option<Tensor>,
    pub(crate) bias: Option<Tensor>,
    pub(crate) beside: Beside,
}

impl Fused {
    /// Calls `with` with the weight and the bias, as far as there are any, each as `of` finds it in its storage.
    fn with_operands<S, R>(
        &self,
        of: fn(&Storage) -> Option<&S>,
        with: impl FnOnce(&[Input<S>]) -> Result<R>,
    ) -> Result<R> {
        let given: Vec<_> = [&self.weight, &self.bias]
            .into_iter()
            .flatten()
            .map(Tensor::storage_and_layout)
            .collect();
        let mut operands = vec![];
        for (storage, layout) in &given {
            match of(storage) {
                Some(storage) => operands.push((storage, *layout)),
                None => candle::bail!("{}: x and weights are on different devices", self.op.name()),
            }
        }
        with(&operands)
    }
}

fn on_cpu(storage: &Storage) -> Option<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Some(storage),
        _ => None,
    }
}

#[cfg(feature = "cuda")]
fn on_cuda(storage: &Storage) -> Option<&CudaStorage> {
    match storage {
        Storage::Cuda(storage) => Some(storage),
        _ => None,
    }
}

impl CustomOp2 for Fused {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        other: &CpuStorage,
        other_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let beside = Some((self.beside, (other, other_layout)));
        self.with_operands(on_cpu, |rest| cpu::forward(&self.op, (x, x_layout), rest, beside))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        other: &CudaStorage,
        other_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let beside = Some((self.beside, (other, other_layout)));
        self.with_operands(on_cuda, |rest| cuda::forward(&self.op, (x, x_layout), rest, beside))
    }
}
