//! The end of reservations.

use super::super::calendar::Window;
use super::super::rule::Plan;
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

/// Gives back all reservations that are past their time, and settles one if it is named.
#[derive(Debug)]
pub(in super::super) struct Settle<'a> {
    pub state: &'a Key,
    pub reservations: &'a Key,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: String,
    /// Empty: none is settled.
    pub secret: &'a str,
    pub plan: &'a Plan,
    pub used: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Settled {
    /// 0: there is no such reservation.
    Done { count: u64 },
    /// Nothing was done: Redis's clock, in Unix microseconds, is outside of a calendar's window.
    Outside { now: u64 },
}

impl ScriptCall for Settle<'_> {
    type Raw = (u8, u64);
    type Reply = Settled;
    const KEYS: usize = 2;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("ratelimit/settle.lua");

    fn bind(&self, call: &mut Binding) {
        call.key(self.state).key(self.reservations).arg(&self.now).arg(self.secret);
        match self.plan {
            Plan::Flow(flow) => {
                let used = flow.time(self.used);
                call.arg("flow").arg(used.whole).arg(used.parts).arg(flow.denominator());
            }
            Plan::Fixed { length, .. } => {
                call.arg("fixed").arg(self.used).arg(length);
            }
            Plan::Calendar { calendar, .. } => {
                let Window { start, end } = calendar.current();
                call.arg("calendar").arg(self.used).arg(start).arg(end);
            }
            // A back-off is never asked: it takes no reservations.
            Plan::Sliding { length, .. } | Plan::Backoff { window: length, .. } => {
                call.arg("sliding").arg(self.used).arg(length);
            }
        }
    }

    fn decode(raw: Self::Raw) -> Result<Settled, BadReply> {
        match raw {
            (0 | 1, count) => Ok(Settled::Done { count }),
            (2, now) => Ok(Settled::Outside { now }),
            other => Err(BadReply::new(Self::SCRIPT, other)),
        }
    }
}
