//! What admins decide for single keys.

use std::time::Duration;

use crate::clock::UnixMillis;
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

/// Writes down a decision, takes it back, or only tells the replicas that something was changed.
#[derive(Debug)]
pub(in super::super) struct Except<'a> {
    pub key: &'a Key,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: String,
    /// `<limiter> <key>`; empty only tells.
    pub field: &'a str,
    /// Empty takes it back.
    pub decision: &'a str,
    /// Zero: until it is taken back.
    pub life: Duration,
    /// How many decisions there may be.
    pub most: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Recorded {
    Done {
        /// Unix milliseconds of Redis's clock; `None`: when it is taken back.
        ends: Option<UnixMillis>,
    },
    TooMany,
}

impl ScriptCall for Except<'_> {
    type Raw = (u8, UnixMillis);
    type Reply = Recorded;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("ratelimit/except.lua");

    fn bind(&self, call: &mut Binding) {
        let life = u64::try_from(self.life.as_millis()).unwrap_or(u64::MAX);
        call.key(self.key).arg(&self.now).arg(self.field).arg(self.decision).arg(life).arg(self.most);
    }

    fn decode(raw: Self::Raw) -> Result<Recorded, BadReply> {
        match raw {
            (1, ends) => Ok(Recorded::Done { ends: (ends > 0).then_some(ends) }),
            (0, _) => Ok(Recorded::TooMany),
            other => Err(BadReply::new(Self::SCRIPT, other)),
        }
    }
}

/// Reads every decision.
#[derive(Debug)]
pub(in super::super) struct ReadExceptions<'a> {
    pub key: &'a Key,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: String,
}

/// All decisions at one moment.
#[derive(Debug, Default)]
pub(in super::super) struct Exceptional {
    /// Unix milliseconds of Redis's clock.
    pub now: UnixMillis,
    /// Of the last change; empty when there was none.
    pub mark: String,
    pub decisions: Vec<Excepted>,
}

#[derive(Debug)]
pub(in super::super) struct Excepted {
    pub limiter: String,
    pub key: String,
    /// Unix milliseconds of Redis's clock.
    pub ends_at: Option<UnixMillis>,
    pub decision: String,
}

impl ScriptCall for ReadExceptions<'_> {
    type Raw = Vec<String>;
    type Reply = Exceptional;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = lua!("ratelimit/exceptions.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.key).arg(&self.now);
    }

    fn decode(raw: Self::Raw) -> Result<Exceptional, BadReply> {
        let mut texts = raw.into_iter();
        let now = texts.next().unwrap_or_default();
        let now = now.parse().map_err(|_| BadReply::new(Self::SCRIPT, now))?;
        let mut all = Exceptional { now, ..Exceptional::default() };
        while let (Some(field), Some(value)) = (texts.next(), texts.next()) {
            if field.is_empty() {
                all.mark = value;
                continue;
            }
            let parts = field.split_once(' ').zip(value.split_once(' '));
            let Some(((limiter, key), (ends, decision))) = parts else {
                return Err(BadReply::new(Self::SCRIPT, field));
            };
            let ends: UnixMillis = ends.parse().map_err(|_| BadReply::new(Self::SCRIPT, ends))?;
            all.decisions.push(Excepted {
                limiter: limiter.to_owned(),
                key: key.to_owned(),
                ends_at: (ends > 0).then_some(ends),
                decision: decision.to_owned(),
            });
        }
        Ok(all)
    }
}
