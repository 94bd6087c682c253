//! Loads the kernels and the driver's twin, built for the host, under the driver's name, and lays
//! out tensors for them. What the crate then takes for a driver is `driver.cpp`.

use crate::cuda_common::buffer::Buffer;
use crate::cuda_common::case::Tensors;
use crate::library;
use dynorm::cuda::{Device, Forward};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// As in `machine.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Settings {
    pub driver_version: i32,
    pub capability: [i32; 2],
    pub max_cluster: i32,
    pub reversed: i32,
    pub error: i32,
    pub failing: *const c_char,
    pub failing_code: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            driver_version: 12_020,
            capability: [9, 0],
            max_cluster: 16,
            reversed: 0,
            error: 0,
            failing: std::ptr::null(),
            failing_code: 0,
        }
    }
}

/// As in `machine.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Range {
    pub begin: u64,
    pub end: u64,
    pub writable: i32,
    pub constant: i32,
    pub foreign: i32,
}

impl Range {
    pub fn new(buffer: &Buffer, writable: bool, constant: bool) -> Self {
        let std::ops::Range { start: begin, end } = buffer.range();
        Self { begin, end, writable: writable.into(), constant: constant.into(), foreign: 0 }
    }
}

/// As in `driver.cpp`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Counts {
    pub launches: u64,
    pub programmatic: u64,
    pub modules: u64,
    pub retained: u64,
    pub grid: u32,
    pub block: u32,
    pub cluster: u32,
    kernel: [c_char; 64],
}

impl Counts {
    /// The name of the kernel launched last.
    pub fn kernel(&self) -> &str {
        // SAFETY: the emulator ends it with a 0.
        unsafe { CStr::from_ptr(self.kernel.as_ptr()) }.to_str().unwrap()
    }
}

/// The machine, for one test at a time.
pub struct Emulator {
    library: Library,
    failing: Option<CString>,
}

/// Waits until no other test uses the machine, and resets it.
pub fn lock() -> MutexGuard<'static, Emulator> {
    static EMULATOR: OnceLock<Mutex<Emulator>> = OnceLock::new();
    let mutex = EMULATOR.get_or_init(|| Mutex::new(Emulator::open()));
    let mut emulator = mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    emulator.configure(Settings::default());
    emulator.make_current(std::ptr::null_mut());
    emulator
}

impl Emulator {
    fn open() -> Self {
        // SAFETY: the library's initialisers fill a table.
        let library =
            unsafe { Library::new(library::build(Path::new(env!("CARGO_MANIFEST_DIR")))) }
                .expect("what was built can be loaded");
        Self { library, failing: None }
    }

    fn symbol<T: Copy>(&self, name: &str) -> T {
        // SAFETY: callers name the type that driver.cpp gives the symbol.
        *unsafe { self.library.get::<T>(name.as_bytes()) }.unwrap()
    }

    pub fn configure(&mut self, settings: Settings) {
        self.failing = None;
        let configure: unsafe extern "C" fn(*const Settings) = self.symbol("host_configure");
        // SAFETY: the struct is the one of machine.h.
        unsafe { configure(&settings) }
    }

    /// Makes a function of the driver fail.
    pub fn fail(&mut self, function: &str, code: i32) {
        let name = CString::new(function).unwrap();
        let failing = name.as_ptr();
        self.configure(Settings { failing, failing_code: code, ..Settings::default() });
        self.failing = Some(name);
    }

    pub fn set_ranges(&self, ranges: &[Range]) {
        let set: unsafe extern "C" fn(*const Range, u64) = self.symbol("host_ranges");
        // SAFETY: the struct is the one of machine.h.
        unsafe { set(ranges.as_ptr(), ranges.len() as u64) }
    }

    /// Tells the machine what memory there is.
    pub fn expose(&self, tensors: &Tensors) {
        let mut ranges = vec![
            Range::new(&tensors.x, tensors.case.in_place, false),
            Range::new(&tensors.y, true, false),
        ];
        let operands = [&tensors.weight, &tensors.bias].into_iter().flatten();
        ranges.extend(operands.map(|operand| Range::new(operand, false, true)));
        self.set_ranges(&ranges);
    }

    /// Runs `call` on `tensors`.
    pub fn run(&self, tensors: &Tensors, device: &Device, call: &Forward) {
        self.expose(tensors);
        // SAFETY: the machine looks at every access, and is done when it returns.
        let launched = unsafe { call.launch(device, std::ptr::null_mut()) };
        assert_eq!(launched, Ok(()), "{:?}: {}", tensors.case, self.fault());
    }

    /// An installed function of every element of `x`, by its name in functions.cpp.
    pub fn apply(&self, name: &str, parameters: [f32; 2], x: &[f32]) -> Vec<f32> {
        let apply: unsafe extern "C" fn(*const f32, *const f32, *mut f32, usize) =
            self.symbol(name);
        let mut y = vec![0.0; x.len()];
        // SAFETY: no function has more parameters; x and y are as long as it says.
        unsafe { apply(parameters.as_ptr(), x.as_ptr(), y.as_mut_ptr(), x.len()) };
        y
    }

    /// What the last launch did that a device would not forgive.
    pub fn fault(&self) -> String {
        let fault: unsafe extern "C" fn() -> *const c_char = self.symbol("host_fault");
        // SAFETY: a C string that lives until the next launch.
        unsafe { CStr::from_ptr(fault()) }.to_str().unwrap().to_owned()
    }

    pub fn counts(&self) -> Counts {
        let counts: unsafe extern "C" fn() -> *const Counts = self.symbol("host_counts");
        // SAFETY: the struct is the one of driver.cpp, and lives on.
        unsafe { *counts() }
    }

    /// Makes `context`, or none, the only current one of this thread.
    pub fn make_current(&self, context: *mut c_void) {
        let make_current: unsafe extern "C" fn(*mut c_void) = self.symbol("host_make_current");
        // SAFETY: the emulator does not look at what a context is.
        unsafe { make_current(context) }
    }

    /// How many contexts are on this thread's stack.
    pub fn contexts(&self) -> u64 {
        let contexts: unsafe extern "C" fn() -> u64 = self.symbol("host_contexts");
        // SAFETY: it reads a number.
        unsafe { contexts() }
    }
}
