//! The scripts that write and read overrides.

use std::time::Duration;

use crate::clock::UnixMillis;
use crate::lua;
use crate::redis::{BadReply, Effect, Key, LuaScript, OldBinding, OldScriptCall};

/// Writes or deletes an override, or only changes the version.
#[derive(Debug)]
pub(in super::super) struct SetOverride<'a> {
    pub key: &'a Key,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: String,
    /// `<limiter> <key>`; empty to change only the version.
    pub field: &'a str,
    /// The override as JSON; empty to delete it.
    pub stored: &'a str,
    /// Zero: until it is deleted.
    pub ttl: Duration,
    /// The maximum number of overrides.
    pub max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum SetOverrideOutcome {
    Done {
        /// Unix milliseconds of Redis's clock; `None`: until it is deleted.
        ends: Option<UnixMillis>,
    },
    TooMany,
}

impl OldScriptCall for SetOverride<'_> {
    type Raw = (u8, UnixMillis);
    type Reply = SetOverrideOutcome;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("ratelimit/set_override.lua");

    fn bind(&self, call: &mut OldBinding) {
        let ttl = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        call.key(self.key).arg(&self.now).arg(self.field).arg(self.stored).arg(ttl).arg(self.max);
    }

    fn decode(raw: Self::Raw) -> Result<SetOverrideOutcome, BadReply> {
        match raw {
            (1, ends) => Ok(SetOverrideOutcome::Done { ends: (ends > 0).then_some(ends) }),
            (0, _) => Ok(SetOverrideOutcome::TooMany),
            other => Err(BadReply::new(other)),
        }
    }
}

/// Reads all overrides.
#[derive(Debug)]
pub(in super::super) struct ReadOverrides<'a> {
    pub key: &'a Key,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: String,
}

/// All overrides at one time.
#[derive(Debug, Default)]
pub(in super::super) struct OverrideRows {
    /// Unix milliseconds of Redis's clock.
    pub now: UnixMillis,
    /// The version of the last change; empty if there was none.
    pub version: String,
    pub rows: Vec<OverrideRow>,
}

#[derive(Debug)]
pub(in super::super) struct OverrideRow {
    pub limiter: String,
    pub key: String,
    /// Unix milliseconds of Redis's clock.
    pub ends_at: Option<UnixMillis>,
    /// JSON.
    pub stored: String,
}

impl OldScriptCall for ReadOverrides<'_> {
    type Raw = Vec<String>;
    type Reply = OverrideRows;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("ratelimit/read_overrides.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(self.key).arg(&self.now);
    }

    fn decode(raw: Self::Raw) -> Result<OverrideRows, BadReply> {
        let mut texts = raw.into_iter();
        let now = texts.next().unwrap_or_default();
        let now = now.parse().map_err(|_| BadReply::new(now))?;
        let mut all = OverrideRows { now, ..OverrideRows::default() };
        while let (Some(field), Some(value)) = (texts.next(), texts.next()) {
            if field.is_empty() {
                all.version = value;
                continue;
            }
            let parts = field.split_once(' ').zip(value.split_once(' '));
            let Some(((limiter, key), (ends, stored))) = parts else {
                return Err(BadReply::new(field));
            };
            let ends: UnixMillis = ends.parse().map_err(|_| BadReply::new(ends))?;
            all.rows.push(OverrideRow {
                limiter: limiter.to_owned(),
                key: key.to_owned(),
                ends_at: (ends > 0).then_some(ends),
                stored: stored.to_owned(),
            });
        }
        Ok(all)
    }
}
