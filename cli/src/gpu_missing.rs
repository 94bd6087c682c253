//! What stands for the GPU where the program is built without the feature `cuda`.

use crate::{
    measure::{Call, Effort},
    number::Number,
    results::{GpuInfo, Speed},
};
use anyhow::Result;

const WHY: &str = "built without the feature cuda";

/// There is none.
pub enum Gpu {}

impl Gpu {
    /// Why there is none.
    pub fn open() -> Result<Self, String> {
        Err(WHY.to_owned())
    }

    /// Never called.
    pub fn info(&self) -> &GpuInfo {
        match *self {}
    }

    /// Never called.
    pub fn sizes(&self) -> (usize, usize) {
        match *self {}
    }

    /// Never called.
    pub fn run<T: Number>(&self, _: &Call<T>, _: &mut [T]) -> Result<()> {
        match *self {}
    }

    /// Never called.
    pub fn speed<T: Number>(
        &self,
        _: &Call<T>,
        _: &mut [T],
        _: &[T],
        _: Effort,
        _: &'static str,
    ) -> Result<Speed> {
        match *self {}
    }
}

/// Why there is none.
pub fn describe() -> Vec<String> {
    vec![format!("none: {WHY}")]
}
