//! The program as its user runs it.

use serde_json::Value;
use std::{
    fs,
    process::{Command, Output, Stdio},
};

/// Runs `dynorm` with `args`.
fn dynorm(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dynorm")).args(args).output().unwrap()
}

/// What was written to standard output, after success.
fn stdout(output: &Output) -> &str {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    str::from_utf8(&output.stdout).unwrap()
}

/// What was written to standard error, after a refusal.
fn refusal(args: &[&str]) -> String {
    let output = dynorm(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Every function, type and number of threads is checked with and without weight and measured
/// at both sizes, and all is well.
#[test]
fn compare_checks_and_measures_everything() {
    let output = dynorm(&["compare", "--quick", "--json", "--no-gpu"]);
    let results: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(results["ok"], true);
    assert_eq!((&results["quick"], &results["input"]["channels"]), (&true.into(), &576.into()));

    let threads = results["machine"]["threads"].as_u64().unwrap();
    let thread_counts = if threads > 1 { 2 } else { 1 };
    let checks = results["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 5 * 3 * thread_counts * 2);
    for check in checks {
        assert_eq!(check["ok"], true, "{check}");
        assert!(check["worst_ulp"].as_f64().unwrap() > 0.0, "real activations round: {check}");
    }
    let speed = results["speed"].as_array().unwrap();
    assert_eq!(speed.len(), 5 * 3 * thread_counts * 2);
    for speed in speed {
        assert_eq!(speed["same_bits"], true, "{speed}");
        for number in ["ps_per_element", "gb_per_s", "copy_gb_per_s"] {
            assert!(speed[number].as_f64().unwrap() > 0.0, "{number}: {speed}");
        }
        assert!(speed["copy_share"]["median"].as_f64().unwrap() > 0.0);
    }
    // Five layers and all together, for five functions.
    assert_eq!(results["parameters"].as_array().unwrap().len(), 6 * 5);
}

/// All scales that a function has, in both types, all results as near as can be.
#[test]
fn quantize_checks_everything() {
    let output = dynorm(&["quantize", "--quick"]);
    let text = stdout(&output);
    let count = |word: &str| text.lines().filter(|line| line.contains(word)).count();
    // Five functions and once more the three element-wise ones with other parameters, in two types.
    assert_eq!(count(" row  "), 16 + 1, "{text}");
    assert_eq!(count(" group of 32  "), 16, "{text}");
    assert_eq!(count(" static  "), 12, "{text}");
    assert_eq!(text.matches("  ok\n").count(), 44, "{text}");
    assert!(refusal(&["quantize", "--input", "nothing.npy"]).contains("nothing.npy"));
}

/// Every function and a straight line on every layer, and the paper's experiment; all fits are the best near them.
#[test]
fn fit_fits_everything() {
    let results: Value =
        serde_json::from_str(stdout(&dynorm(&["fit", "--json", "--target", "layer-norm"])))
            .unwrap();
    let fits = results["fits"].as_array().unwrap();
    assert_eq!(fits.len(), 5 * (1 + 2 * 3));
    for fit in fits {
        assert_eq!(fit["least"], true, "{fit}");
        let all = fit["snr_db"]["all"].as_f64().unwrap();
        // The first layer has no attention sink: whatever is fitted, most of its norm is hit.
        assert!(fit["tensor"] != "blk.0.attn_norm.input" || all > 15.0, "{fit}");
        let first =
            fit["parameters"][if fit["function"] == "dyisru" { "beta" } else { "alpha" }].as_f64();
        assert_eq!(first.is_some_and(|value| value > 0.0), fit["function"] != "straight line");
        let weights = fit["weight_and_bias"][0].as_array().map_or(0, Vec::len);
        assert_eq!(weights, if fit["form"] == "channels" { 576 } else { 0 });
    }
    assert_eq!(results["paper"].as_array().unwrap().len(), 2 * 3);
    assert!(stdout(&dynorm(&["fit", "--tensor", "output_norm.input"])).contains("straight line"));
    assert!(refusal(&["fit", "--target", "softmax"]).contains("layer-norm"));
}

/// The report needs nothing beside it, and has a plot for every function and layer.
#[test]
fn the_report_is_complete_in_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let report = path.to_str().unwrap();
    let args = [
        "compare",
        "--quick",
        "--types",
        "bf16",
        "--functions",
        "rms_norm,DyISRU",
        "--report",
        report,
    ];
    let output = dynorm(&args);
    assert!(stdout(&output).contains("dyisru"));
    let page = fs::read_to_string(&path).unwrap();
    assert_eq!(page.matches("<svg").count(), 2 + 5);
    for outside in ["src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

/// A file of the user's own.
#[test]
fn compare_reads_npy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.npy");
    let values = (0..4 * 96).map(|i| (i as f32 * 0.37).sin() * 5.0);
    // The format: magic, version, header length, header, elements.
    let header =
        format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 96), }");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(values.flat_map(f32::to_le_bytes));
    fs::write(&path, bytes).unwrap();
    let args =
        ["compare", "--quick", "--json", "--types", "f16", "--functions", "layernorm", "--input"];
    let output = dynorm(&[&args[..], &[path.to_str().unwrap()]].concat());
    let results: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!((&results["input"]["rows"], &results["input"]["channels"]), (&4.into(), &96.into()));
    assert_eq!(results["input"]["layers"][0]["name"], "mine");
}

#[test]
fn refusals_say_what_is_wanted() {
    assert!(refusal(&["compare", "--types", "f64"]).contains("it must be one of f32, f16, bf16"));
    assert!(refusal(&["compare", "--functions", "softmax"]).contains("rms_norm, layer_norm"));
    assert!(refusal(&["compare", "--isa", "mmx"]).contains("this processor has portable"));
    assert!(refusal(&["compare", "--input", "none.npy"]).contains("cannot read none.npy"));
    assert!(
        refusal(&["compare", "--tensor", "x"]).contains("there is no tensor x; there are blk.0")
    );
}

#[test]
fn info_names_the_choice_and_why() {
    assert!(stdout(&dynorm(&["info"])).contains("available        portable"));
    let forced = Command::new(env!("CARGO_BIN_EXE_dynorm"))
        .arg("info")
        .env("DYNORM_ISA", "portable")
        .output()
        .unwrap();
    assert!(stdout(&forced).contains("portable (forced by DYNORM_ISA=portable; detected: "));
}

/// As when its output goes to `head`.
#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_dynorm"));
    let mut child =
        program.arg("info").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
