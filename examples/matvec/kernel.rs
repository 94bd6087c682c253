//! The products: a matrix times a vector, as it is or with a function applied on load.
//!
//! All of them go through [`block`], which takes [`ROWS`] rows at once, so that what a vector of
//! `x` costs to load, the function included, is shared by as many rows.

use crate::prologue::{Function, Prologue};
use crate::source::{Applied, AsItIs, Kept, Source};
use dynorm::Element;
use dynorm::cpu::lanes::{Kernel, Lanes};
use std::array;

/// Rows in work at once: a matrix must have a multiple of them.
const ROWS: usize = 8;
/// Vectors of `x` in work at once.
const UNROLL: usize = 4;

/// A row-major matrix, its rows `stride` elements apart.
#[derive(Clone, Copy)]
pub struct Matrix<'a, W> {
    pub elements: &'a [W],
    pub stride: usize,
}

/// `y = W x`.
pub struct Plain<'a, W> {
    pub matrix: Matrix<'a, W>,
    pub x: &'a [f32],
    pub y: &'a mut [f32],
}

impl<W: Element> Kernel for Plain<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let x = AsItIs(self.x);
        for (rows, y) in blocks(self.matrix, self.y) {
            *y = block(lanes, rows, self.x.len(), x).0;
        }
    }
}

/// `y = W (weight * f(x))`.
pub struct Fused<'a, F, W> {
    pub function: F,
    pub matrix: Matrix<'a, W>,
    pub weight: &'a [f32],
    pub x: &'a [f32],
    pub y: &'a mut [f32],
}

/// Every block of rows applies the function to what it loads: no block waits for another, and
/// nothing is kept.
pub struct ByEveryBlock<'a, F, W>(pub Fused<'a, F, W>);

impl<F: Function, W: Element> Kernel for ByEveryBlock<'_, F, W> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Fused { function, matrix, weight, x, y } = self.0;
        let prologue = function.prepare(lanes);
        for (rows, y) in blocks(matrix, y) {
            let (sums, after) = block(lanes, rows, x.len(), Applied { prologue, x, weight });
            *y = scaled(sums, after.prologue.factor(lanes, x.len()));
        }
    }
}

/// The first block of rows applies the function to what it loads, and keeps the results for the
/// others.
pub struct ByTheFirst<'a, F, W> {
    pub fused: Fused<'a, F, W>,
    /// As long as `x`.
    pub kept: &'a mut [f32],
}

impl<F: Function, W: Element> Kernel for ByTheFirst<'_, F, W> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Fused { function, matrix, weight, x, y } = self.fused;
        let mut blocks = blocks(matrix, y);
        let Some((rows, y)) = blocks.next() else { return };
        let applied = Applied { prologue: function.prepare(lanes), x, weight };
        let (sums, first) = block(lanes, rows, x.len(), Kept { applied, kept: self.kept });
        let factor = first.applied.prologue.factor(lanes, x.len());
        *y = scaled(sums, factor);
        for (rows, y) in blocks {
            *y = scaled(block(lanes, rows, x.len(), AsItIs(first.kept)).0, factor);
        }
    }
}

/// The matrix and the results, [`ROWS`] rows at a time.
fn blocks<'a, W>(
    matrix: Matrix<'a, W>,
    y: &'a mut [f32],
) -> impl Iterator<Item = (Matrix<'a, W>, &'a mut [f32; ROWS])> {
    let (y, rest) = y.as_chunks_mut::<ROWS>();
    assert!(rest.is_empty(), "the matrix has a multiple of {ROWS} rows");
    let rows = move |elements| Matrix { elements, ..matrix };
    matrix.elements.chunks(ROWS * matrix.stride).map(rows).zip(y)
}

/// The products of [`ROWS`] rows with the `columns` elements that `source` gives, and the source
/// after its pass.
#[inline(always)]
fn block<L: Lanes, W: Element, S: Source<L>>(
    lanes: L,
    rows: Matrix<W>,
    columns: usize,
    mut source: S,
) -> ([f32; ROWS], S) {
    let rows: [&[W]; ROWS] = array::from_fn(|r| &rows.elements[r * rows.stride..][..columns]);
    let mut sums = [lanes.splat(0.0); ROWS];
    let step = UNROLL * L::COUNT;
    let whole = columns - columns % step;
    for i in (0..whole).step_by(step) {
        let x = source.load::<UNROLL>(lanes, i, step);
        for r in 0..ROWS {
            let row = &rows[r][i..i + step];
            for j in 0..UNROLL {
                let w = lanes.load(&row[j * L::COUNT..(j + 1) * L::COUNT]);
                sums[r] = lanes.mul_add(w, x[j], sums[r]);
            }
        }
    }
    for i in (whole..columns).step_by(L::COUNT) {
        let length = (columns - i).min(L::COUNT);
        let [x] = source.load::<1>(lanes, i, length);
        for r in 0..ROWS {
            sums[r] = lanes.mul_add(lanes.load(&rows[r][i..i + length]), x, sums[r]);
        }
    }
    let mut y = [0.0; ROWS];
    for r in 0..ROWS {
        y[r] = lanes.reduce_add(sums[r]);
    }
    (y, source)
}

fn scaled(sums: [f32; ROWS], factor: f32) -> [f32; ROWS] {
    sums.map(|sum| sum * factor)
}
