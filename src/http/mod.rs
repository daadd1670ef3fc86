//! HTTP: connections, middleware, extractors, and the form of errors and documents.
//!
//! [`server`] accepts connections, [`middleware`] handles every request, [`extract`] turns parts of a request into
//! types, [`problem`] and [`reply`] build responses, and [`access`] states who may call each operation.

pub mod access;
mod admission;
pub mod audited;
pub mod auth;
pub mod batch_item;
pub mod body;
pub mod compression;
pub mod conditional;
mod connection;
pub mod cors;
pub mod counts;
pub mod documentation;
pub mod durability;
pub mod extract;
pub mod fencing;
mod gzip_body;
pub mod gzipped;
mod header_timer;
pub mod idempotent_operation;
pub mod integer;
pub mod json_lines;
mod json_text;
pub mod layer;
pub mod legacy_prefix;
pub mod lines;
mod memory;
pub mod middleware;
pub mod negotiation;
pub mod openapi;
mod openapi_components;
mod openapi_examples;
mod openapi_parts;
pub mod openapi_responses;
pub mod openapi_router;
mod openapi_schemas;
pub mod openapi_text;
pub mod paced_body;
pub mod path_parameters;
pub mod portable_json;
pub mod problem;
mod read_by_client;
pub mod reply;
pub mod request_id;
pub mod route_table;
pub mod server;
pub mod slots;
pub mod strict_objects;
pub mod times;
mod turns;
mod uri;
mod violation;
pub mod websocket;
