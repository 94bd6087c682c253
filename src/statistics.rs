//! What RMSNorm and LayerNorm need to know of a row, for hosts that hold it in shards.

use crate::cpu::{self, Isa, Places};
use crate::tensor::as_uninit;
use crate::{Error, Norm, Rows};
use bytemuck::{Pod, Zeroable};
use core::mem::MaybeUninit;

/// What is known of a row, or of a shard of it: how many elements, their mean, and the sum of their
/// squared distances from the mean. For RMSNorm the mean is taken to be 0, and `m2` is the sum of
/// squares.
///
/// Tensor-parallel hosts compute it for their shards by [`Norm::row_statistics`], bring the parts
/// together, and give the whole to [`Forward::statistics`](crate::Forward::statistics). For RMSNorm an
/// all-reduce that sums up all four numbers does that; for LayerNorm gather them and
/// [`merge`](RowStatistics::merge) in the same order everywhere, so that all devices have the same
/// bits. The element-wise functions need none of it.
///
/// Four f32, 16 bytes, in the order of the fields.
///
/// ```
/// use dynorm::{Norm, RowStatistics, Rows, RowsMut};
/// let norm = Norm::LayerNorm { eps: 0.0 };
/// let mut shards = [[1.0_f32, 2.0], [3.0, 6.0]]; // of one row, on two devices
/// let mut whole = RowStatistics::EMPTY;
/// for shard in &shards {
///     let mut part = [RowStatistics::EMPTY];
///     norm.row_statistics(Rows::new(shard, 1, 2)?, &mut part)?;
///     whole = whole.merge(part[0]);
/// }
/// assert_eq!((whole.count, whole.mean, whole.m2), (4.0, 3.0, 14.0));
/// for shard in &mut shards {
///     norm.forward_in_place(RowsMut::new(shard, 1, 2)?).statistics(&[whole]).run()?;
/// }
/// assert!((shards[1][1] - 3.0 / 3.5_f32.sqrt()).abs() < 1e-6);
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct RowStatistics {
    /// Elements.
    pub count: f32,
    /// Their mean, rounded; 0 for RMSNorm.
    pub mean: f32,
    /// What rounding took from the mean, which is `mean + mean_low`; 0 for RMSNorm.
    pub mean_low: f32,
    /// The sum of `(x - mean)^2`.
    pub m2: f32,
}

impl RowStatistics {
    /// Those of no elements.
    pub const EMPTY: Self = Self { count: 0.0, mean: 0.0, mean_low: 0.0, m2: 0.0 };

    fn exact_mean(self) -> f64 {
        f64::from(self.mean) + f64::from(self.mean_low)
    }

    fn new(count: f64, mean: f64, m2: f64) -> Self {
        let rounded = mean as f32;
        let mean_low = if rounded.is_finite() { (mean - f64::from(rounded)) as f32 } else { 0.0 };
        Self { count: count as f32, mean: rounded, mean_low, m2: m2 as f32 }
    }

    /// Those of the elements of both, in f64 and rounded once
    /// ([Chan, Golub & LeVeque 1983](https://doi.org/10.1080/00031305.1983.10483115)). The order of
    /// merging may change the last bit.
    ///
    /// ```
    /// use dynorm::RowStatistics;
    /// let one = RowStatistics { count: 1.0, mean: 1.0, mean_low: 0.0, m2: 0.0 };
    /// let both = one.merge(RowStatistics { mean: 4.0, ..one });
    /// assert_eq!((both.count, both.mean, both.m2), (2.0, 2.5, 4.5));
    /// ```
    pub fn merge(self, other: Self) -> Self {
        if self.count == 0.0 {
            return other;
        }
        let (a, b) = (f64::from(self.count), f64::from(other.count));
        let (count, apart) = (a + b, other.exact_mean() - self.exact_mean());
        let between = apart * apart * (a * b / count);
        let m2 = f64::from(self.m2) + f64::from(other.m2) + between;
        Self::new(count, self.exact_mean() + apart * (b / count), m2)
    }
}

impl Norm {
    /// What the function needs to know of each row of `x`, written to `statistics`, one for each
    /// row, on the calling thread.
    ///
    /// # Errors
    /// [`Error::NoStatistics`] for an element-wise function, [`Error::Length`] unless there is one
    /// element of `statistics` for each row, those of [`Norm::check`] and of [`Isa::current`].
    ///
    /// ```
    /// use dynorm::{Norm, RowStatistics, Rows};
    /// let mut statistics = [RowStatistics::EMPTY; 2];
    /// let x = Rows::new(&[1.0_f32, 2.0, 3.0, 4.0], 2, 2)?;
    /// Norm::RmsNorm { eps: 1e-5 }.row_statistics(x, &mut statistics)?;
    /// assert_eq!(statistics.map(|row| row.m2), [5.0, 25.0]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn row_statistics(
        self,
        x: Rows<'_>,
        statistics: &mut [RowStatistics],
    ) -> Result<(), Error> {
        // SAFETY: only values are written.
        self.write_row_statistics(None, x, unsafe { as_uninit(statistics) })
    }

    /// The same, on `isa` if there is one, into memory that need not hold anything. All of it is written
    /// unless there is an error.
    pub(crate) fn write_row_statistics(
        self,
        isa: Option<Isa>,
        x: Rows<'_>,
        statistics: &mut [MaybeUninit<RowStatistics>],
    ) -> Result<(), Error> {
        self.check()?;
        let (given, wanted) = (statistics.len(), x.layout.rows);
        if given != wanted {
            return Err(Error::Length { what: "statistics", given, wanted });
        }
        if self.is_elementwise() {
            return Err(Error::NoStatistics { name: self.name() });
        }
        let x_places = Places::new(x.data, x.layout);
        let isa = isa.map_or_else(Isa::current, Isa::checked)?;
        // SAFETY: the views vouch for the rows, and there is room for each of them; `isa` is one
        // that the processor has.
        unsafe {
            cpu::row_statistics(self, isa, x_places, x.element, x.layout.channels, statistics)
        };
        for row in statistics {
            // SAFETY: it has been written.
            let found = unsafe { row.assume_init() };
            row.write(RowStatistics::new(found.count.into(), found.exact_mean(), found.m2.into()));
        }
        Ok(())
    }
}
