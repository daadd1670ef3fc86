//! The call that acquires the lease to rebuild a value.

use redis::Value;

use super::super::keys::EntryKeys;
use crate::lua;
use crate::redis::{BadReply, Effect, LuaScript, OldBinding, OldScriptCall};

pub(in super::super) struct Lease<'a> {
    pub entry: &'a EntryKeys,
    pub token: &'a str,
    /// Milliseconds.
    pub ttl: u64,
}

pub(in super::super) enum LeaseReply {
    Granted,
    /// A value exists after all.
    Exists,
    /// Another client has the lease for this many more milliseconds.
    Held {
        remaining: u64,
        stale: Option<Vec<u8>>,
    },
}

impl OldScriptCall for Lease<'_> {
    type Raw = (String, u64, Value);
    type Reply = LeaseReply;
    const KEYS: usize = 3;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("cache/lease.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(&self.entry.value).key(&self.entry.lease()).key(&self.entry.stale_copy());
        call.arg(self.token).arg(self.ttl);
    }

    fn decode(raw: Self::Raw) -> Result<LeaseReply, BadReply> {
        match (raw.0.as_str(), raw.1, raw.2) {
            ("granted", ..) => Ok(LeaseReply::Granted),
            ("exists", ..) => Ok(LeaseReply::Exists),
            ("held", remaining, Value::BulkString(bytes)) => {
                Ok(LeaseReply::Held { remaining, stale: Some(bytes).filter(|bytes| !bytes.is_empty()) })
            }
            (other, ..) => Err(BadReply::new(other)),
        }
    }
}
