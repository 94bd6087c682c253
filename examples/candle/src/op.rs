//! The operation that candle is given.

use crate::cpu;
use crate::gradients::gradients;
use candle::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
#[cfg(feature = "cuda")]
use {crate::cuda, candle::CudaStorage};

/// A function over `x`, whose further inputs are the weight and the bias, as far as it has them.
/// candle has a trait for each number of inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) norm: dynorm::Norm,
    pub(crate) weight_offset: f32,
    pub(crate) weight: bool,
    pub(crate) bias: bool,
}

/// A tensor in the storage `S`.
pub(crate) type Input<'a, S> = (&'a S, &'a Layout);

impl Op {
    /// The function's name, for candle's errors and ours.
    pub(crate) fn name(&self) -> &'static str {
        self.norm.name()
    }

    /// Of the inputs behind `x`, which is the weight and which the bias.
    pub(crate) fn operands<'a, S>(
        &self,
        rest: &[Input<'a, S>],
    ) -> (Option<Input<'a, S>>, Option<Input<'a, S>>) {
        let mut rest = rest.iter().copied();
        let weight = if self.weight { rest.next() } else { None };
        let bias = if self.bias { rest.next() } else { None };
        (weight, bias)
    }
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        self.name()
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::forward(self, (x, x_layout), &[], None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, x_layout: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::forward(self, (x, x_layout), &[], None)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(gradients(self, x, &[], dy)?.pop())
    }
}

impl CustomOp2 for Op {
    fn name(&self) -> &'static str {
        self.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        cpu::forward(self, (x, x_layout), &[(a, a_layout)], None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        a: &CudaStorage,
        a_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::forward(self, (x, x_layout), &[(a, a_layout)], None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut all = gradients(self, x, &[a], dy)?.into_iter();
        Ok((all.next(), all.next()))
    }
}

impl CustomOp3 for Op {
    fn name(&self) -> &'static str {
        self.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        cpu::forward(self, (x, x_layout), &[(a, a_layout), (b, b_layout)], None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        a: &CudaStorage,
        a_layout: &Layout,
        b: &CudaStorage,
        b_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::forward(self, (x, x_layout), &[(a, a_layout), (b, b_layout)], None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut all = gradients(self, x, &[a, b], dy)?.into_iter();
        Ok((all.next(), all.next(), all.next()))
    }
}
