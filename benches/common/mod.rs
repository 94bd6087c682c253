//! What benches share: time, what is made of several, and memory that begins at a cache line.

use std::time::Instant;

/// Seconds of a call of `f`, on average over some after one that warms the caches.
pub fn seconds(repeats: usize, mut f: impl FnMut()) -> f64 {
    f();
    let start = Instant::now();
    for _ in 0..repeats {
        f();
    }
    start.elapsed().as_secs_f64() / repeats as f64
}

pub fn median_and_quartiles(mut shares: Vec<f64>) -> String {
    shares.sort_by(f64::total_cmp);
    let at = |share: f64| shares[(share * (shares.len() - 1) as f64) as usize];
    format!("{:.2} ({:.2} to {:.2})", at(0.5), at(0.25), at(0.75))
}

/// Elements beyond a buffer's content, so that it can begin at a cache line, and so that two buffers of 128 MiB are
/// not that and one page apart: Zen's level-1 cache looks for a line where a hash of its address points, which is
/// the same for addresses of which bits 12 and 27 differ, and a residual takes 1.4 times as long then.
pub const SLACK: usize = 64 * 65;

/// The content of a buffer with [`SLACK`].
pub fn aligned<T>(buffer: &mut [T]) -> &mut [T] {
    let start = buffer.as_ptr().align_offset(64);
    let len = buffer.len() - SLACK;
    &mut buffer[start..start + len]
}
