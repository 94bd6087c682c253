use crate::driver::{Handle, call};
use crate::{Error, Lab};
use core::ptr;

/// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`: what other threads do meanwhile is no concern.
const THREAD_LOCAL: i32 = 1;

/// Work that was captured, to be replayed.
pub struct Graph<'lab> {
    lab: &'lab Lab,
    graph: Handle,
    executable: Handle,
}

impl Lab {
    /// What `work` puts on the stream, as a graph. It is not run.
    ///
    /// # Errors
    /// What the driver refuses, or what `work` gives.
    pub fn capture<E: From<Error>>(
        &self,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Graph<'_>, E> {
        let driver = self.driver;
        let mut graph = Graph { lab: self, graph: ptr::null_mut(), executable: ptr::null_mut() };
        // SAFETY: the stream is this one's, handles have a place each.
        unsafe {
            call!(driver, cuStreamBeginCapture_v2(self.stream, THREAD_LOCAL))?;
            let done = work();
            // Ended also where the work failed: else the stream would stay as it is.
            let ended = call!(driver, cuStreamEndCapture(self.stream, &mut graph.graph));
            done?;
            ended?;
            let executable = &mut graph.executable;
            call!(driver, cuGraphInstantiateWithFlags(executable, graph.graph, 0))?;
        }
        Ok(graph)
    }

    /// Puts the captured work on the stream.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn replay(&self, graph: &Graph) -> Result<(), Error> {
        // SAFETY: the graph was instantiated in this context.
        unsafe { call!(self.driver, cuGraphLaunch(graph.executable, self.stream)) }
    }
}

impl Drop for Graph<'_> {
    fn drop(&mut self) {
        // SAFETY: the handles are this value's. There is nothing to be done if it fails.
        unsafe {
            if !self.executable.is_null() {
                let _ = call!(self.lab.driver, cuGraphExecDestroy(self.executable));
            }
            if !self.graph.is_null() {
                let _ = call!(self.lab.driver, cuGraphDestroy(self.graph));
            }
        }
    }
}
