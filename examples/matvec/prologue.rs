//! What is done to the input of the product on its way in.

use dynorm::Norm;
use dynorm::cpu::lanes::{Isru, Lanes, Tanh};

/// What is applied to `x` when it is loaded. One value serves one pass over `x`.
pub trait Prologue<L: Lanes>: Copy {
    /// `weight * f(x)`, for vectors of a pass in turn.
    fn apply<const U: usize>(
        &mut self,
        lanes: L,
        x: [L::Vector; U],
        weight: [L::Vector; U],
    ) -> [L::Vector; U];

    /// What the product is multiplied with after a pass over `channels` channels.
    #[inline(always)]
    fn factor(self, _: L, _channels: usize) -> f32 {
        1.0
    }
}

/// One function of a [`Norm`] with its prologue for each instruction set.
pub trait Function: Copy {
    type Prologue<L: Lanes>: Prologue<L>;

    fn prepare<L: Lanes>(self, lanes: L) -> Self::Prologue<L>;
    /// The same function as a call of its own.
    fn norm(self) -> Norm;
}

#[derive(Clone, Copy)]
pub struct DyT {
    pub alpha: f32,
}

impl Function for DyT {
    type Prologue<L: Lanes> = Tanh<L>;

    #[inline(always)]
    fn prepare<L: Lanes>(self, lanes: L) -> Tanh<L> {
        Tanh::new(lanes, self.alpha)
    }

    fn norm(self) -> Norm {
        Norm::DyT { alpha: self.alpha }
    }
}

impl<L: Lanes> Prologue<L> for Tanh<L> {
    #[inline(always)]
    fn apply<const U: usize>(
        &mut self,
        lanes: L,
        x: [L::Vector; U],
        weight: [L::Vector; U],
    ) -> [L::Vector; U] {
        product(lanes, Tanh::apply(self, x), weight)
    }
}

#[derive(Clone, Copy)]
pub struct DyIsru {
    pub beta: f32,
}

impl Function for DyIsru {
    type Prologue<L: Lanes> = Isru<L>;

    #[inline(always)]
    fn prepare<L: Lanes>(self, lanes: L) -> Isru<L> {
        Isru::new(lanes, self.beta)
    }

    fn norm(self) -> Norm {
        Norm::DyIsru { beta: self.beta, scale: 1.0 }
    }
}

impl<L: Lanes> Prologue<L> for Isru<L> {
    #[inline(always)]
    fn apply<const U: usize>(
        &mut self,
        lanes: L,
        x: [L::Vector; U],
        weight: [L::Vector; U],
    ) -> [L::Vector; U] {
        product(lanes, Isru::apply(self, x), weight)
    }
}

#[derive(Clone, Copy)]
pub struct RmsNorm {
    pub eps: f32,
}

impl Function for RmsNorm {
    type Prologue<L: Lanes> = Squares<L>;

    #[inline(always)]
    fn prepare<L: Lanes>(self, lanes: L) -> Squares<L> {
        Squares { sum: lanes.splat(0.0), eps: self.eps }
    }

    fn norm(self) -> Norm {
        Norm::RmsNorm { eps: self.eps }
    }
}

/// RMSNorm on load: `rstd` is the same for the whole row, so it can wait until the product is
/// done, `W (weight * x * rstd) = rstd * W (weight * x)`, and the pass that loads `x` for the
/// product finds the sum of squares on the way.
#[derive(Clone, Copy)]
pub struct Squares<L: Lanes> {
    sum: L::Vector,
    eps: f32,
}

impl<L: Lanes> Prologue<L> for Squares<L> {
    #[inline(always)]
    fn apply<const U: usize>(
        &mut self,
        lanes: L,
        x: [L::Vector; U],
        weight: [L::Vector; U],
    ) -> [L::Vector; U] {
        // Summed among themselves first: one addition a block waits for the block before.
        let mut squares = lanes.mul(x[0], x[0]);
        for j in 1..U {
            squares = lanes.mul_add(x[j], x[j], squares);
        }
        self.sum = lanes.add(self.sum, squares);
        product(lanes, x, weight)
    }

    #[inline(always)]
    fn factor(self, lanes: L, channels: usize) -> f32 {
        1.0 / (lanes.reduce_add(self.sum) / channels as f32 + self.eps).sqrt()
    }
}

#[inline(always)]
fn product<L: Lanes, const U: usize>(
    lanes: L,
    mut x: [L::Vector; U],
    weight: [L::Vector; U],
) -> [L::Vector; U] {
    for j in 0..U {
        x[j] = lanes.mul(x[j], weight[j]);
    }
    x
}
