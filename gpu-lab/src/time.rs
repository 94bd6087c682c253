use crate::driver::{Driver, Handle, call};
use crate::{Error, Lab};
use core::ptr;

/// A point on the stream.
struct Event {
    driver: &'static Driver,
    event: Handle,
}

impl Event {
    fn new(driver: &'static Driver) -> Result<Self, Error> {
        let mut event = ptr::null_mut();
        // SAFETY: a place for a handle; 0 is an event with a time.
        unsafe { call!(driver, cuEventCreate(&mut event, 0)) }?;
        Ok(Self { driver, event })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the handle is this value's. There is nothing to be done if it fails.
        let _ = unsafe { call!(self.driver, cuEventDestroy_v2(self.event)) };
    }
}

impl Lab {
    /// Seconds that the stream takes for `work`, between two events.
    ///
    /// # Errors
    /// What the driver refuses, or what `work` gives.
    pub fn seconds<E: From<Error>>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<f64, E> {
        let driver = self.driver;
        let [start, end] = [Event::new(driver)?, Event::new(driver)?];
        let mut milliseconds = 0.0;
        // SAFETY: events and stream are of this context.
        unsafe {
            call!(driver, cuEventRecord(start.event, self.stream))?;
            work()?;
            call!(driver, cuEventRecord(end.event, self.stream))?;
            call!(driver, cuEventSynchronize(end.event))?;
            call!(driver, cuEventElapsedTime(&mut milliseconds, start.event, end.event))?;
        }
        Ok(f64::from(milliseconds) / 1000.0)
    }
}
