//! The kernels of examples/cuda, which are somebody else's with dynorm's installed functions.

use crate::emulator::{self, Settings};
use crate::forms::{Form, Forms};
use crate::gpu::Gpu;
use crate::problem::Problem;
use dynorm::Norm;

const NORMS: [Norm; 4] = [
    Norm::RmsNorm { eps: 0.5 },
    Norm::DyT { alpha: 0.75 },
    Norm::DyIsru { beta: 2.0, scale: 3.0 },
    Norm::Derf { alpha: 0.5, shift: 0.25 },
];

#[test]
fn a_product_with_the_function_on_load() {
    let mut emulator = emulator::lock();
    emulator.set_ranges(&[]);
    let gpu = Gpu::open().unwrap();
    // Whole blocks; rows and columns that are not; and fewer than a block has.
    for (rows, columns) in [(16, 2048), (20, 1048), (3, 8)] {
        let problem = Problem::new(rows, columns);
        let forms = Forms::new(&gpu, &problem, 2).unwrap();
        for (error, reversed) in [(-1, 0), (0, 1), (1, 0)] {
            emulator.configure(Settings { error, reversed, ..Settings::default() });
            forms.check(Form::Alone).unwrap();
            for norm in NORMS {
                forms.check(Form::TwoSteps(norm)).unwrap();
                forms.check(Form::OnLoad(norm)).unwrap();
                assert_eq!(emulator.counts().grid, rows.div_ceil(8) as u32, "{norm:?}");
            }
        }
    }
}
