/// What the driver refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The driver's library, or a function of it, is missing.
    #[error("{0}")]
    Driver(String),
    /// A call failed.
    #[error("{call} failed: {name} ({code})")]
    Call {
        /// The driver's function.
        call: &'static str,
        /// Its result.
        code: i32,
        /// The result's name.
        name: String,
    },
}
