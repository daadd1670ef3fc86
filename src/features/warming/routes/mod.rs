//! The HTTP operations of warming: `tasks.rs` for tasks and runs, `values.rs` for values.

mod tasks;
mod values;

pub(super) use tasks::*;
pub(super) use values::*;
