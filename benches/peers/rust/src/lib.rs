//! Peers from crates.io behind the functions of `native/peer.h`, with the prefixes `rten_` and
//! `candle_`.

mod candle;
mod problem;
mod rten;

use problem::Problem;
use std::ffi::c_char;
use std::ptr::null_mut;

/// # Safety
/// `problem` must be valid and outlive the call, as must what it points to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rten_open(problem: *const Problem) -> *const Problem {
    // SAFETY: the caller's promise.
    if rten::offers(unsafe { &*problem }) { problem } else { null_mut() }
}

/// # Safety
/// `call` must come from `rten_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rten_run(call: *const Problem) {
    // SAFETY: the caller's promise.
    unsafe { rten::run(&*call) }
}

#[unsafe(no_mangle)]
pub extern "C" fn rten_close(_: *const Problem) {}

#[unsafe(no_mangle)]
pub extern "C" fn rten_version() -> *const c_char {
    c"rten-vecmath 0.27.0".as_ptr()
}

struct CandleCall {
    problem: *const Problem,
    call: candle::Call,
}

/// # Safety
/// As `rten_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn candle_open(problem: *const Problem) -> *mut CandleCall {
    // SAFETY: the caller's promise.
    let p = unsafe { &*problem };
    if !candle::offers(p) {
        return null_mut();
    }
    // SAFETY: the caller's promise.
    match unsafe { candle::open(p) } {
        Ok(call) => Box::into_raw(Box::new(CandleCall { problem, call })),
        Err(_) => null_mut(),
    }
}

/// # Safety
/// `call` must come from `candle_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn candle_run(call: *mut CandleCall) {
    // SAFETY: the caller's promise.
    let call = unsafe { &mut *call };
    // SAFETY: `candle_open`'s caller vouched for the problem.
    call.call.run(unsafe { &*call.problem }).expect("candle runs what it offers");
}

/// # Safety
/// `call` must come from `candle_open` and have been run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn candle_store(call: *mut CandleCall) {
    // SAFETY: the caller's promise, and `candle_open`'s caller's for the problem.
    unsafe { (*call).call.store(&*(*call).problem) }.expect("candle gives its result");
}

/// # Safety
/// `call` must come from `candle_open`; it is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn candle_close(call: *mut CandleCall) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(call) });
}

#[unsafe(no_mangle)]
pub extern "C" fn candle_version() -> *const c_char {
    c"candle-core and candle-nn 0.11.1".as_ptr()
}
