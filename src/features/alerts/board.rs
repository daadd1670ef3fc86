//! The alerts that this replica knows: its own episodes, and what the other replicas have stored.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::conditions::{Condition, Limit, Scope};
use super::episode::{Episode, Times};
use super::model::{Acknowledgement, Alert, Status, StoredAlert};
use super::readings::{Range, Reading};
use crate::clock::UnixMillis;
use crate::random;

/// How often a replica confirms its own alerts, milliseconds.
const CONFIRM: i64 = 60_000;
/// The alerts of a replica that has confirmed none for so long are ended, milliseconds.
const GONE: i64 = 300_000;

/// What a round changes in Redis.
#[derive(Debug)]
pub(super) struct Change {
    pub key: String,
    pub alert: Alert,
    pub kind: ChangeKind,
    /// Whether all replicas see it, so that only the one whose turn it is makes the change.
    pub is_shared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    /// The alert begins; the log may have it already.
    Begin {
        is_logged: bool,
    },
    /// The alert still fires.
    Confirm,
    End,
}

#[derive(Debug)]
struct Entry {
    condition: usize,
    episode: Episode,
    /// The alert of the episode since it fires.
    alert: Option<Alert>,
    confirmed: UnixMillis,
    /// Whether the episode was compared with what Redis has stored: until then, what is stored counts.
    is_compared: bool,
}

#[derive(Debug)]
pub(super) struct Board {
    conditions: Vec<Condition>,
    times: Times,
    instance: String,
    /// By condition and subject.
    entries: BTreeMap<String, Entry>,
    /// What other replicas report about themselves.
    others: Vec<Alert>,
    acks: BTreeMap<String, Acknowledgement>,
    /// The alerts that callers see, by id.
    shown: BTreeMap<String, Alert>,
}

impl Board {
    pub(super) fn new(conditions: Vec<Condition>, times: Times, instance: String) -> Self {
        let (entries, acks, shown) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { conditions, times, instance, entries, others: Vec::new(), acks, shown }
    }

    pub(super) fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Takes in the readings of a round. `sees_redis` says whether the servers were described: without them, their
    /// conditions stay as they are.
    pub(super) fn step(&mut self, readings: Vec<Reading>, sees_redis: bool, now: UnixMillis) {
        let mut read = Vec::with_capacity(readings.len());
        for Reading { condition: at, subject, value } in readings {
            let Some(condition) = self.conditions.get(at) else { continue };
            let subject = match condition.scope {
                Scope::Redis => subject,
                Scope::Replica => format!("{} {subject}", self.instance).trim_end().to_owned(),
            };
            let key = key(condition.name, &subject);
            let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
                condition: at,
                episode: Episode::quiet(),
                alert: None,
                confirmed: 0,
                is_compared: false,
            });
            entry.advance(condition, condition.limit.range(value), now, self.times);
            if entry.alert.is_none()
                && let Some(since) = entry.episode.firing_since()
            {
                entry.alert = Some(begin(condition, subject, value, since, self.instance.clone()));
            }
            read.push(key);
        }
        for (key, entry) in &mut self.entries {
            let Some(condition) = self.conditions.get(entry.condition) else { continue };
            // What is no longer measured is over.
            if !read.contains(key) && (condition.scope == Scope::Replica || sees_redis) {
                entry.advance(condition, Range::Under, now, self.times);
            }
        }
    }

    /// Compares the episodes with what Redis has stored. Returns what must change there.
    pub(super) fn reconcile(
        &mut self,
        stored: BTreeMap<String, StoredAlert>,
        acks: BTreeMap<String, Acknowledgement>,
        now: UnixMillis,
    ) -> Vec<Change> {
        (self.acks, self.others) = (acks, Vec::new());
        for entry in self.entries.iter_mut().filter(|(key, _)| !stored.contains_key(*key)).map(|(_, entry)| entry) {
            if entry.episode.is_stored {
                entry.episode.end_elsewhere();
                entry.alert = None;
            }
        }
        let mut changes: Vec<Change> =
            stored.into_iter().filter_map(|(key, alert)| self.compare(key, alert, now)).collect();
        for (key, entry) in &mut self.entries {
            entry.is_compared = true;
            let scope = self.conditions.get(entry.condition).map(|condition| condition.scope);
            let fires = entry.episode.firing_since().is_some() && !entry.episode.is_stored;
            if let Some(alert) = entry.alert.clone().filter(|_| fires) {
                let kind = ChangeKind::Begin { is_logged: entry.episode.is_logged };
                changes.push(Change { key: key.clone(), alert, kind, is_shared: scope == Some(Scope::Redis) });
            }
        }
        changes
    }

    /// Compares a stored alert with the episode.
    fn compare(&mut self, key: String, stored: StoredAlert, now: UnixMillis) -> Option<Change> {
        let StoredAlert { alert, seen } = stored;
        let end = |key, alert, is_shared| Some(Change { key, alert, kind: ChangeKind::End, is_shared });
        let known = self.conditions.iter().position(|condition| condition.name == alert.condition);
        // Another version of the service may know more conditions.
        let Some(condition) = known else {
            self.others.push(alert);
            return None;
        };
        let scope = self.conditions.get(condition).map(|condition| condition.scope);
        let is_own = scope == Some(Scope::Replica);
        if is_own && alert.instance != self.instance {
            if now - seen > GONE {
                return end(key, alert, true);
            }
            self.others.push(alert);
            return None;
        }
        let reported = || Entry {
            condition,
            episode: Episode::reported(alert.since),
            alert: None,
            confirmed: seen,
            is_compared: true,
        };
        let entry = self.entries.entry(key.clone()).or_insert_with(reported);
        if !entry.is_compared && entry.episode.firing_since().is_none() {
            entry.episode = Episode::reported(alert.since);
        }
        if entry.episode.firing_since().is_none() {
            return end(key, alert, !is_own);
        }
        (entry.episode.is_stored, entry.episode.is_logged) = (true, true);
        entry.alert = Some(alert.clone());
        if !is_own || now - entry.confirmed < CONFIRM {
            return None;
        }
        entry.confirmed = now;
        Some(Change { key, alert, kind: ChangeKind::Confirm, is_shared: false })
    }

    /// Notes that an alert is stored.
    pub(super) fn stored(&mut self, key: &str, now: UnixMillis) {
        if let Some(entry) = self.entries.get_mut(key) {
            (entry.episode.is_stored, entry.episode.is_logged, entry.confirmed) = (true, true, now);
        }
    }

    /// Notes that an alert is deleted.
    pub(super) fn ended(&mut self, key: &str) {
        if let Some(entry) = self.entries.get_mut(key) {
            (entry.episode, entry.alert) = (Episode::quiet(), None);
        }
    }

    /// The changes that this replica reports alone, since Redis is unavailable.
    pub(super) fn speak_alone(&mut self, now: UnixMillis) -> Vec<Alert> {
        let mut spoken = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| !entry.episode.is_stored) {
            let fires = entry.episode.firing_since().is_some();
            if fires && !entry.episode.is_logged {
                entry.episode.is_logged = true;
                spoken.extend(entry.alert.clone());
            } else if !fires && entry.episode.is_logged {
                entry.episode.is_logged = false;
                spoken.extend(entry.alert.take().map(|alert| resolved(alert, now)));
            }
        }
        spoken
    }

    /// Acknowledges an alert that is shown. Returns whether there is one.
    pub(super) fn acknowledge(&mut self, id: &str, ack: Acknowledgement) -> Option<Alert> {
        let alert = self.shown.get_mut(id)?;
        alert.acknowledged = Some(ack.clone());
        let alert = alert.clone();
        self.acks.insert(id.to_owned(), ack);
        Some(alert)
    }

    /// Shows the present alerts. Returns those that have begun or ended since the last call.
    pub(super) fn show(&mut self, now: UnixMillis) -> Vec<Alert> {
        let reported = |entry: &&Entry| entry.episode.is_stored || entry.episode.is_logged;
        let own = self.entries.values().filter(reported).filter_map(|entry| entry.alert.clone());
        let mut present: BTreeMap<String, Alert> =
            own.chain(self.others.iter().cloned()).map(|alert| (alert.id.clone(), alert)).collect();
        for (id, alert) in &mut present {
            alert.acknowledged = self.acks.get(id).filter(|ack| ack.until > now).cloned();
        }
        let begun = present.iter().filter(|(id, _)| !self.shown.contains_key(*id)).map(|(_, alert)| alert.clone());
        let ended = self.shown.iter().filter(|(id, _)| !present.contains_key(*id));
        let changes = begun.chain(ended.map(|(_, alert)| resolved(alert.clone(), now))).collect();
        self.shown = present;
        changes
    }

    /// The alerts that fire, the latest first.
    pub(super) fn alerts(&self) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = self.shown.values().cloned().collect();
        alerts.sort_by_key(|alert| std::cmp::Reverse(alert.since));
        alerts
    }
}

impl Entry {
    fn advance(&mut self, condition: &Condition, range: Range, now: UnixMillis, times: Times) {
        let hold = if matches!(condition.limit, Limit::Rise(_)) { 0 } else { times.hold };
        self.episode.step(range, now, Times { hold, ..times });
        if self.episode.is_quiet() && !self.episode.is_logged {
            self.alert = None;
        }
    }
}

/// An alert that has ended.
pub(super) fn resolved(alert: Alert, now: UnixMillis) -> Alert {
    Alert { status: Status::Resolved, ended: Some(now), ..alert }
}

fn key(condition: &str, subject: &str) -> String {
    format!("{condition}|{subject}")
}

fn begin(condition: &Condition, subject: String, value: f64, since: UnixMillis, instance: String) -> Alert {
    let minute = since.div_euclid(60_000);
    let digest = Sha256::digest(format!("{}|{minute}", key(condition.name, &subject)));
    Alert {
        id: random::hex(digest.get(..16).unwrap_or_default()),
        condition: condition.name.to_owned(),
        subject,
        severity: condition.severity,
        status: Status::Firing,
        summary: condition.summary.to_owned(),
        value,
        threshold: condition.limit.threshold(),
        since,
        ended: None,
        instance,
        acknowledged: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::conditions;
    use super::*;

    const TIMES: Times = Times { hold: 10_000, clear: 30_000 };

    fn board(instance: &str) -> Board {
        Board::new(conditions::all(0), TIMES, instance.to_owned())
    }

    fn full(value: f64) -> Vec<Reading> {
        let condition = conditions::all(0).iter().position(|condition| condition.name == "HighMemoryUsage");
        vec![Reading { condition: condition.expect("a condition"), subject: "state".to_owned(), value }]
    }

    /// Two replicas that see the same, with what Redis stores; every second round belongs to each.
    #[test]
    fn one_of_two_replicas_speaks_and_a_restarted_one_repeats_nothing() {
        let mut boards = [board("a"), board("b")];
        let (mut stored, mut begun, mut ended) = (BTreeMap::new(), 0, 0);
        for nth in 0..60_i64 {
            let now = nth * 5_000;
            if nth == 20 {
                boards[1] = board("b");
            }
            for (at, board) in boards.iter_mut().enumerate() {
                board.step(full(if nth < 40 { 0.9 } else { 0.1 }), true, now);
                let has_turn = usize::try_from(nth).expect("positive") % 2 == at;
                let changes = board.reconcile(stored.clone(), BTreeMap::new(), now);
                for Change { key, alert, kind, .. } in changes.into_iter().filter(|_| has_turn) {
                    match kind {
                        ChangeKind::Begin { .. } => {
                            begun += 1;
                            board.stored(&key, now);
                            stored.insert(key, StoredAlert { alert, seen: now });
                        }
                        ChangeKind::End => {
                            ended += 1;
                            board.ended(&key);
                            stored.remove(&key);
                        }
                        ChangeKind::Confirm => {}
                    }
                }
                board.show(now);
            }
        }
        assert_eq!((begun, ended, stored.len()), (1, 1, 0));
        assert!(boards.iter().all(|board| board.alerts().is_empty()));
    }

    #[test]
    fn replicas_without_redis_give_an_episode_the_same_id() {
        let ids = ["a", "b"].map(|instance| {
            let mut board = board(instance);
            for now in [0, 5_000, 10_000] {
                board.step(full(0.9), true, now);
            }
            let spoken = board.speak_alone(10_000);
            assert!(board.speak_alone(15_000).is_empty(), "once");
            spoken.into_iter().map(|alert| alert.id).collect::<Vec<_>>()
        });
        assert!(ids[0].len() == 1 && ids[0] == ids[1], "{ids:?}");
    }

    #[test]
    fn alerts_of_a_replica_that_is_gone_end() {
        let mut board = board("a");
        let alert = begin(&conditions::all(0)[17], "gone task".to_owned(), 1.0, 0, "gone".to_owned());
        let stored = BTreeMap::from([("TaskFailing|gone task".to_owned(), StoredAlert { alert, seen: 0 })]);
        assert!(board.reconcile(stored.clone(), BTreeMap::new(), 10_000).is_empty());
        board.show(10_000);
        assert_eq!(board.alerts().len(), 1, "the alerts of other replicas are shown");
        let changes = board.reconcile(stored, BTreeMap::new(), GONE + 1);
        assert!(matches!(changes.as_slice(), [Change { kind: ChangeKind::End, .. }]), "{changes:?}");
    }
}
