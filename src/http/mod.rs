//! The HTTP floor: how requests come in, what they all pass, how errors and documents look.
//!
//! [`server`] accepts connections, [`edge`] is passed by every request, [`extract`] turns its parts into types,
//! [`problem`] and [`reply`] shape the answers, [`access`] says who may call what.

pub mod access;
pub mod auth;
pub mod body;
pub mod conditional;
pub mod documentation;
pub mod edge;
pub mod extract;
pub mod failures;
pub mod fencing;
mod hex;
pub mod openapi;
pub mod operation;
pub mod problem;
pub mod reply;
pub mod request_id;
pub mod server;
pub mod times;
pub mod whole;
