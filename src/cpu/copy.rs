//! The yardstick: a copy with the loads and stores that the kernels use.

use super::ahead::{Ahead, look_up, page};
use super::dispatch::enter;
use super::isa::Isa;
use super::simd::{Kernel, Simd};
use crate::Error;

/// Copies `source` to `destination` with the vectors of [`Isa::current`]; past the caches if
/// `stream`, and then pages of both are looked up ahead, and it pauses between blocks, without which it
/// is slower; on processors of Intel it fetches ahead instead. Kernels are measured against it: a function of a row reads the row and writes it, too.
///
/// # Errors
/// [`Error::Length`] if the lengths differ; those of [`Isa::current`].
///
/// ```
/// let (source, mut destination) = ([1.5_f32; 100], [0.0; 100]);
/// dynorm::cpu::copy(&source, &mut destination, false)?;
/// assert_eq!(destination, source);
/// # Ok::<(), dynorm::Error>(())
/// ```
pub fn copy(source: &[f32], destination: &mut [f32], stream: bool) -> Result<(), Error> {
    if source.len() != destination.len() {
        return Err(Error::Length {
            what: "destination",
            given: destination.len(),
            wanted: source.len(),
        });
    }
    let isa = Isa::current()?;
    // SAFETY: `Isa::current` gives one that the processor has.
    unsafe { enter(isa, Copy { source, destination, stream }) };
    Ok(())
}

struct Copy<'a> {
    source: &'a [f32],
    destination: &'a mut [f32],
    stream: bool,
}

impl Kernel for Copy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { source, destination, stream } = self;
        let (block, ahead) = (4 * S::LANES, Ahead::for_copy());
        let head = if stream { destination.as_ptr().align_offset(64).min(source.len()) } else { 0 };
        let blocks = (source.len() - head) / block;
        let tail = head + blocks * block;
        destination[..head].copy_from_slice(&source[..head]);
        for i in (head..tail).step_by(block) {
            let (from, to) = (source[i..].as_ptr(), destination[i..].as_mut_ptr());
            if stream && ahead.looks_up && (i - head).is_multiple_of(page::<f32>()) {
                look_up(s, Some(from), Some(to));
            }
            // SAFETY: a block follows `i` in both, and `to` is aligned if streamed.
            unsafe {
                let [a, b] = s.load_f32_x2(from);
                let [c, d] = s.load_f32_x2(from.add(block / 2));
                if stream {
                    s.store_f32_x4::<true>(to, [a, b, c, d]);
                    ahead.fetch(s, from);
                    ahead.pace();
                } else {
                    s.store_f32_x4::<false>(to, [a, b, c, d]);
                }
            }
        }
        destination[tail..].copy_from_slice(&source[tail..]);
        if stream {
            s.fence_streams();
        }
    }
}
