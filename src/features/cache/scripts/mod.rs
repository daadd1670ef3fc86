//! The cache's scripts and their typed calls; what each does stands in its file.

mod counter;
mod lease;
mod tag;
mod value;

use crate::lua;
use crate::redis::LuaScript;

pub(super) use counter::{Increment, IncrementReply, counter};
pub(super) use lease::{Lease, LeaseReply};
pub(super) use tag::{TagOpen, TagRaise};
pub(super) use value::{Delete, DeleteReply, Drop, Expected, Put, PutReply, Take, TakeReply, Touch, TouchReply};

pub(super) static PUT: LuaScript = lua!("cache/put.lua");
pub(super) static DELETE: LuaScript = lua!("cache/delete.lua");
pub(super) static DROP: LuaScript = lua!("cache/drop.lua");
pub(super) static TAKE: LuaScript = lua!("cache/take.lua");
pub(super) static TOUCH: LuaScript = lua!("cache/touch.lua");
pub(super) static INCREMENT: LuaScript = lua!("cache/increment.lua");
pub(super) static LEASE: LuaScript = lua!("cache/lease.lua");
pub(super) static TAG_OPEN: LuaScript = lua!("cache/tag_open.lua");
pub(super) static TAG_RAISE: LuaScript = lua!("cache/tag_raise.lua");
