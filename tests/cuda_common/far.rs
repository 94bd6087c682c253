//! Rows far from 0 beside others: LayerNorm measures them again, and threads of one warp several short ones.

use super::case::{Case, Numbers};
use dynorm::{ElementType, Norm};

/// Runs LayerNorm over rows of which every third is far from 0, and over one of either kind alone; the bits of a
/// row must not depend on its neighbours. `run` is given the case and what value there is at each row and channel,
/// checks the result and gives its bits.
pub fn check_neighbours(mut run: impl FnMut(Case, &dyn Fn(usize, usize) -> f64) -> Vec<u32>) {
    let [f32, f16, bf16] = ElementType::ALL;
    for (x, channels) in [(f32, 8), (f32, 60), (f16, 64), (bf16, 200), (bf16, 1024)] {
        let case = Case::new(Norm::LayerNorm { eps: 1e-5 }, x, x, 1, channels);
        let is_far = |row: usize| row % 3 == 1;
        let value = |row: usize, channel: usize| {
            let value = Numbers::new(channel as u64).normal();
            if is_far(row) { value + 64.0 } else { value }
        };
        let alone = [0, 1].map(|row| run(case, &|_, channel| value(row, channel)));
        assert_ne!(alone[0], alone[1], "{case:?}");
        let many = run(Case { rows: 20, ..case }, &value);
        for (row, bits) in many.chunks_exact(channels).enumerate() {
            assert_eq!(bits, alone[usize::from(is_far(row))], "{case:?} {row}");
        }
    }
}
