//! Memory, streams, graphs and events of a real device, as far as tests and benches need them.

#![allow(dead_code, reason = "each program uses its part")]

use cudarc::driver::sys;
use dynorm::cuda::{Device, Forward};
use dynorm::{Error, Norm};
use std::ffi::c_void;
use std::{env, ptr};

/// Panics with the call's text unless it succeeds.
macro_rules! cuda {
    ($call:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: handles and addresses are those that the driver gave, and sizes those asked for.
        let result = unsafe { sys::$call($($argument),*) };
        assert_eq!(result, sys::CUresult::CUDA_SUCCESS, stringify!($call));
    }};
}

/// A device with all kernels, its context current on this thread, and a stream.
pub struct Gpu {
    pub device: Device,
    stream: sys::CUstream,
}

impl Gpu {
    /// The first device. Without one: nothing, and a word about it, or a panic where
    /// `DYNORM_REQUIRE_GPU` is set.
    pub fn open() -> Option<Self> {
        let device = match Device::primary(0, &Norm::DEFAULTS) {
            Ok(device) => device,
            Err(error) => {
                let missing = matches!(error, Error::DriverMissing { .. } | Error::Driver { .. });
                assert!(missing && env::var_os("DYNORM_REQUIRE_GPU").is_none(), "{error}");
                eprintln!("skipped: {error}");
                return None;
            }
        };
        cuda!(cuCtxSetCurrent(device.context().cast()));
        let mut stream = ptr::null_mut();
        cuda!(cuStreamCreate(&mut stream, sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32));
        Some(Self { device, stream })
    }

    pub fn stream(&self) -> *mut c_void {
        self.stream.cast()
    }

    /// Puts `call` on the stream.
    pub fn launch(&self, call: &Forward) {
        // SAFETY: tests keep their memory until they have synchronised.
        unsafe { call.launch(&self.device, self.stream()) }.unwrap();
    }

    pub fn synchronize(&self) {
        cuda!(cuStreamSynchronize(self.stream));
    }

    /// What `work` puts on the stream, as a graph.
    pub fn capture(&self, work: impl FnOnce(&Self)) -> Graph {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;
        cuda!(cuStreamBeginCapture_v2(self.stream, mode));
        work(self);
        let (mut graph, mut executable) = (ptr::null_mut(), ptr::null_mut());
        cuda!(cuStreamEndCapture(self.stream, &mut graph));
        cuda!(cuGraphInstantiateWithFlags(&mut executable, graph, 0));
        Graph { graph, executable }
    }

    pub fn replay(&self, graph: &Graph) {
        cuda!(cuGraphLaunch(graph.executable, self.stream));
    }

    /// Copies `bytes` from `from` to `to` on the device.
    pub fn copy(&self, from: u64, to: u64, bytes: usize) {
        cuda!(cuMemcpyDtoDAsync_v2(to, from, bytes, self.stream));
    }

    /// Microseconds that the stream takes for `work`.
    pub fn time(&self, work: impl FnOnce(&Self)) -> f64 {
        let events = [(); 2].map(|()| {
            let mut event = ptr::null_mut();
            cuda!(cuEventCreate(&mut event, sys::CUevent_flags::CU_EVENT_DEFAULT as u32));
            event
        });
        cuda!(cuEventRecord(events[0], self.stream));
        work(self);
        cuda!(cuEventRecord(events[1], self.stream));
        cuda!(cuEventSynchronize(events[1]));
        let mut milliseconds = 0.0;
        cuda!(cuEventElapsedTime_v2(&mut milliseconds, events[0], events[1]));
        for event in events {
            cuda!(cuEventDestroy_v2(event));
        }
        f64::from(milliseconds) * 1000.0
    }

    /// Bytes of device memory that are free.
    pub fn free_memory(&self) -> usize {
        let (mut free, mut total) = (0, 0);
        cuda!(cuMemGetInfo_v2(&mut free, &mut total));
        free
    }

    /// Bytes of the device's L2 cache.
    pub fn l2_bytes(&self) -> usize {
        let mut bytes = 0;
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE;
        cuda!(cuDeviceGetAttribute(&mut bytes, attribute, 0));
        bytes as usize
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        cuda!(cuStreamDestroy_v2(self.stream));
    }
}

pub struct Graph {
    graph: sys::CUgraph,
    executable: sys::CUgraphExec,
}

impl Drop for Graph {
    fn drop(&mut self) {
        cuda!(cuGraphExecDestroy(self.executable));
        cuda!(cuGraphDestroy(self.graph));
    }
}

/// Device memory; it starts at a multiple of 256 bytes.
pub struct Memory {
    pub address: u64,
    pub bytes: usize,
}

impl Memory {
    pub fn new(bytes: usize) -> Self {
        let mut address = 0;
        cuda!(cuMemAlloc_v2(&mut address, bytes.max(1)));
        Self { address, bytes }
    }

    pub fn from(host: &[u8]) -> Self {
        let memory = Self::new(host.len());
        memory.write(0, host);
        memory
    }

    pub fn fill(&self, byte: u8) {
        cuda!(cuMemsetD8_v2(self.address, byte, self.bytes));
    }

    pub fn write(&self, offset: usize, host: &[u8]) {
        assert!(offset + host.len() <= self.bytes);
        cuda!(cuMemcpyHtoD_v2(self.address + offset as u64, host.as_ptr().cast(), host.len()));
    }

    pub fn read(&self, offset: usize, host: &mut [u8]) {
        assert!(offset + host.len() <= self.bytes);
        cuda!(cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), self.address + offset as u64, host.len()));
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        cuda!(cuMemFree_v2(self.address));
    }
}
