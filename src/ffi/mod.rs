//! The C interface: what `include/dynorm.h` declares. `tests/header.rs` writes that header from
//! this folder, so the comments of public items here are for its readers.
//!
//! Hidden from Rust users, and public for the tests that compare it with what C sees.
//!
//! No logic: a call's struct is read, its values and addresses are checked, and the crate's own
//! interface does the rest. No panic passes.
//!
//! The unit tests export nothing: they call these functions by their paths, and what is exported takes
//! everything behind it along, which would be every kernel once more.
#![allow(non_camel_case_types, reason = "items have their names in C")]

mod args;
mod backward;
mod bound;
mod boundary;
mod cuda;
mod enums;
mod forward;
mod isa;
mod memory;
mod ordinary;
mod refusal;
mod short;
mod statistics;
mod status;
mod tensors;
mod version;

pub use args::{dynorm_forward_args, dynorm_norm};
pub use backward::{
    dynorm_backward, dynorm_backward_args, dynorm_backward_parallel, dynorm_backward_workspace,
};
pub use bound::dynorm_output_bound;
pub use cuda::{
    dynorm_cuda, dynorm_cuda_backward, dynorm_cuda_backward_workspace, dynorm_cuda_close,
    dynorm_cuda_device_count, dynorm_cuda_forward, dynorm_cuda_load_gradients,
    dynorm_cuda_open_context, dynorm_cuda_open_primary, dynorm_cuda_row_statistics,
};
pub use enums::{Enum, dynorm_element, dynorm_flag, dynorm_function, dynorm_isa, dynorm_scale};
pub use forward::{dynorm_forward, dynorm_forward_parallel, dynorm_forward_part};
pub use isa::{
    dynorm_isa_current, dynorm_isa_is_available, dynorm_isa_name, dynorm_isa_set_current,
};
pub use statistics::{
    dynorm_row_statistics, dynorm_row_statistics_compute, dynorm_row_statistics_merge,
};
pub use status::{dynorm_last_error, dynorm_status, dynorm_status_string};
pub use version::dynorm_version;
