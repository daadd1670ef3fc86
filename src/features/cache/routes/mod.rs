//! Routes: [`value`] for single values, [`collection`] for many.

mod collection;
mod value;

pub(super) use collection::*;
pub(super) use value::*;
