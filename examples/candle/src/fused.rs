//! The operation with a residual before it or a gate behind it.

use crate::cpu;
use crate::op::{Input, Op};
use candle::{CpuStorage, CustomOp3, Error, Layout, Result, Shape, Storage, Tensor};
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

/// A weight or a bias.
#[derive(Clone, Debug)]
enum Operand {
    Missing,
    /// The operation's third input.
    Input,
    /// Where the third input is the other one, and candle has no operations of four: a copy, which nobody else
    /// writes to, so that nobody waits for its lock.
    Kept(Tensor),
}

/// A function over `x` and what is done beside it. It has no gradients.
#[derive(Clone, Debug)]
struct Fused {
    op: Op,
    beside: Beside,
    weight: Operand,
    bias: Operand,
}

/// The operation on `x` and `other`, which are of one shape.
pub(crate) fn apply(
    op: Op,
    beside: Beside,
    [x, other]: [&Tensor; 2],
    [weight, bias]: [Option<&Tensor>; 2],
) -> Result<Tensor> {
    let fused = |weight, bias| Fused { op, beside, weight, bias };
    let kept = |tensor: &Tensor| {
        if x.device().same_device(tensor.device()) {
            return Ok(Operand::Kept(tensor.copy()?));
        }
        let (lhs, rhs) = (x.device().location(), tensor.device().location());
        Err(Error::DeviceMismatchBinaryOp { lhs, rhs, op: op.name() }.bt())
    };
    match (weight, bias) {
        // There has to be a third input; nobody looks at it.
        (None, None) => x.apply_op3(other, other, fused(Operand::Missing, Operand::Missing)),
        (Some(weight), None) => x.apply_op3(other, weight, fused(Operand::Input, Operand::Missing)),
        (None, Some(bias)) => x.apply_op3(other, bias, fused(Operand::Missing, Operand::Input)),
        // Who asks for a gradient is to hear that there is none.
        (Some(weight), Some(bias)) if bias.track_op() && !weight.track_op() => {
            x.apply_op3(other, bias, fused(kept(weight)?, Operand::Input))
        }
        (Some(weight), Some(bias)) => {
            x.apply_op3(other, weight, fused(Operand::Input, kept(bias)?))
        }
    }
}

fn of_cpu(storage: &Storage) -> Option<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Some(storage),
        _ => None,
    }
}

#[cfg(feature = "cuda")]
fn of_cuda(storage: &Storage) -> Option<&CudaStorage> {
    match storage {
        Storage::Cuda(storage) => Some(storage),
        _ => None,
    }
}

impl Fused {
    /// Calls `with` with the weight and the bias, as far as there are any: the third `input`, or as `of` finds it in its
    /// storage.
    fn with_operands<S, R>(
        &self,
        input: Input<S>,
        of: fn(&Storage) -> Option<&S>,
        with: impl FnOnce(&[Input<S>]) -> Result<R>,
    ) -> Result<R> {
        let kept = match (&self.weight, &self.bias) {
            (Operand::Kept(tensor), _) | (_, Operand::Kept(tensor)) => {
                Some(tensor.storage_and_layout())
            }
            _ => None,
        };
        let kept = match &kept {
            None => None,
            Some((storage, layout)) => match of(storage) {
                Some(storage) => Some((storage, *layout)),
                None => candle::bail!("{}: a weight or bias on another device", self.op.name()),
            },
        };
        let of_operand = |operand: &Operand| match operand {
            Operand::Missing => None,
            Operand::Input => Some(input),
            Operand::Kept(_) => kept,
        };
        let found = [&self.weight, &self.bias].into_iter().filter_map(of_operand);
        with(&found.collect::<Vec<_>>())
    }
}

impl CustomOp3 for Fused {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        other: &CpuStorage,
        other_layout: &Layout,
        operand: &CpuStorage,
        operand_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let beside = Some((self.beside, (other, other_layout)));
        self.with_operands((operand, operand_layout), of_cpu, |operands| {
            cpu::forward(&self.op, (x, x_layout), operands, beside)
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        other: &CudaStorage,
        other_layout: &Layout,
        operand: &CudaStorage,
        operand_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let beside = Some((self.beside, (other, other_layout)));
        self.with_operands((operand, operand_layout), of_cuda, |operands| {
            cuda::forward(&self.op, (x, x_layout), operands, beside)
        })
    }
}
