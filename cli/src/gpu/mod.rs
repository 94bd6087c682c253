//! The GPU: what there is, and the library's calls on it, checked and timed like those of the
//! processor.

mod measure;

use crate::{measure::Call, number::Number, results::GpuInfo};
use anyhow::{Context, Result};
use dynorm::{
    ElementType, Norm,
    cuda::{Device, DeviceRows, Forward},
};
use dynorm_gpu_lab::{Lab, Memory};
use std::{fs, time::Instant};

/// Device memory starts at multiples of so many bytes; so do tensors in one piece of it.
const ALIGNMENT: usize = 256;

/// The first device with the kernels loaded, and a stream.
pub struct Gpu {
    lab: Lab,
    device: Device,
    info: GpuInfo,
    /// Bytes that were free when it was opened.
    free: usize,
}

impl Gpu {
    /// The first device that the driver shows; or why there is none, in words.
    pub fn open() -> Result<Self, String> {
        let device = Device::primary(0, &Norm::DEFAULTS, &ElementType::ALL)
            .map_err(|error| error.to_string())?;
        Self::with(device).map_err(|error| format!("{error:#}"))
    }

    #[allow(unsafe_code, reason = "a stream of a context that is known by its address")]
    fn with(device: Device) -> Result<Self> {
        // SAFETY: the device keeps its context, is dropped after the lab, and stays on this thread.
        let lab = unsafe { Lab::new(device.context()) }?;
        let (major, minor) = device.capability();
        let info = GpuInfo {
            name: device.name()?,
            capability: format!("{major}.{minor}"),
            driver: driver()?,
            l2: lab.l2_bytes()?,
        };
        let free = lab.free_memory()?;
        Ok(Self { lab, device, info, free })
    }

    /// The device in words.
    pub fn info(&self) -> &GpuInfo {
        &self.info
    }

    /// Bytes of input where input and output fill half of L2, and where they are far larger.
    pub fn sizes(&self) -> (usize, usize) {
        // Twice input and output, which are rotated, in half of what is free.
        let large = (8 * self.info.l2).min(256 << 20).min(self.free / 8);
        (self.info.l2 / 4, large)
    }

    /// Writes all rows to `y`.
    pub fn run<T: Number>(&self, call: &Call<T>, y: &mut [T]) -> Result<()> {
        let tensors = Tensors::new(self, call, 1)?;
        tensors.launch(self, call, 0)?;
        tensors.read(self, 0, y)
    }
}

/// Inputs and outputs of a call, several times over, and its weight.
struct Tensors<'gpu> {
    memory: Memory<'gpu>,
    weight: Option<Memory<'gpu>>,
    /// Bytes of an input.
    bytes: usize,
}

impl<'gpu> Tensors<'gpu> {
    /// `sets` copies of the input, each with room for its output, which is filled with NaN.
    fn new<T: Number>(gpu: &'gpu Gpu, call: &Call<T>, sets: usize) -> Result<Self> {
        let (x, lab) = (bytemuck::cast_slice::<T, u8>(call.x), &gpu.lab);
        let bytes = x.len();
        let memory = lab
            .memory(2 * sets * bytes.next_multiple_of(ALIGNMENT))
            .with_context(|| format!("no room for {} tensors of {bytes} bytes", 2 * sets))?;
        // Every type's bits that are all ones are a NaN.
        memory.fill(0xff)?;
        let weight =
            call.weight.map(|weight| lab.upload(bytemuck::cast_slice(weight))).transpose()?;
        let tensors = Self { memory, weight, bytes };
        (0..sets).try_for_each(|set| tensors.memory.write(tensors.input(set), x))?;
        Ok(tensors)
    }

    /// Where an input starts in the memory.
    fn input(&self, set: usize) -> usize {
        2 * set * self.bytes.next_multiple_of(ALIGNMENT)
    }

    /// Where its output starts.
    fn output(&self, set: usize) -> usize {
        self.input(set) + self.bytes.next_multiple_of(ALIGNMENT)
    }

    /// Puts `call` on the stream, from and to the tensors of `set`.
    #[allow(unsafe_code, reason = "device memory is known by its address")]
    fn launch<T: Number>(&self, gpu: &Gpu, call: &Call<T>, set: usize) -> Result<()> {
        let (rows, address) = (call.x.len() / call.channels, self.memory.address());
        let tensor = |at: usize| DeviceRows::new(address + at as u64, T::TYPE, rows, call.channels);
        let (x, y) = (tensor(self.input(set))?, tensor(self.output(set))?);
        let mut forward = Forward::new(call.norm, x, y);
        if let Some(weight) = &self.weight {
            forward = forward.weight(weight.address(), T::TYPE);
        }
        // SAFETY: the tensors are of that shape, in memory that is freed after the stream has been
        // waited for, and nobody else has their addresses.
        Ok(unsafe { forward.launch(&gpu.device, gpu.lab.stream()) }?)
    }

    /// Waits for the stream and reads an output.
    fn read<T: Number>(&self, gpu: &Gpu, set: usize, y: &mut [T]) -> Result<()> {
        gpu.lab.synchronize()?;
        Ok(self.memory.read(self.output(set), bytemuck::cast_slice_mut(y))?)
    }
}

/// The driver's version, where the system tells, and what it supports.
fn driver() -> Result<String, dynorm::Error> {
    let (major, minor) = Device::driver_version()?;
    let version = fs::read_to_string("/sys/module/nvidia/version");
    let version = version.map_or_else(|_| String::new(), |text| format!("{}, ", text.trim()));
    Ok(format!("{version}CUDA {major}.{minor}"))
}

/// A line for each device: what it is, and whether the kernels load; or why there is none.
pub fn describe() -> Vec<String> {
    let count = match Device::count() {
        Ok(0) => return vec!["none: the driver shows no device".to_owned()],
        Ok(count) => count,
        Err(error) => return vec![format!("none: {error}")],
    };
    let mut lines = vec![match driver() {
        Ok(driver) => format!("driver {driver}"),
        Err(error) => format!("driver: {error}"),
    }];
    lines.extend((0..count).map(|ordinal| format!("{ordinal}: {}", device(ordinal))));
    lines
}

fn device(ordinal: usize) -> String {
    let start = Instant::now();
    let opened = Device::primary(ordinal, &Norm::DEFAULTS, &ElementType::ALL);
    let seconds = start.elapsed().as_secs_f64();
    let described = opened.and_then(|device| {
        let (major, minor) = device.capability();
        let name = device.name()?;
        Ok(format!("{name}, compute capability {major}.{minor}; kernels loaded in {seconds:.2} s"))
    });
    described.unwrap_or_else(|error| format!("cannot be used: {error}"))
}
