//! Which instruction set a call uses: the one it names, else the process's choice, else that of
//! the environment variable `DYNORM_ISA`, else the best there is. The choice is made once a
//! process, so that each case runs in a process of its own: this program again, at
//! [`in_a_process_of_its_own`].

mod common;

use common::call::{Call, Numbers};
use common::isas;
use common::random::Random;
use common::tensor::Tensor;
use dynorm::{ElementType, Error, Isa, Norm, Rows, RowsMut, cpu};
use std::env;
use std::process::Command;

const CHANNELS: usize = 1003;

/// What the process of its own does, one word each, joined by commas: `current`, `run`, `short`, `parts`,
/// `copy`, or a name to set as the current instruction set.
const SCRIPT: &str = "DYNORM_TEST_SCRIPT";

fn numbers() -> Vec<f32> {
    Random(67).normals(CHANNELS, 0.0, 1.0)
}

/// The output with the process's instruction set, as text.
fn output(call: impl Fn(&[f32], &mut [f32]) -> Result<(), Error>) -> String {
    let mut y = vec![0.0; CHANNELS];
    match call(&numbers(), &mut y) {
        Ok(()) => format!("{:?}", y.iter().map(|y| y.to_bits()).collect::<Vec<_>>()),
        Err(error) => error.to_string(),
    }
}

/// The order of its sums, and fused operations, tell the instruction sets apart.
const NORM: Norm = Norm::LayerNorm { eps: 1e-5 };

#[test]
#[ignore = "started by the other tests"]
fn in_a_process_of_its_own() {
    let script = env::var(SCRIPT).expect("a script");
    for word in script.split(',') {
        let result = match word {
            "current" => Isa::current().map_or_else(|e| e.to_string(), |isa| isa.name().into()),
            "run" => output(|x, y| {
                NORM.forward(Rows::new(x, 1, CHANNELS)?, RowsMut::new(y, 1, CHANNELS)?).run()
            }),
            // One for which there is a kernel of short calls.
            "short" => output(|x, y| {
                let (x, y) = (Rows::new(x, 1, CHANNELS)?, RowsMut::new(y, 1, CHANNELS)?);
                NORM.forward(x, y).weight(&[1.0_f32; CHANNELS]).run()
            }),
            // The same in place, as a call of two parts, of which the second comes first.
            "parts" => output(|x, y| {
                y.copy_from_slice(x);
                let call = NORM.forward_in_place(RowsMut::new(&mut y[..1002], 3, 334)?);
                let call = call.weight(&[1.0_f32; 334]);
                // SAFETY: one after the other.
                unsafe { call.run_part(1, 2).and(call.run_part(0, 2)) }
            }),
            "copy" => output(|x, y| cpu::copy(x, y, false)),
            name => {
                let isa = Isa::ALL.into_iter().find(|isa| isa.name() == name).expect("a name");
                isa.set_current().map_or_else(|e| e.to_string(), |()| "set".into())
            }
        };
        println!("result: {result}");
    }
}

/// What each word of `script` gave, in a process with `DYNORM_ISA` as given.
fn results(variable: Option<&str>, script: &str) -> Vec<String> {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "in_a_process_of_its_own", "--ignored", "--nocapture"]);
    child.env_remove("DYNORM_ISA").env(SCRIPT, script);
    if let Some(name) = variable {
        child.env("DYNORM_ISA", name);
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // The test harness writes on the first result's line, too.
    text.lines()
        .filter_map(|line| Some(line.split_once("result: ")?.1.to_owned()))
        .filter(|result| !result.starts_with("ok. "))
        .collect()
}

/// The bits that `isa` gives when it is asked for.
fn bits_of(isa: Isa) -> String {
    let x = Tensor::new(ElementType::F32, &numbers());
    let y = Call::new(NORM, isa, 1, CHANNELS).run(&Numbers { x, weight: None, bias: None });
    format!("{:?}", y.all_bits())
}

#[test]
fn the_best_is_used_by_default() {
    let best = isas().pop().unwrap();
    assert_eq!(best, Isa::detected());
    assert_eq!(results(None, "current,run"), [best.name().to_owned(), bits_of(best)]);
    // The first calls of a process, and the next.
    assert_eq!(results(None, "short,short"), [bits_of(best), bits_of(best)]);
    let parts = results(None, "parts,parts");
    assert_eq!(parts[0], parts[1]);
}

#[test]
fn the_environment_variable_is_honoured() {
    for isa in isas() {
        let wanted = [bits_of(isa), isa.name().to_owned(), bits_of(isa)];
        assert_eq!(results(Some(isa.name()), "run,current,short"), wanted);
    }
}

/// Else the other tests would show nothing. The bfloat16 conversion alone changes no bits, and
/// a program that is compiled for AVX2 has it in the portable kernels, too.
#[test]
#[cfg(not(target_feature = "fma"))]
fn the_instruction_sets_can_be_told_apart_by_their_bits() {
    let isas = isas().into_iter().filter(|isa| *isa != Isa::Avx512Bf16);
    let bits: Vec<_> = isas.map(bits_of).collect();
    for (i, later) in bits.iter().enumerate() {
        assert!(!bits[..i].contains(later));
    }
}

#[test]
fn an_unknown_name_is_an_error_of_every_call_that_names_none() {
    for name in ["AVX2", "sse9", "", " portable"] {
        let wanted = Error::IsaName { given: name.into() }.to_string();
        assert!(wanted.contains(name) && wanted.contains("portable, avx2, avx512, avx512bf16"));
        // A choice in the program mends it.
        let given = results(Some(name), "current,run,short,parts,copy,current,portable,run,short");
        let bits = bits_of(Isa::Portable);
        let refused = [&*wanted; 6];
        let expected = [&refused[..], &["set", &bits, &bits]].concat();
        assert_eq!(given, expected);
    }
}

#[test]
fn a_name_that_the_processor_lacks_is_an_error() {
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        let best = Isa::detected().name();
        let wanted = Error::IsaMissing { wanted: isa.name(), best }.to_string();
        let given = results(Some(isa.name()), &format!("current,run,{}", isa.name()));
        assert_eq!(given, [&*wanted, &wanted, &wanted]);
        assert_eq!(results(None, &format!("{},current", isa.name())), [&*wanted, best]);
    }
}

#[test]
fn the_process_may_choose_against_the_environment() {
    for first in isas() {
        for second in isas() {
            let script = format!("{},current,run,short", second.name());
            let bits = bits_of(second);
            let wanted = ["set", second.name(), &bits, &bits];
            assert_eq!(results(Some(first.name()), &script), wanted);
        }
    }
}

#[test]
fn names_and_order_of_the_instruction_sets() {
    assert_eq!(Isa::ALL.map(Isa::name), ["portable", "avx2", "avx512", "avx512bf16"]);
    assert!(Isa::ALL.is_sorted());
    assert!(Isa::Portable.is_available());
    assert!(Isa::available().all(Isa::is_available));
}
