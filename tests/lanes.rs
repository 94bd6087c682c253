//! Kernels of one's own: the functions are those of the norms to the bit, and the operations are
//! what they are called, on every instruction set.

mod common;

use common::isas;
use common::random::{Random, stratified_f32};
use common::tensor::Sample;
use dynorm::cpu::lanes::{Erf, Isru, Kernel, Lanes, Tanh, run};
use dynorm::{Error, Isa, Norm, Rows, RowsMut, bf16, f16};

/// The function of `norm`, in blocks of `U` vectors as far as they go.
struct Apply<'a, const U: usize> {
    norm: Norm,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<const U: usize> Kernel for Apply<'_, U> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let tanh = |alpha| Tanh::new(lanes, alpha);
        let erf = |alpha, shift| Erf::new(lanes, alpha, shift);
        let isru = |beta| Isru::new(lanes, beta);
        let size = U * L::COUNT;
        for (x, y) in self.x.chunks(size).zip(self.y.chunks_mut(size)) {
            let mut v = [lanes.splat(0.0); U];
            for (v, x) in v.iter_mut().zip(x.chunks(L::COUNT)) {
                *v = lanes.load(x);
            }
            let v = match self.norm {
                Norm::DyT { alpha } => tanh(alpha).apply(v),
                Norm::Derf { alpha, shift } => erf(alpha, shift).apply(v),
                Norm::DyIsru { beta, .. } => isru(beta).apply(v),
                _ => unreachable!("no function of single elements"),
            };
            for (v, y) in v.into_iter().zip(y.chunks_mut(L::COUNT)) {
                lanes.store(v, y);
            }
        }
    }
}

#[test]
fn functions_are_those_of_the_norms_to_the_bit() {
    let x = stratified_f32(20);
    let norms = [
        Norm::DyT { alpha: 0.5 },
        Norm::DyT { alpha: -1e-38 },
        Norm::Derf { alpha: 0.5, shift: 0.0 },
        Norm::Derf { alpha: 1.0, shift: 0.25 },
        Norm::DyIsru { beta: 4.0, scale: 1.0 },
        Norm::DyIsru { beta: 1e-38, scale: 1.0 },
    ];
    for isa in isas() {
        for norm in norms {
            let (mut wanted, mut by_one, mut by_four) = (x.clone(), x.clone(), x.clone());
            let rows = Rows::new(&x, 1, x.len()).unwrap();
            let results = RowsMut::new(&mut wanted, 1, x.len()).unwrap();
            norm.forward(rows, results).isa(isa).run().unwrap();
            run(isa, Apply::<1> { norm, x: &x, y: &mut by_one }).unwrap();
            run(isa, Apply::<4> { norm, x: &x, y: &mut by_four }).unwrap();
            for i in 0..x.len() {
                for given in [by_one[i], by_four[i]] {
                    // Which NaN it is depends on the order in which the compiler multiplies.
                    let same = given.to_bits() == wanted[i].to_bits();
                    let nan = given.is_nan() && wanted[i].is_nan();
                    assert!(same || nan, "{norm:?} {isa:?} {}: {given}, {}", x[i], wanted[i]);
                }
            }
        }
    }
}

/// Loads from one slice and stores to another.
struct Copy<'a, X, Y> {
    from: &'a [X],
    to: &'a mut [Y],
}

impl<X: Sample, Y: Sample> Kernel for Copy<'_, X, Y> {
    type Output = usize;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> usize {
        lanes.store(lanes.load(self.from), self.to);
        L::COUNT
    }
}

/// Copies some elements over some others, and compares each with what it should be.
fn check_copy<X: Sample, Y: Sample>(isa: Isa, from: usize, to: usize) {
    let from: Vec<X> = Random(3).normals(from, 0.0, 1.0).into_iter().map(X::round).collect();
    let mut target = vec![Y::POISON; to];
    let count = run(isa, Copy { from: &from, to: &mut target }).unwrap();
    for (i, given) in target.into_iter().enumerate() {
        let wanted = match from.get(i) {
            _ if i >= count => Y::POISON,
            Some(value) => Y::round(value.value() as f32),
            None => Y::round(0.0),
        };
        assert_eq!(given.bits(), wanted.bits(), "{isa:?} {i} of {} and {to}", from.len());
    }
}

#[test]
fn slices_of_any_length_are_loaded_and_stored() {
    for isa in isas() {
        for from in 0..=20 {
            for to in 0..=20 {
                check_copy::<f32, f32>(isa, from, to);
                check_copy::<f32, f16>(isa, from, to);
                check_copy::<f32, bf16>(isa, from, to);
                check_copy::<f16, f32>(isa, from, to);
                check_copy::<bf16, f32>(isa, from, to);
            }
        }
    }
}

/// Every operation on three vectors, and the sum of the first one's lanes.
struct Operations<'a> {
    operands: [&'a [f32]; 3],
    results: [&'a mut [f32]; 5],
}

impl Kernel for Operations<'_> {
    type Output = (usize, f32);

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> (usize, f32) {
        let [a, b, c] = self.operands.map(|operand| lanes.load(operand));
        let [sum, difference, product, fused, splat] = self.results;
        lanes.store(lanes.add(a, b), sum);
        lanes.store(lanes.sub(a, b), difference);
        lanes.store(lanes.mul(a, b), product);
        lanes.store(lanes.mul_add(a, b, c), fused);
        lanes.store(lanes.splat(7.0), splat);
        (L::COUNT, lanes.reduce_add(a))
    }
}

#[test]
fn operations_are_what_they_are_called() {
    // Small whole numbers, whose sums and products are exact.
    let operands: [Vec<f32>; 3] = [2, 3, 5].map(|k| (0..16).map(|i| (i * k % 11) as f32).collect());
    let [a, b, c] = &operands;
    for isa in isas() {
        let mut results = [(); 5].map(|()| vec![f32::NAN; 16]);
        let (count, total) = {
            let results = results.each_mut().map(Vec::as_mut_slice);
            run(isa, Operations { operands: [a, b, c], results }).unwrap()
        };
        for i in 0..count {
            let given = results.each_ref().map(|results| results[i]);
            let wanted = [a[i] + b[i], a[i] - b[i], a[i] * b[i], a[i] * b[i] + c[i], 7.0];
            assert_eq!(given, wanted, "{isa:?} {i}");
        }
        assert_eq!(total, a[..count].iter().sum(), "{isa:?}");
    }
}

#[test]
fn an_instruction_set_that_is_missing_is_refused() {
    for isa in Isa::ALL {
        let result = run(isa, Copy::<f32, f32> { from: &[], to: &mut [] });
        match result {
            Ok(_) => assert!(isa.is_available()),
            Err(error) => {
                assert!(matches!(error, Error::IsaMissing { .. }) && !isa.is_available());
            }
        }
    }
}
