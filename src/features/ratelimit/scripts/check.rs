//! The decision.

use super::super::calendar::Window;
use super::super::reservations::Hold;
use super::super::rule::{Plan, Rule};
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Key, LuaScript, ScriptCall};

/// One cost against one limit.
#[derive(Debug)]
pub(in super::super) struct Check<'a> {
    pub state: Key,
    /// Where the limiter takes reservations.
    pub reservations: Option<Key>,
    pub rule: &'a Rule,
    pub cost: u64,
    /// Whether its refusal refuses the whole call.
    pub must: bool,
}

/// Takes every cost or none.
#[derive(Debug)]
pub(in super::super) struct Take<'a> {
    pub checks: &'a [Check<'a>],
    /// Takes the only check's cost to be settled later.
    pub hold: Option<&'a Hold>,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: String,
}

/// Decides the same and changes nothing.
#[derive(Debug)]
pub(in super::super) struct Peek<'a>(pub Take<'a>);

/// What the script says.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Checked {
    Decided {
        granted: bool,
        /// [`Plan::standing`] reads each check's numbers.
        numbers: Vec<u64>,
    },
    /// Nothing was decided: Redis's clock, in Unix microseconds, is outside of a calendar's window.
    Outside { now: u64 },
    /// Nothing was decided: the check at this place has reservations that are past their time.
    Overdue { at: usize },
    /// Nothing was reserved: the key has as many reservations as it may.
    Crowded,
}

impl ScriptCall for Take<'_> {
    type Raw = Vec<u64>;
    type Reply = Checked;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("ratelimit/check.lua");

    fn keys(&self) -> usize {
        self.checks.len() + self.checks.iter().filter(|check| check.reservations.is_some()).count()
    }

    fn bind(&self, call: &mut Binding) {
        bind(self, if self.hold.is_some() { "reserve" } else { "take" }, call);
    }

    fn decode(raw: Self::Raw) -> Result<Checked, BadReply> {
        decode(raw)
    }
}

impl ScriptCall for Peek<'_> {
    type Raw = Vec<u64>;
    type Reply = Checked;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = Take::SCRIPT;

    fn keys(&self) -> usize {
        self.0.keys()
    }

    fn bind(&self, call: &mut Binding) {
        bind(&self.0, "peek", call);
    }

    fn decode(raw: Self::Raw) -> Result<Checked, BadReply> {
        decode(raw)
    }
}

fn bind(take: &Take<'_>, mode: &str, call: &mut Binding) {
    for check in take.checks {
        call.key(&check.state);
        if let Some(reservations) = &check.reservations {
            call.key(reservations);
        }
    }
    call.arg(&take.now).arg(mode);
    if let Some(hold) = take.hold {
        let length = u64::try_from(hold.length.as_micros()).unwrap_or(u64::MAX);
        call.arg(&hold.secret).arg(length).arg(hold.most);
    }
    for check in take.checks {
        let cost = check.cost;
        call.arg(u8::from(check.must) + 2 * u8::from(check.reservations.is_some()));
        match &check.rule.plan {
            Plan::Flow(flow) => {
                let (cost, most) = (flow.time(cost), flow.time(flow.capacity));
                call.arg("flow").arg(cost.whole).arg(cost.parts).arg(flow.denominator());
                call.arg(most.whole).arg(most.parts);
            }
            Plan::Fixed { limit, length } => {
                call.arg("fixed").arg(cost).arg(limit).arg(length);
            }
            Plan::Calendar { limit, calendar } => {
                let Window { start, end } = calendar.current();
                call.arg("calendar").arg(cost).arg(limit).arg(start).arg(end);
            }
            Plan::Sliding { limit, length } => {
                call.arg("sliding").arg(cost).arg(limit).arg(length);
            }
            Plan::Backoff { limit, window, factor_milli, longest_ms, decay, highest } => {
                call.arg("backoff").arg(cost).arg(limit).arg(window).arg(factor_milli);
                call.arg(longest_ms).arg(decay).arg(highest);
            }
        }
    }
}

fn decode(mut raw: Vec<u64>) -> Result<Checked, BadReply> {
    match raw.as_slice() {
        [0 | 1, ..] => {
            let granted = raw.remove(0) == 1;
            Ok(Checked::Decided { granted, numbers: raw })
        }
        [2, now] => Ok(Checked::Outside { now: *now }),
        [3, nth] => {
            let at = usize::try_from(*nth).unwrap_or_default().saturating_sub(1);
            Ok(Checked::Overdue { at })
        }
        [4, _] => Ok(Checked::Crowded),
        _ => Err(BadReply::new(Take::SCRIPT, raw)),
    }
}
