use crate::driver::{Handle, call};
use crate::{Error, Lab};
use core::ptr;

/// A kernel that does nothing: what a launch costs by itself.
pub struct EmptyKernel<'lab> {
    lab: &'lab Lab,
    module: Handle,
    function: Handle,
}

impl Lab {
    /// A kernel that does nothing.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn empty_kernel(&self) -> Result<EmptyKernel<'_>, Error> {
        let ptx =
            c".version 8.2\n.target sm_80\n.address_size 64\n.visible .entry empty() { ret; }\n";
        let mut kernel =
            EmptyKernel { lab: self, module: ptr::null_mut(), function: ptr::null_mut() };
        // SAFETY: the text and the name end with a 0, handles have a place each.
        unsafe {
            call!(self.driver, cuModuleLoadData(&mut kernel.module, ptx.as_ptr().cast()))?;
            let function = &mut kernel.function;
            call!(self.driver, cuModuleGetFunction(function, kernel.module, c"empty".as_ptr()))?;
        }
        Ok(kernel)
    }
}

impl EmptyKernel<'_> {
    /// Puts it on the stream: one block of one warp.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn launch(&self) -> Result<(), Error> {
        let (function, lab) = (self.function, self.lab);
        let (arguments, extra) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the kernel has no arguments.
        unsafe {
            call!(
                lab.driver,
                cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, lab.stream, arguments, extra)
            )
        }
    }
}

impl Drop for EmptyKernel<'_> {
    fn drop(&mut self) {
        if !self.module.is_null() {
            // SAFETY: the handle is this value's. There is nothing to be done if it fails.
            let _ = unsafe { call!(self.lab.driver, cuModuleUnload(self.module)) };
        }
    }
}
