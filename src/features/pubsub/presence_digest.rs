//! Who joined and left a channel, for its subscribers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::events::{ChannelName, Member};

/// The most bytes of the clients that a digest names.
const DIGEST_BYTES: usize = 16 << 10;

/// What changed in a channel since the last digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PresenceDigest {
    pub channel: ChannelName,
    pub joined: Vec<Member>,
    pub left: Vec<Member>,
    /// The clients of the channel.
    pub count: usize,
    /// Clients that joined or left are missing in the lists; `count` includes them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl PresenceDigest {
    /// Adds what changed later.
    pub(super) fn merge(&mut self, later: Self) {
        self.joined.extend(later.joined);
        self.left.extend(later.left);
        self.count = later.count;
        self.truncated |= later.truncated;
        self.shorten();
    }

    /// Leaves out what does not fit into a digest.
    pub(super) fn shorten(&mut self) {
        for list in [&mut self.joined, &mut self.left] {
            let fitting = fitting(list, DIGEST_BYTES / 2);
            self.truncated |= fitting < list.len();
            list.truncate(fitting);
        }
    }
}

/// How many of the members have at most `limit` bytes as JSON, roughly.
pub(super) fn fitting(members: &[Member], limit: usize) -> usize {
    let mut bytes = 0;
    let fits = |member: &&Member| {
        bytes += member.client.len() + member.subject.len() + 32;
        bytes <= limit
    };
    members.iter().take_while(fits).count()
}

/// The digests of one channel at this replica.
#[derive(Debug, Default)]
pub(super) struct PresenceFeed(Mutex<FeedState>);

#[derive(Debug, Default)]
struct FeedState {
    /// What is not delivered yet.
    pending: Option<PresenceDigest>,
    last: Option<Arc<PresenceDigest>>,
    /// How many digests were delivered.
    count: u64,
}

impl PresenceFeed {
    /// Takes what changed at some replica.
    pub(super) fn note(&self, digest: PresenceDigest) {
        let mut state = self.lock();
        match &mut state.pending {
            Some(pending) => pending.merge(digest),
            None => state.pending = Some(digest),
        }
    }

    /// Makes what changed since the last call the last digest. Returns whether something changed.
    pub(super) fn release(&self) -> bool {
        let mut state = self.lock();
        let Some(digest) = state.pending.take() else { return false };
        state.last = Some(Arc::new(digest));
        state.count += 1;
        true
    }

    /// The last digest, and how many there were.
    pub(super) fn last(&self) -> (Option<Arc<PresenceDigest>>, u64) {
        let state = self.lock();
        (state.last.clone(), state.count)
    }

    fn lock(&self) -> MutexGuard<'_, FeedState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(joined: &[&str], count: usize) -> PresenceDigest {
        let member = |client: &&str| Member { client: (*client).to_owned(), subject: String::new() };
        let channel = ChannelName::parse("a").expect("a name");
        PresenceDigest { channel, joined: joined.iter().map(member).collect(), left: vec![], count, truncated: false }
    }

    #[test]
    fn digests_are_merged_until_they_are_released() {
        let feed = PresenceFeed::default();
        assert!(!feed.release());
        feed.note(digest(&["x"], 1));
        feed.note(digest(&["y"], 2));
        assert!(feed.release() && !feed.release());
        let (last, count) = feed.last();
        assert_eq!((last.as_deref(), count), (Some(&digest(&["x", "y"], 2)), 1));
    }

    #[test]
    fn a_digest_names_only_as_many_clients_as_fit() {
        let long = "x".repeat(5_000);
        let mut merged = digest(&[&long], 1);
        merged.merge(digest(&[&long, &long], 3));
        assert_eq!((merged.joined.len(), merged.count, merged.truncated), (1, 3, true));
    }
}
