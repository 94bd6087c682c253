//! What a function is to the pipeline.

use super::simd::{
    Simd,
    element::{Output, Storage},
};

/// A function over rows. One file each: `rms_norm`, `layer_norm`, `dyt`, `dyisru`, `derf`.
pub(crate) trait Function: Copy {
    /// Whether rows are read for it before they are written.
    const READS_ROW: bool;
    /// Whether what is applied to the elements differs from row to row.
    const BY_ROW: bool;
    /// What every row of a call shares: constants, spread over lanes.
    type Prepared<S: Simd>: Copy;
    /// What is gathered while a row is read.
    type Reading<S: Simd>: Reading<S>;
    /// What a row is found to be.
    type Found: Copy;
    /// What is applied to the elements of one row.
    type Row<S: Simd>: Pointwise<S>;

    /// Prepares the constants for rows of `channels` channels.
    fn prepare<S: Simd>(self, s: S, channels: usize) -> Self::Prepared<S>;

    /// What is gathered before anything has been read.
    fn begin<S: Simd>(s: S) -> Self::Reading<S>;

    /// Reads what is left of a row, and says what it is found to be. `beside` sees what is read, as far as
    /// the row is read at all.
    ///
    /// # Safety
    /// The row must be valid for reads, `reading` be of its first channels, and `beside` good for the others.
    unsafe fn find<S: Simd, X: Storage>(
        prepared: Self::Prepared<S>,
        s: S,
        reading: Self::Reading<S>,
        begun: Begun<X>,
        beside: &mut impl Beside<S>,
    ) -> Self::Found;

    /// What is applied to the elements of a row that was found to be this.
    fn row<S: Simd>(prepared: Self::Prepared<S>, s: S, found: Self::Found) -> Self::Row<S>;
}

/// A row of which the first channels have been read.
#[derive(Clone, Copy)]
pub(crate) struct Begun<X> {
    /// Which row it is of those that there are statistics of.
    pub(crate) index: usize,
    pub(crate) x: *const X,
    pub(crate) channels: usize,
    /// Channels that have been read: whole parts of blocks.
    pub(crate) read: usize,
}

impl<X> Begun<X> {
    /// A row of which nothing has been read.
    pub(crate) fn new(index: usize, x: *const X, channels: usize) -> Self {
        Self { index, x, channels, read: 0 }
    }
}

/// What is gathered from a row, block by block from its first channel on.
pub(crate) trait Reading<S: Simd>: Copy {
    /// Parts of a block, each of four vectors.
    fn parts<X: Storage>() -> usize;
    /// Elements of a block.
    #[inline(always)]
    fn block<X: Storage>() -> usize {
        4 * S::LANES * Self::parts::<X>()
    }
    /// Channels of the longest row of which `add` may read all blocks.
    fn longest<X: Storage>() -> usize;
    /// Reads part `part` of a block at `x`, after those before it.
    ///
    /// # Safety
    /// It must be valid for reads.
    unsafe fn add<X: Storage>(&mut self, s: S, x: *const X, part: usize);
}

/// What else is done with the elements of a row that is read.
pub(crate) trait Beside<S: Simd> {
    /// With two vectors at `x`, which are those of the channels from `i` on, and pair `pair` of their block.
    ///
    /// # Safety
    /// They must be valid for reads, and channels of the row that this was made for.
    unsafe fn pair<X: Storage>(&mut self, s: S, x: *const X, i: usize, pair: usize);
    /// With the vector `x`, whose first `n <= LANES` lanes are the channels from `i` on; the others are 0.
    ///
    /// # Safety
    /// They must be channels of the row that this was made for.
    unsafe fn part(&mut self, s: S, x: S::F, i: usize, n: usize);
}

/// Nothing.
impl<S: Simd> Beside<S> for () {
    #[inline(always)]
    unsafe fn pair<X: Storage>(&mut self, _: S, _: *const X, _: usize, _: usize) {}
    #[inline(always)]
    unsafe fn part(&mut self, _: S, _: S::F, _: usize, _: usize) {}
}

/// Nothing is gathered.
impl<S: Simd> Reading<S> for () {
    #[inline(always)]
    fn parts<X: Storage>() -> usize {
        1
    }
    #[inline(always)]
    fn longest<X: Storage>() -> usize {
        usize::MAX
    }
    #[inline(always)]
    unsafe fn add<X: Storage>(&mut self, _: S, _: *const X, _: usize) {}
}

/// A function of each element by itself.
pub(crate) trait Pointwise<S: Simd>: Copy {
    /// The function of `U` vectors; of several at once, so that one's latency hides another's.
    /// The result goes to weight and bias and is then rounded to a `Y`, which may hide an error.
    fn apply<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U];

    /// Whether it is of one row, which has been read for it.
    const OF_ROW: bool = false;

    /// Whether it is a product with one number above 0, and no more.
    const IS_FACTOR: bool = false;

    /// That number; NaN if there is none.
    #[inline(always)]
    fn factor(&self) -> f32 {
        f32::NAN
    }

    /// Whether its value at 0 is 0, or NaN.
    const KEEPS_ZERO: bool = false;

    /// Whether `apply_ordinary` is more than `apply`.
    const ORDINARY: bool = false;

    /// Whether arguments are ordinary until one is found that is not.
    #[inline(always)]
    fn begins_ordinary(&self) -> bool {
        Self::ORDINARY
    }

    /// The same for ordinary arguments. For others it may give 0 or NaN instead, which
    /// [`try_store_x4`](super::simd::element::Output::try_store_x4) finds and leaves to `apply`.
    #[inline(always)]
    fn apply_ordinary<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        self.apply::<U, Y>(s, x)
    }
}
