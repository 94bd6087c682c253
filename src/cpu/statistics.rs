//! What a row function finds in each row, and nothing written but that. The mean comes in any two
//! parts.

use super::dispatch::enter_for;
use super::function::{Begun, Function};
use super::isa::Isa;
use super::job::{Job, Places};
use super::simd::{Kernel, Simd, element::Storage};
use super::{layer_norm::LayerNorm, rms_norm::RmsNorm};
use crate::{ElementType, Norm, RowStatistics};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use half::{bf16, f16};

/// Reads as many rows of `x` as there are `statistics`, each of which is written. Element-wise functions
/// have none, and nothing is written.
///
/// # Safety
/// The rows must be valid for reads of `channels` elements of type `element`, and the processor must
/// have `isa`.
pub(crate) unsafe fn row_statistics(
    norm: Norm,
    isa: Isa,
    x: Places,
    element: ElementType,
    channels: usize,
    statistics: &mut [MaybeUninit<RowStatistics>],
) {
    // SAFETY: the same contract.
    unsafe {
        match norm {
            Norm::RmsNorm { eps } => read(RmsNorm { eps }, isa, x, element, channels, statistics),
            Norm::LayerNorm { eps } => {
                read(LayerNorm { eps }, isa, x, element, channels, statistics)
            }
            Norm::DyT { .. } | Norm::DyIsru { .. } | Norm::Derf { .. } => {}
        }
    }
}

/// What `norm` finds in the one row of `job`; nothing if it is element-wise.
///
/// # Safety
/// `job` must keep [`Job`]'s promises.
pub(crate) unsafe fn find_row(norm: Norm, job: &Job) -> Option<RowStatistics> {
    if norm.is_elementwise() {
        return None;
    }
    let mut found = [MaybeUninit::uninit()];
    // SAFETY: the same contract; what is no element-wise function writes them.
    unsafe {
        row_statistics(norm, job.isa, job.x, job.x_element, job.channels, &mut found);
        Some(found[0].assume_init())
    }
}

/// # Safety
/// As [`row_statistics`].
unsafe fn read<F: Function<Found = RowStatistics>>(
    function: F,
    isa: Isa,
    x: Places,
    element: ElementType,
    channels: usize,
    statistics: &mut [MaybeUninit<RowStatistics>],
) {
    macro_rules! with {
        ($x:ty) => {
            enter_for::<F, $x, $x, _>(
                isa,
                Read { function, x, channels, statistics, element: PhantomData::<$x> },
            )
        };
    }
    // SAFETY: the same contract.
    unsafe {
        match element {
            ElementType::F32 => with!(f32),
            ElementType::F16 => with!(f16),
            ElementType::Bf16 => with!(bf16),
        }
    }
}

struct Read<'a, F, X> {
    function: F,
    x: Places,
    channels: usize,
    statistics: &'a mut [MaybeUninit<RowStatistics>],
    element: PhantomData<X>,
}

impl<F: Function<Found = RowStatistics>, X: Storage> Kernel for Read<'_, F, X> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let prepared = self.function.prepare(s, self.channels);
        for (row, statistics) in self.statistics.iter_mut().enumerate() {
            let x = self.x.at::<X>(row, 0).cast_const();
            let begun = Begun::new(row, x, self.channels);
            // SAFETY: whoever makes a `Read` vouches for the rows.
            let found = unsafe { F::find(prepared, s, F::begin(s), begun, &mut ()) };
            statistics.write(found);
        }
    }
}
