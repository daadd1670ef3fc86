//! The HTTP operations of channels.

mod admin;
mod history;
mod publish;

pub(super) use admin::*;
pub(super) use history::*;
pub(super) use publish::*;
