//! A context with the kernels loaded into it.

use super::backward::GradientModule;
use super::driver::{self, Current, check};
use super::kernel::function_index;
use super::module::Module;
use super::ptx::Target;
use crate::place::Access;
use crate::{ElementType, Error, Norm};
use core::ffi::{CStr, c_void};
use core::{mem, ptr};
use cudarc::driver::sys;

/// The oldest architecture that the kernels are compiled for: Ampere.
const OLDEST: (u32, u32) = (8, 0);

/// A CUDA context in which the kernels of some functions are loaded, for some types of x. Make one and keep
/// it: loading compiles PTX, which takes up to seconds for each function and type (the driver keeps a
/// cache on disk).
///
/// It may be used by several threads at once, whichever context is current on them.
///
/// ```no_run
/// use dynorm::{ElementType, Norm, cuda::Device};
/// let norm = Norm::RmsNorm { eps: 1e-6 };
/// let device = Device::primary(0, &[norm], &[ElementType::Bf16])?;
/// println!("{}", device.name()?);
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Debug)]
pub struct Device {
    context: sys::CUcontext,
    device: sys::CUdevice,
    /// Whether this value holds a reference to the device's primary context.
    retained: bool,
    capability: (u32, u32),
    /// Whether kernels can read memory that CUDA does not know.
    pageable: bool,
    modules: ByFunctionAndType<Module>,
    gradients: ByFunctionAndType<GradientModule>,
}

type ByFunctionAndType<M> = [[Option<M>; ElementType::ALL.len()]; Norm::DEFAULTS.len()];

/// None of them.
const fn nothing<M>() -> ByFunctionAndType<M> {
    [const { [const { None }; ElementType::ALL.len()] }; Norm::DEFAULTS.len()]
}

/// Loads with `load` those of `modules` for `norms` and `types` that are not there yet.
fn load_missing<M>(
    modules: &mut ByFunctionAndType<M>,
    norms: &[Norm],
    types: &[ElementType],
    load: impl Fn(Norm, ElementType) -> Result<M, Error>,
) -> Result<(), Error> {
    for (&norm, &x) in norms.iter().flat_map(|norm| types.iter().map(move |x| (norm, x))) {
        let module = &mut modules[function_index(norm)][x as usize];
        if module.is_none() {
            *module = Some(load(norm, x)?);
        }
    }
    Ok(())
}

/// Blocks, threads of each, and blocks of a cluster; 1 for none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    pub(crate) blocks: u32,
    pub(crate) threads: u32,
    pub(crate) cluster: u32,
}

// SAFETY: handles of the driver, which may be used from every thread.
unsafe impl Send for Device {}
// SAFETY: as above; nothing is changed through a shared `Device`.
unsafe impl Sync for Device {}

impl Device {
    /// The number of devices that the driver shows.
    ///
    /// # Errors
    /// [`Error::DriverMissing`], [`Error::DriverTooOld`], or [`Error::Driver`].
    ///
    /// ```
    /// use dynorm::cuda::Device;
    /// match Device::count() {
    ///     Ok(count) => println!("{count} devices"),
    ///     Err(error) => println!("{error}"), // without a driver: what was looked for
    /// }
    /// ```
    pub fn count() -> Result<usize, Error> {
        driver::load()?;
        let mut count = 0;
        // SAFETY: the driver is loaded.
        check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// The CUDA version that the driver supports, as (major, minor).
    ///
    /// # Errors
    /// As [`count`](Self::count).
    ///
    /// ```
    /// use dynorm::cuda::Device;
    /// if let Ok((major, minor)) = Device::driver_version() {
    ///     println!("CUDA {major}.{minor}");
    /// }
    /// ```
    pub fn driver_version() -> Result<(u32, u32), Error> {
        let version = driver::load()?;
        Ok((version / 1000, version % 1000 / 10))
    }

    /// The primary context of device `ordinal`, which is the one that PyTorch, candle and the CUDA
    /// runtime use, with the kernels of `norms`, whose parameters do not matter, for x (or the residual that
    /// it is added to) of `types`; [`Norm::DEFAULTS`] and [`ElementType::ALL`] for all.
    ///
    /// # Errors
    /// [`Error::DriverMissing`] and [`Error::DriverTooOld`] without a driver that will do,
    /// [`Error::DeviceTooOld`] for devices before Ampere, [`Error::Driver`] for what else the
    /// driver refuses.
    ///
    /// ```
    /// use dynorm::cuda::Device;
    /// use dynorm::{ElementType, Norm};
    ///
    /// let norms = [Norm::DyT { alpha: 0.5 }];
    /// match Device::primary(0, &norms, &ElementType::ALL) {
    ///     Ok(device) => println!("compute capability {:?}", device.capability()),
    ///     Err(error) => println!("{error}"),
    /// }
    /// ```
    pub fn primary(ordinal: usize, norms: &[Norm], types: &[ElementType]) -> Result<Self, Error> {
        driver::load()?;
        let ordinal = i32::try_from(ordinal).unwrap_or(i32::MAX);
        let (mut device, mut context) = (0, ptr::null_mut());
        // SAFETY: the driver is loaded.
        unsafe {
            check("cuDeviceGet", sys::cuDeviceGet(&mut device, ordinal))?;
            check("cuDevicePrimaryCtxRetain", sys::cuDevicePrimaryCtxRetain(&mut context, device))?;
        }
        let mut opened = Self::unloaded(context, device, true);
        // SAFETY: the context is alive as long as it is retained, which `opened` answers for.
        unsafe { opened.load(norms, types) }?;
        Ok(opened)
    }

    /// The context that is current on the calling thread, with kernels as [`primary`](Self::primary).
    ///
    /// # Errors
    /// [`Error::NoContext`] if there is none; as [`primary`](Self::primary).
    ///
    /// # Safety
    /// The context must outlive the value.
    ///
    /// ```
    /// use dynorm::cuda::Device;
    /// use dynorm::{ElementType, Norm};
    ///
    /// let norms = [Norm::DyT { alpha: 0.5 }];
    /// // SAFETY: no context is destroyed meanwhile.
    /// if let Err(error) = unsafe { Device::current(&norms, &ElementType::ALL) } {
    ///     println!("{error}"); // no driver, or no context on this thread
    /// }
    /// ```
    pub unsafe fn current(norms: &[Norm], types: &[ElementType]) -> Result<Self, Error> {
        driver::load()?;
        // SAFETY: the driver is loaded.
        let context = unsafe { driver::current_context() }?;
        // SAFETY: a context that is current is alive; the caller vouches for later.
        unsafe { Self::from_context(context.cast(), norms, types) }
    }

    /// A context of the caller's, as a `CUcontext`, with kernels as [`primary`](Self::primary). It is
    /// neither retained nor destroyed.
    ///
    /// # Errors
    /// As [`current`](Self::current).
    ///
    /// # Safety
    /// `context` must be null or a context that outlives the value.
    ///
    /// ```
    /// use dynorm::cuda::Device;
    /// use dynorm::{ElementType, Norm};
    ///
    /// let norms = [Norm::DyT { alpha: 0.5 }];
    /// // SAFETY: null is allowed, and refused.
    /// let none = unsafe { Device::from_context(std::ptr::null_mut(), &norms, &ElementType::ALL) };
    /// assert!(none.is_err());
    /// ```
    pub unsafe fn from_context(
        context: *mut c_void,
        norms: &[Norm],
        types: &[ElementType],
    ) -> Result<Self, Error> {
        driver::load()?;
        if context.is_null() {
            return Err(Error::NoContext);
        }
        let context = context.cast();
        // SAFETY: the caller vouches for the context.
        let device = unsafe {
            let _current = Current::new(context)?;
            let mut device = 0;
            check("cuCtxGetDevice", sys::cuCtxGetDevice(&mut device))?;
            device
        };
        let mut opened = Self::unloaded(context, device, false);
        // SAFETY: the caller vouches for the context.
        unsafe { opened.load(norms, types) }?;
        Ok(opened)
    }

    fn unloaded(context: sys::CUcontext, device: sys::CUdevice, retained: bool) -> Self {
        let (modules, gradients) = (nothing(), nothing());
        Self { context, device, retained, capability: (0, 0), pageable: false, modules, gradients }
    }

    /// # Safety
    /// The context must be alive.
    unsafe fn load(&mut self, norms: &[Norm], types: &[ElementType]) -> Result<(), Error> {
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
            CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS as PAGEABLE,
        };
        self.capability = (self.attribute(MAJOR)?, self.attribute(MINOR)?);
        self.pageable = self.attribute(PAGEABLE)? != 0;
        if self.capability < OLDEST {
            return Err(Error::DeviceTooOld { given: self.capability, wanted: OLDEST });
        }
        let target = Target::of(self.capability);
        // SAFETY: the same contract.
        let _current = unsafe { Current::new(self.context) }?;
        load_missing(&mut self.modules, norms, types, |norm, x| {
            // SAFETY: the context is current, and its device has the target.
            unsafe { Module::load(norm, x, target) }
        })
    }

    /// Loads the kernels of gradients, too: of `norms`, whose parameters do not matter, for x of `types`. They are apart
    /// since inference needs none.
    ///
    /// # Errors
    /// [`Error::Driver`]; what was loaded before it stays loaded.
    ///
    /// ```no_run
    /// use dynorm::{ElementType::Bf16, Norm, cuda::Device};
    /// let norm = Norm::RmsNorm { eps: 1e-6 };
    /// let mut device = Device::primary(0, &[norm], &[Bf16])?;
    /// device.load_gradients(&[norm], &[Bf16])?;
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn load_gradients(&mut self, norms: &[Norm], types: &[ElementType]) -> Result<(), Error> {
        // SAFETY: a device's context is alive.
        let _current = unsafe { Current::new(self.context) }?;
        load_missing(&mut self.gradients, norms, types, |norm, x| {
            // SAFETY: the context is current.
            unsafe { GradientModule::load(norm, x) }
        })
    }

    fn attribute(&self, attribute: sys::CUdevice_attribute) -> Result<u32, Error> {
        let mut value = 0;
        // SAFETY: the driver is loaded, since a device is known.
        let result = unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, self.device) };
        check("cuDeviceGetAttribute", result)?;
        Ok(value.unsigned_abs())
    }

    /// The device's name, such as `NVIDIA H200`.
    ///
    /// # Errors
    /// [`Error::Driver`].
    ///
    /// ```
    /// # fn f(device: &dynorm::cuda::Device) -> Result<(), dynorm::Error> {
    /// let name: String = device.name()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> Result<String, Error> {
        let mut name = [0_u8; 256];
        // SAFETY: the driver writes at most as many bytes as it is told, the last of them 0.
        let result = unsafe {
            sys::cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as i32, self.device)
        };
        check("cuDeviceGetName", result)?;
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        Ok(name.to_string_lossy().into_owned())
    }

    /// The device's compute capability, as (major, minor).
    ///
    /// ```
    /// # fn f(device: &dynorm::cuda::Device) -> Result<(), dynorm::Error> {
    /// let hopper = device.capability() >= (9, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn capability(&self) -> (u32, u32) {
        self.capability
    }

    /// The context, as a `CUcontext`.
    ///
    /// ```
    /// # fn f(device: &dynorm::cuda::Device) -> Result<(), dynorm::Error> {
    /// let context: *mut std::ffi::c_void = device.context();
    /// # Ok(())
    /// # }
    /// ```
    pub fn context(&self) -> *mut c_void {
        self.context.cast()
    }

    /// The kernels of `norm` for `x`.
    pub(crate) fn module(&self, norm: Norm, x: ElementType) -> Result<&Module, Error> {
        let module = self.modules[function_index(norm)][x as usize].as_ref();
        module.ok_or(Error::NotLoaded { name: norm.name(), element: x })
    }

    /// The kernels of the gradients of `norm` for `x`.
    pub(crate) fn gradient_module(
        &self,
        norm: Norm,
        x: ElementType,
    ) -> Result<&GradientModule, Error> {
        let module = self.gradients[function_index(norm)][x as usize].as_ref();
        module.ok_or(Error::GradientNotLoaded { name: norm.name(), element: x })
    }

    /// Checks that kernels can reach `address`, as far as the driver can tell.
    ///
    /// # Safety
    /// The context must be current.
    unsafe fn check_address(&self, what: &'static str, address: u64) -> Result<(), Error> {
        const UNKNOWN: u32 = 0;
        const DEVICE: u32 = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE as u32;
        let mut context: sys::CUcontext = ptr::null_mut();
        let mut memory = UNKNOWN;
        let mut attributes = [
            sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_CONTEXT,
            sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
        ];
        let mut values: [*mut c_void; 2] =
            [ptr::from_mut(&mut context).cast(), ptr::from_mut(&mut memory).cast()];
        // SAFETY: two attributes, and a place of its type for each. What the driver does not know
        // it sets to 0.
        let result = unsafe {
            sys::cuPointerGetAttributes(2, attributes.as_mut_ptr(), values.as_mut_ptr(), address)
        };
        check("cuPointerGetAttributes", result)?;
        if memory == UNKNOWN && !self.pageable {
            return Err(Error::NotDeviceMemory { what, address });
        }
        // Memory from pools and virtual memory belongs to no context.
        if memory == DEVICE && !context.is_null() && context != self.context {
            return Err(Error::OtherContext { what, address });
        }
        Ok(())
    }

    /// The same of everything that a call accesses.
    ///
    /// # Safety
    /// The context must be current.
    pub(crate) unsafe fn check_addresses(&self, accesses: &[Option<Access>]) -> Result<(), Error> {
        let mut last = 0;
        for Access { what, place, .. } in accesses.iter().flatten() {
            // In place is one address.
            if place.address != last {
                // SAFETY: the same contract.
                unsafe { self.check_address(what, place.address) }?;
            }
            last = place.address;
        }
        Ok(())
    }

    /// Puts a kernel on `stream`.
    ///
    /// # Safety
    /// The context must be current, `stream` one of its streams, and `args` of the type that the kernel takes, with
    /// what is said there kept.
    pub(crate) unsafe fn start<A: Copy>(
        &self,
        kernel: sys::CUfunction,
        grid: Grid,
        mut args: A,
        programmatic: bool,
        stream: *mut c_void,
    ) -> Result<(), Error> {
        let mut attributes = [attribute_of_zeros(), attribute_of_zeros()];
        let mut used = 0;
        if grid.cluster > 1 {
            attributes[used].id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
            // SAFETY: plain numbers; the union is all zeros before.
            unsafe {
                let cluster = &mut attributes[used].value.clusterDim;
                (cluster.x, cluster.y, cluster.z) = (grid.cluster, 1, 1);
            }
            used += 1;
        }
        if programmatic && Target::of(self.capability) == Target::Sm90 {
            attributes[used].id =
                sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
            attributes[used].value.programmaticStreamSerializationAllowed = 1;
            used += 1;
        }
        let config = sys::CUlaunchConfig {
            gridDimX: grid.blocks,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: grid.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 0,
            hStream: stream.cast(),
            attrs: attributes.as_mut_ptr(),
            numAttrs: used as u32,
        };
        let mut parameters: [*mut c_void; 1] = [ptr::from_mut(&mut args).cast()];
        // SAFETY: the caller vouches for context, stream and arguments; the driver copies `args`
        // before it returns.
        let result = unsafe {
            sys::cuLaunchKernelEx(&config, kernel, parameters.as_mut_ptr(), ptr::null_mut())
        };
        check("cuLaunchKernelEx", result)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the context is alive: retained by this value, or promised by the caller of
        // `from_context`. Unloading waits for kernels that still run.
        unsafe {
            if let Ok(_current) = Current::new(self.context) {
                self.modules.iter().flatten().flatten().for_each(|module| module.unload());
                self.gradients.iter().flatten().flatten().for_each(|module| module.unload());
            }
            if self.retained {
                let _ = sys::cuDevicePrimaryCtxRelease_v2(self.device);
            }
        }
    }
}

fn attribute_of_zeros() -> sys::CUlaunchAttribute {
    // SAFETY: a number of an enum that has a 0, padding, and a union of plain numbers.
    unsafe { mem::zeroed() }
}

// The kernels are looked up by a type's place in this list.
const _: () = {
    let mut i = 0;
    while i < ElementType::ALL.len() {
        assert!(ElementType::ALL[i] as usize == i);
        i += 1;
    }
};
