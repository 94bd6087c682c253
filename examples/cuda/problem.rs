//! What is to be multiplied, and what has to come out.

use dynorm::{Norm, bf16, reference};

/// Columns that a block goes through at once.
const STEP: usize = 1024;

pub struct Problem {
    pub rows: usize,
    pub columns: usize,
    pub w: Vec<bf16>,
    pub x: Vec<bf16>,
    pub weight: Vec<bf16>,
}

impl Problem {
    pub fn new(rows: usize, columns: usize) -> Self {
        let mut state = 1_u32;
        let mut values = |n: usize, size: f32| -> Vec<bf16> {
            // Numbers without a period that a sum would show.
            let next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bf16::from_f32(size * (state as i32 as f32 / (1_u32 << 31) as f32))
            };
            std::iter::repeat_with(next).take(n).collect()
        };
        let (x, weight) = (values(columns, 3.0), values(columns, 1.0));
        Self { rows, columns, w: values(rows * columns, 1.0), x, weight }
    }

    /// `W (weight * norm(x))`; without a norm, `W x`.
    pub fn wanted(&self, norm: Option<Norm>) -> Vec<Wanted> {
        let wide = |values: &[bf16]| values.iter().map(|v| v.to_f64()).collect::<Vec<_>>();
        let (x, weight) = (wide(&self.x), wide(&self.weight));
        let input = norm.map_or(x.clone(), |norm| {
            reference::forward(norm, &x, Some(&weight), None, 0.0, self.columns)
        });
        // The additions that a summand goes through, and as much again for RMSNorm's other sum;
        // the function, the weight and the factor at the end are fewer than the rest.
        let roundings = 2 * (self.columns.div_ceil(STEP) * 8 + 20);
        let row = |w: &[bf16]| {
            let products = || w.iter().zip(&input).map(|(w, x)| w.to_f64() * x);
            let size = products().map(f64::abs).sum::<f64>();
            Wanted { value: products().sum(), size, arithmetic: roundings as f64 * 2f64.powi(-24) }
        };
        self.w.chunks_exact(self.columns).map(row).collect()
    }
}

/// What an element of the result is to be.
pub struct Wanted {
    value: f64,
    /// The sum of the products' magnitudes.
    size: f64,
    /// What f32 arithmetic may cost, in parts of it.
    arithmetic: f64,
}

impl Wanted {
    /// Whether it is `given`, but for f32 arithmetic and `more`, in parts of the products.
    pub fn is(&self, given: f32, more: f64) -> bool {
        (f64::from(given) - self.value).abs() <= (self.arithmetic + more) * self.size
    }
}
