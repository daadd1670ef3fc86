//! The model of a channel, and of what one client may observe of it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::super::socket::number;

/// The most messages of a page of the history. A page with fewer ends where the channel does.
pub const PAGE: usize = 100;

/// A position in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    pub epoch: String,
    pub offset: u64,
}

impl Position {
    pub fn new(epoch: &str, offset: u64) -> Self {
        Self { epoch: epoch.to_owned(), offset }
    }

    /// The position in an object with `epoch` and `offset`.
    pub fn of(value: &Value) -> Self {
        let epoch = value["epoch"].as_str().unwrap_or_else(|| panic!("{value}"));
        Self::new(epoch, value["offset"].as_u64().unwrap_or_else(|| panic!("{value}")))
    }
}

/// The messages of a channel whose publication was confirmed.
#[derive(Debug, Default)]
pub struct Published {
    /// In their order, with their numbers. The first is the position at which the clients begin.
    messages: Vec<(Position, u64)>,
    /// The epochs, in their order.
    epochs: Vec<String>,
    /// The messages that were sent more than once, because the publisher did not know their outcome.
    repeated: HashSet<u64>,
}

impl Published {
    pub fn begin(start: Position) -> Self {
        let mut published = Self::default();
        published.add(start, u64::MAX, 1);
        published
    }

    pub fn add(&mut self, position: Position, number: u64, sent: usize) {
        if self.epochs.last() != Some(&position.epoch) {
            self.epochs.push(position.epoch.clone());
        }
        if sent > 1 {
            self.repeated.insert(number);
        }
        self.messages.push((position, number));
    }

    pub fn start(&self) -> &Position {
        &self.messages.first().expect("a beginning").0
    }

    pub fn end(&self) -> &Position {
        &self.messages.last().expect("an end").0
    }

    /// Messages whose offset is not above that of the message before, which was confirmed before they were sent.
    pub fn backwards(&self) -> Vec<String> {
        let falls = |pair: &&[(Position, u64)]| pair[1].0.offset <= pair[0].0.offset;
        self.messages.windows(2).filter(falls).map(|pair| format!("{:?} after {:?}", pair[1], pair[0])).collect()
    }

    fn epoch_number(&self, epoch: &str) -> Option<usize> {
        self.epochs.iter().position(|known| known == epoch)
    }
}

/// Messages that a client knows it did not receive: those after `after`, up to `to`.
#[derive(Debug)]
struct Gap {
    after: Position,
    to: Position,
}

/// What one client has observed.
#[derive(Debug)]
pub struct Observer {
    name: String,
    pub position: Position,
    /// Whether the client has been subscribed.
    pub listens: bool,
    /// The numbers of the received messages, by position.
    received: HashMap<Position, u64>,
    gaps: Vec<Gap>,
    /// The first observation that the guarantees exclude.
    violation: Option<String>,
}

impl Observer {
    pub fn new(name: String, start: Position) -> Self {
        let (received, gaps) = (HashMap::new(), Vec::new());
        Self { name, position: start, listens: false, received, gaps, violation: None }
    }

    /// A message must follow the one before without a hole.
    pub fn message(&mut self, next: Position, number: u64) {
        if next.epoch != self.position.epoch || next.offset != self.position.offset + 1 {
            self.violate(format!("{next:?} after {:?}", self.position));
        }
        self.received.insert(next.clone(), number);
        self.position = next;
    }

    /// A gap must begin behind the last message.
    pub fn gap(&mut self, from: u64, to: Position) {
        if from != self.position.offset + 1 {
            self.violate(format!("a gap from {from} to {to:?} after {:?}", self.position));
        }
        self.skip_to(to);
    }

    /// The client did not recover: everything up to `to` may be missing.
    pub fn skip_to(&mut self, to: Position) {
        if to.epoch == self.position.epoch && to.offset < self.position.offset {
            self.violate(format!("the subscription goes back to {to:?} after {:?}", self.position));
        }
        self.gaps.push(Gap { after: self.position.clone(), to: to.clone() });
        self.position = to;
    }

    /// A page of the history that begins behind the last message.
    pub fn page(&mut self, page: &Value) {
        let items = page["items"].as_array().expect("items");
        self.listens = true;
        if page["recovered"] == false {
            let first = items.first().map(Position::of);
            let before_first = first.map(|first| Position { offset: first.offset - 1, ..first });
            self.skip_to(before_first.unwrap_or_else(|| Position::of(page)));
        }
        for message in items {
            self.message(Position::of(message), number(message));
        }
        let next = Position::of(page);
        if items.len() < PAGE && next != self.position {
            self.violate(format!("the next poll begins at {next:?}, the messages end at {:?}", self.position));
        }
    }

    pub fn violate(&mut self, wrong: String) {
        self.violation.get_or_insert(wrong);
    }

    pub fn has_violation(&self) -> bool {
        self.violation.is_some()
    }

    pub fn received(&self) -> usize {
        self.received.len()
    }

    pub fn gaps(&self) -> usize {
        self.gaps.len()
    }

    /// Checks that the client has seen the whole channel: each message once, or in a gap.
    pub fn verify(&self, published: &Published) -> Result<(), String> {
        self.verify_until(published, published.end())
    }

    /// Checks what the client has seen of the channel up to `end`, where the client is.
    pub fn verify_until(&self, published: &Published, end: &Position) -> Result<(), String> {
        let fail =
            |wrong: String| Err(format!("{}: {wrong}; {} messages, gaps {:?}", self.name, self.received(), self.gaps));
        if let Some(violation) = &self.violation {
            return fail(violation.clone());
        }
        if self.position != *end {
            return fail(format!("it is at {:?}, the channel at {end:?}", self.position));
        }
        let last = published.messages.iter().position(|(position, _)| position == end).unwrap_or_default();
        for (position, number) in published.messages.iter().take(last + 1).skip(1) {
            match self.received.get(position) {
                Some(received) if received == number => {}
                Some(received) => return fail(format!("{position:?} is {received}, but {number} was published")),
                None if self.gaps.iter().any(|gap| gap.covers(position, published)) => {}
                None => return fail(format!("{position:?} is missing")),
            }
        }
        let mut numbers = HashSet::new();
        match self.received.values().find(|number| !numbers.insert(**number) && !published.repeated.contains(number)) {
            Some(twice) => fail(format!("message {twice} of one publication was received twice")),
            None => Ok(()),
        }
    }
}

impl Gap {
    fn covers(&self, position: &Position, published: &Published) -> bool {
        let number = |epoch: &str| published.epoch_number(epoch);
        let (at, after, to) = (number(&position.epoch), number(&self.after.epoch), number(&self.to.epoch));
        let is_behind = at > after || at == after && position.offset > self.after.offset;
        let is_before_end = at < to || at == to && position.offset <= self.to.offset;
        is_behind && is_before_end
    }
}

#[test]
fn offsets_that_do_not_rise_are_found() {
    let published = |offsets: &[u64]| {
        let mut published = Published::begin(Position::new("a", 1));
        for &offset in offsets {
            published.add(Position::new("b", offset), offset, 1);
        }
        published.backwards()
    };
    assert!(published(&[2, 4]).is_empty());
    assert_eq!(published(&[1]).len(), 1, "a new epoch does not begin again");
    assert_eq!(published(&[3, 3, 2]).len(), 2);
}

#[test]
fn only_complete_observations_pass() {
    let at = |offset| Position::new("a", offset);
    let mut published = Published::begin(at(0));
    (1..=5).for_each(|offset| published.add(at(offset), offset, 1));
    let observe = |steps: &[(u64, u64)]| {
        let mut observer = Observer::new("a client".to_owned(), at(0));
        for &(from, to) in steps {
            if from == to { observer.message(at(to), to) } else { observer.gap(from, at(to)) }
        }
        observer.verify(&published)
    };
    observe(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]).expect("each message");
    observe(&[(1, 1), (2, 4), (5, 5)]).expect("a gap covers what is missing");
    for (wrong, steps) in [
        ("a missing message", &[(1, 1), (2, 2), (4, 4), (5, 5)][..]),
        ("a repeated message", &[(1, 1), (2, 2), (2, 2), (3, 3), (4, 4), (5, 5)]),
        ("two messages in another order", &[(1, 1), (3, 3), (2, 2), (4, 4), (5, 5)]),
        ("a gap that covers a received message", &[(1, 1), (2, 2), (2, 4), (5, 5)]),
        ("a gap that covers too little", &[(1, 1), (3, 4), (5, 5)]),
        ("the end is missing", &[(1, 1), (2, 2), (3, 3)]),
    ] {
        assert!(observe(steps).is_err(), "{wrong}");
    }
}
