//! The HTTP operations of channels.

mod admin;
mod history;
mod load;
mod presence;
mod publish;

pub(super) use admin::*;
pub(super) use history::*;
pub(super) use presence::*;
pub(super) use publish::*;
