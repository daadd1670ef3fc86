//! The script that settles reservations.

use crate::features::ratelimit::strategy::calendar::Window;
use crate::features::ratelimit::strategy::rule::Algorithm;
use crate::lua;
use crate::redis::{BadReply, Effect, Key, LuaScript, OldBinding, OldScriptCall};

/// Returns all overdue reservations, and settles one if `secret` names it.
#[derive(Debug)]
pub(in super::super) struct Settle<'a> {
    pub state: &'a Key,
    pub reservations: &'a Key,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: String,
    /// Empty: returns overdue reservations only.
    pub secret: &'a str,
    pub algorithm: &'a Algorithm,
    pub used: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum SettleOutcome {
    /// Zero: there is no such reservation.
    Done { count: u64 },
    /// Nothing was done: Redis's clock, in Unix microseconds, is outside a calendar window.
    OutsideWindow { now: u64 },
}

impl OldScriptCall for Settle<'_> {
    type Raw = (u8, u64);
    type Reply = SettleOutcome;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("ratelimit/settle.lua");

    fn bind(&self, call: &mut OldBinding) {
        call.key(self.state).key(self.reservations).arg(&self.now).arg(self.secret);
        match self.algorithm {
            Algorithm::Gcra(gcra) => {
                let used = gcra.time(self.used);
                call.arg("flow").arg(used.whole).arg(used.parts).arg(gcra.denominator());
            }
            Algorithm::Fixed { length, .. } => {
                call.arg("fixed").arg(self.used).arg(length);
            }
            Algorithm::Calendar { calendar, .. } => {
                let Window { start, end } = calendar.current();
                call.arg("calendar").arg(self.used).arg(start).arg(end);
            }
            // Unreachable for a back-off, which takes no reservations.
            Algorithm::Sliding { length, .. } | Algorithm::Backoff { window: length, .. } => {
                call.arg("sliding").arg(self.used).arg(length);
            }
        }
    }

    fn decode(raw: Self::Raw) -> Result<SettleOutcome, BadReply> {
        match raw {
            (0 | 1, count) => Ok(SettleOutcome::Done { count }),
            (2, now) => Ok(SettleOutcome::OutsideWindow { now }),
            other => Err(BadReply::new(other)),
        }
    }
}
