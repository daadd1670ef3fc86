//! The files of the page, and the operation that streams its live numbers.

mod files;
mod stream;

pub use files::pages;
pub(super) use stream::*;
