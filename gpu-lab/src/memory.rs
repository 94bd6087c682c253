use crate::driver::call;
use crate::{Error, Lab};
use core::ops::Range;

/// Device memory; it starts at a multiple of 256 bytes. Freed when dropped.
pub struct Memory<'lab> {
    lab: &'lab Lab,
    address: u64,
    bytes: usize,
}

/// A part of a [`Memory`].
#[derive(Clone, Copy)]
pub struct Part<'memory> {
    memory: &'memory Memory<'memory>,
    offset: usize,
    bytes: usize,
}

impl Lab {
    /// `bytes` bytes, with whatever was there.
    ///
    /// # Errors
    /// What the driver refuses: there is not so much.
    pub fn memory(&self, bytes: usize) -> Result<Memory<'_>, Error> {
        let mut address = 0;
        // SAFETY: `address` is a place for an address; the context is current.
        unsafe { call!(self.driver, cuMemAlloc_v2(&mut address, bytes.max(1))) }?;
        Ok(Memory { lab: self, address, bytes })
    }

    /// A copy of `host`.
    ///
    /// # Errors
    /// As [`memory`](Self::memory).
    pub fn upload(&self, host: &[u8]) -> Result<Memory<'_>, Error> {
        let memory = self.memory(host.len())?;
        memory.write(0, host)?;
        Ok(memory)
    }
}

impl Memory<'_> {
    /// The device address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its length.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes `range`.
    ///
    /// # Panics
    /// If it is not within.
    pub fn part(&self, range: Range<usize>) -> Part<'_> {
        assert!(range.start <= range.end && range.end <= self.bytes, "{range:?} of {}", self.bytes);
        Part { memory: self, offset: range.start, bytes: range.len() }
    }

    /// Sets every byte.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn fill(&self, byte: u8) -> Result<(), Error> {
        // SAFETY: it is this memory.
        unsafe { call!(self.lab.driver, cuMemsetD8_v2(self.address, byte, self.bytes)) }?;
        self.lab.wait_for_default_stream()
    }

    /// Copies `host` to the bytes from `offset` on.
    ///
    /// # Errors
    /// What the driver refuses.
    ///
    /// # Panics
    /// If it does not fit.
    pub fn write(&self, offset: usize, host: &[u8]) -> Result<(), Error> {
        let to = self.part(offset..offset + host.len());
        // SAFETY: both are as long.
        unsafe {
            let from = host.as_ptr().cast();
            call!(self.lab.driver, cuMemcpyHtoD_v2(to.address(), from, to.bytes))?;
        }
        self.lab.wait_for_default_stream()
    }

    /// Copies the bytes from `offset` on to `host`. What is still on the stream is not waited for.
    ///
    /// # Errors
    /// What the driver refuses.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn read(&self, offset: usize, host: &mut [u8]) -> Result<(), Error> {
        let from = self.part(offset..offset + host.len());
        // SAFETY: both are as long.
        unsafe {
            let to = host.as_mut_ptr().cast();
            call!(self.lab.driver, cuMemcpyDtoH_v2(to, from.address(), from.bytes))
        }
    }
}

impl Part<'_> {
    /// The device address.
    pub fn address(&self) -> u64 {
        self.memory.address + self.offset as u64
    }

    /// Its length.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // SAFETY: it is this memory. There is nothing to be done if it fails.
        let _ = unsafe { call!(self.lab.driver, cuMemFree_v2(self.address)) };
    }
}
