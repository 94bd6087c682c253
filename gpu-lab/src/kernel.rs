use crate::driver::{Handle, call};
use crate::{Error, Lab};
use core::ffi::{CStr, c_void};
use core::ptr;
use std::rc::Rc;

/// A module that is unloaded when nobody has kernels of it.
struct Loaded<'lab> {
    lab: &'lab Lab,
    module: Handle,
}

/// Kernels, compiled by the driver.
pub struct Module<'lab>(Rc<Loaded<'lab>>);

/// A kernel.
pub struct Kernel<'lab> {
    loaded: Rc<Loaded<'lab>>,
    function: Handle,
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// A pointer.
    Address(u64),
    /// An `unsigned`.
    Count(u32),
    /// A `float`.
    Number(f32),
}

impl Argument {
    fn place(&self) -> *mut c_void {
        let place = match self {
            Self::Address(address) => ptr::from_ref(address).cast::<c_void>(),
            Self::Count(count) => ptr::from_ref(count).cast(),
            Self::Number(number) => ptr::from_ref(number).cast(),
        };
        place.cast_mut()
    }
}

impl Lab {
    /// The kernels in a text of PTX.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn module(&self, ptx: &CStr) -> Result<Module<'_>, Error> {
        let mut loaded = Loaded { lab: self, module: ptr::null_mut() };
        // SAFETY: the text ends with a 0, the handle has a place.
        unsafe { call!(self.driver, cuModuleLoadData(&mut loaded.module, ptx.as_ptr().cast())) }?;
        Ok(Module(Rc::new(loaded)))
    }

    /// A kernel that does nothing: what a launch costs by itself.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn empty_kernel(&self) -> Result<EmptyKernel<'_>, Error> {
        let ptx =
            c".version 8.2\n.target sm_80\n.address_size 64\n.visible .entry empty() { ret; }\n";
        Ok(EmptyKernel(self.module(ptx)?.kernel(c"empty")?))
    }
}

impl<'lab> Module<'lab> {
    /// The kernel of that name.
    ///
    /// # Errors
    /// What the driver refuses: there is none.
    pub fn kernel(&self, name: &CStr) -> Result<Kernel<'lab>, Error> {
        let (loaded, mut function) = (Rc::clone(&self.0), ptr::null_mut());
        let driver = loaded.lab.driver;
        // SAFETY: the module is loaded, the name ends with a 0, the handle has a place.
        unsafe { call!(driver, cuModuleGetFunction(&mut function, loaded.module, name.as_ptr())) }?;
        Ok(Kernel { loaded, function })
    }
}

impl Kernel<'_> {
    /// Puts it on the stream: `grid` blocks of `block` threads.
    ///
    /// # Errors
    /// What the driver refuses.
    ///
    /// # Safety
    /// The arguments must be those that the kernel has, and memory that it uses must live on until
    /// it is done.
    pub unsafe fn launch(
        &self,
        grid: u32,
        block: u32,
        arguments: &[Argument],
    ) -> Result<(), Error> {
        let Loaded { lab, .. } = *self.loaded;
        let mut places: Vec<_> = arguments.iter().map(Argument::place).collect();
        let (function, places, extra) = (self.function, places.as_mut_ptr(), ptr::null_mut());
        // SAFETY: as the caller says; the driver copies the arguments.
        unsafe {
            call!(
                lab.driver,
                cuLaunchKernel(function, grid, 1, 1, block, 1, 1, 0, lab.stream, places, extra)
            )
        }
    }
}

impl Drop for Loaded<'_> {
    fn drop(&mut self) {
        if !self.module.is_null() {
            // SAFETY: the handle is this value's. There is nothing to be done if it fails.
            let _ = unsafe { call!(self.lab.driver, cuModuleUnload(self.module)) };
        }
    }
}

/// A kernel that does nothing.
pub struct EmptyKernel<'lab>(Kernel<'lab>);

impl EmptyKernel<'_> {
    /// Puts it on the stream: one block of one warp.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn launch(&self) -> Result<(), Error> {
        // SAFETY: the kernel has no arguments.
        unsafe { self.0.launch(1, 32, &[]) }
    }
}
