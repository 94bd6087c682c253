//! The sums of all groups, in the order of the groups.

use super::job::{Wanted, groups};
use crate::cpu::math::MOST_PARAMETERS;
use core::mem::MaybeUninit;
use core::ptr;

/// Where the gradients that are wanted go.
pub(crate) struct Gradients<'a> {
    pub(crate) weight: Option<&'a mut [MaybeUninit<f32>]>,
    pub(crate) bias: Option<&'a mut [MaybeUninit<f32>]>,
    pub(crate) parameters: Option<&'a mut [MaybeUninit<f32>]>,
}

impl Gradients<'_> {
    /// Which they are.
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted {
            weight: self.weight.is_some(),
            bias: self.bias.is_some(),
            parameters: self.parameters.is_some(),
        }
    }
}

/// Adds up the sums `partial` of the groups of `rows` rows, in f64, each result rounded once.
///
/// # Safety
/// All groups must have been run, with these gradients wanted.
pub(crate) unsafe fn add_up(
    partial: &[MaybeUninit<f32>],
    rows: usize,
    channels: usize,
    to: &mut Gradients<'_>,
) {
    // SAFETY: each group has written all of its sums.
    let partial = unsafe { &*(ptr::from_ref(partial) as *const [f32]) };
    let wanted = to.wanted();
    let (groups, len) = (groups(rows), wanted.len(channels));
    let mut first = 0;
    for columns in [&mut to.weight, &mut to.bias].into_iter().flatten() {
        add_columns(|group| &partial[group * len + first..][..channels], groups, columns);
        first += channels;
    }
    if let Some(parameters) = &mut to.parameters {
        let mut sums = [0.0; 2 * MOST_PARAMETERS];
        for group in 0..groups {
            for (sum, &part) in sums.iter_mut().zip(&partial[group * len + first..]) {
                *sum += f64::from(part);
            }
        }
        for (gradient, [high, low]) in parameters.iter_mut().zip(sums.as_chunks().0) {
            gradient.write((high + low) as f32);
        }
    }
}

/// Channels whose sums are made at once, in a block that stays in the first level of the caches.
const AT_ONCE: usize = 256;

/// Adds up the columns that `of_group` gives.
fn add_columns<'a>(
    of_group: impl Fn(usize) -> &'a [f32],
    groups: usize,
    to: &mut [MaybeUninit<f32>],
) {
    if groups == 1 {
        for (to, &sum) in to.iter_mut().zip(of_group(0)) {
            to.write(sum);
        }
        return;
    }
    for (block, to) in to.chunks_mut(AT_ONCE).enumerate() {
        let mut sums = [0.0; AT_ONCE];
        for group in 0..groups {
            let from = &of_group(group)[block * AT_ONCE..][..to.len()];
            for (sum, &part) in sums.iter_mut().zip(from) {
                *sum += f64::from(part);
            }
        }
        for (to, sum) in to.iter_mut().zip(sums) {
            to.write(sum as f32);
        }
    }
}
