//! The HTTP floor: how requests come in, what they all pass, how errors and documents look.
//!
//! [`server`] accepts connections, [`middleware`] is passed by every request, [`extract`] turns its parts into types,
//! [`problem`] and [`reply`] shape the answers, [`access`] says who may call what.

pub mod access;
pub mod auth;
pub mod body;
pub mod compression;
pub mod conditional;
pub mod cors;
pub mod documentation;
pub mod extract;
pub mod fencing;
mod gzip_body;
pub mod idempotent_operation;
pub mod integer;
pub mod middleware;
pub mod openapi;
pub mod openapi_responses;
pub mod openapi_router;
pub mod problem;
pub mod reply;
pub mod request_id;
pub mod server;
pub mod times;
