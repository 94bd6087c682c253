//! The sums of all groups, in the order of the groups.

use super::job::{Wanted, groups};
use crate::cpu::math::MOST_PARAMETERS;

/// Where the gradients that are wanted go.
pub(crate) struct Gradients<'a> {
    pub(crate) weight: Option<&'a mut [f32]>,
    pub(crate) bias: Option<&'a mut [f32]>,
    pub(crate) parameters: Option<&'a mut [f32]>,
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
pub(crate) fn add_up(partial: &[f32], rows: usize, channels: usize, to: &mut Gradients<'_>) {
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
            *gradient = (high + low) as f32;
        }
    }
}

/// Channels whose sums are made at once, in a block that stays in the first level of the caches.
const AT_ONCE: usize = 256;

/// Adds up the columns that `of_group` gives.
fn add_columns<'a>(of_group: impl Fn(usize) -> &'a [f32], groups: usize, to: &mut [f32]) {
    if groups == 1 {
        return to.copy_from_slice(of_group(0));
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
            *to = sum as f32;
        }
    }
}
