//! Routes: [`value`] for single values, [`collection`] for many, [`fence`] for administrators.

mod collection;
mod fence;
mod value;

pub(super) use collection::*;
pub(super) use fence::*;
pub(super) use value::*;
