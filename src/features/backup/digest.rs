//! Digests of values that do not depend on how Redis stores them: two servers with the same data have the same digests.
//!
//! Members without an order are hashed one by one and their hashes added, so that nothing is sorted.

use sha2::{Digest, Sha256};

use super::lzf;
use crate::random::hex;

/// A sum of digests, modulo 2^256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum([u64; 4]);

impl Sum {
    pub(super) fn add(&mut self, digest: &[u8; 32]) {
        let (words, _) = digest.as_chunks::<8>();
        let mut carry = false;
        for (word, added) in self.0.iter_mut().zip(words) {
            let (sum, over) = word.overflowing_add(u64::from_le_bytes(*added));
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, over || again);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(super) fn hex(&self) -> String {
        hex(&self.bytes())
    }
}

/// The digest of one value, built member by member.
#[derive(Debug)]
pub(super) struct ValueDigest {
    ordered: Sha256,
    unordered: Sum,
}

impl ValueDigest {
    /// The value of a key. `kind` is the name that TYPE returns.
    pub(super) fn new(key: &[u8], kind: &str) -> Self {
        let mut digest = Self { ordered: Sha256::new(), unordered: Sum::default() };
        digest.next(&[key, kind.as_bytes()]);
        digest
    }

    /// The next member of a value with an order.
    pub(super) fn next(&mut self, parts: &[&[u8]]) {
        self.ordered.update(one(parts));
    }

    /// A member of a value without an order.
    pub(super) fn member(&mut self, parts: &[&[u8]]) {
        self.unordered.add(&one(parts));
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.ordered.chain_update(self.unordered.bytes()).finalize().into()
    }
}

/// The hash of parts that cannot be mistaken for other parts.
fn one(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A score as the digests have it.
pub(super) fn score(score: f64) -> [u8; 8] {
    // Both zeros are equal.
    (score + 0.0).to_bits().to_le_bytes()
}

/// The digest of a value in the form of DUMP, without its footer; `None` for modules and old encodings.
pub(super) fn of_stored(key: &[u8], value: &[u8]) -> Option<[u8; 32]> {
    let (&kind, rest) = value.split_first()?;
    let mut input = Input(rest);
    let digest = match kind {
        0 => {
            let mut digest = ValueDigest::new(key, "string");
            digest.next(&[&input.string()?]);
            digest
        }
        1 | 18 => {
            let mut digest = ValueDigest::new(key, "list");
            for _ in 0..input.length()? {
                // A node of a quicklist is one long member, or a listpack.
                if kind == 18 && input.length()? == 2 {
                    for member in listpack(&input.string()?)? {
                        digest.next(&[&member]);
                    }
                } else {
                    digest.next(&[&input.string()?]);
                }
            }
            digest
        }
        2 | 11 | 20 => {
            let mut digest = ValueDigest::new(key, "set");
            let members = match kind {
                2 => input.strings(1)?,
                11 => intset(&input.string()?)?,
                _ => listpack(&input.string()?)?,
            };
            for member in &members {
                digest.member(&[member]);
            }
            digest
        }
        4 | 16 => {
            let mut digest = ValueDigest::new(key, "hash");
            let pairs = if kind == 4 { input.strings(2)? } else { listpack(&input.string()?)? };
            let (pairs, []) = pairs.as_chunks::<2>() else { return None };
            for [field, value] in pairs {
                digest.member(&[field, value]);
            }
            digest
        }
        5 => {
            let mut digest = ValueDigest::new(key, "zset");
            for _ in 0..input.length()? {
                let member = input.string()?;
                digest.member(&[&member, &score(f64::from_le_bytes(input.array()?))]);
            }
            digest
        }
        17 => {
            let mut digest = ValueDigest::new(key, "zset");
            let pairs = listpack(&input.string()?)?;
            let (pairs, []) = pairs.as_chunks::<2>() else { return None };
            for [member, text] in pairs {
                digest.member(&[member, &score(number(text)?)]);
            }
            digest
        }
        15 | 19 | 21 => return stream(key, kind, input),
        _ => return None,
    };
    input.0.is_empty().then(|| digest.finish())
}

/// The integer that is stored as a string, as text; `None` for any other value.
pub(super) fn stored_integer(value: &[u8]) -> Option<String> {
    let (&kind, rest) = value.split_first()?;
    let mut input = Input(rest);
    let text = String::from_utf8(input.string()?).ok()?;
    (kind == 0 && input.0.is_empty() && text.parse::<u64>().is_ok()).then_some(text)
}

/// A number in text.
fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The digest of a stream: its entries in their order, its last id, and the groups with the last ids they were given.
fn stream(key: &[u8], kind: u8, mut input: Input<'_>) -> Option<[u8; 32]> {
    let mut digest = ValueDigest::new(key, "stream");
    for _ in 0..input.length()? {
        let master = input.string()?;
        let (ms, seq) = master.split_first_chunk()?;
        let (ms, seq) = (u64::from_be_bytes(*ms), u64::from_be_bytes(seq.try_into().ok()?));
        entries(&mut digest, ms, seq, &listpack(&input.string()?)?)?;
    }
    input.length()?;
    let last = format!("{}-{}", input.length()?, input.length()?);
    digest.next(&[b"last", last.as_bytes()]);
    if kind != 15 {
        (0..5).try_for_each(|_| input.length().map(|_| ()))?;
    }
    for _ in 0..input.length()? {
        let name = input.string()?;
        let last = format!("{}-{}", input.length()?, input.length()?);
        digest.member(&[b"group", &name, last.as_bytes()]);
        if kind != 15 {
            input.length()?;
        }
        for _ in 0..input.length()? {
            input.take(24)?;
            input.length()?;
        }
        for _ in 0..input.length()? {
            input.string()?;
            input.take(if kind == 21 { 16 } else { 8 })?;
            let pending = usize::try_from(input.length()?).ok()?;
            input.take(pending.checked_mul(16)?)?;
        }
    }
    input.0.is_empty().then(|| digest.finish())
}

/// The entries of a node: those that are not deleted, with their ids relative to the node's.
fn entries(digest: &mut ValueDigest, ms: u64, seq: u64, items: &[Vec<u8>]) -> Option<()> {
    let mut items = items.iter();
    let count: usize = number(items.next()?)?;
    let deleted: usize = number(items.next()?)?;
    let shared: usize = number(items.next()?)?;
    let names: Vec<&Vec<u8>> = items.by_ref().take(shared).collect();
    // The end of the node's own entry.
    items.next()?;
    for _ in 0..count.checked_add(deleted)? {
        let flags: u8 = number(items.next()?)?;
        let (ms_more, seq_more): (i64, i64) = (number(items.next()?)?, number(items.next()?)?);
        let id = format!("{}-{}", ms.wrapping_add_signed(ms_more), seq.wrapping_add_signed(seq_more));
        let mut parts: Vec<&[u8]> = vec![id.as_bytes()];
        if flags & 2 == 2 {
            for name in &names {
                parts.extend([name.as_slice(), items.next()?]);
            }
        } else {
            let fields: usize = number(items.next()?)?;
            for _ in 0..fields.checked_mul(2)? {
                parts.push(items.next()?);
            }
        }
        items.next()?;
        if flags & 1 == 0 {
            digest.next(&parts);
        }
    }
    Some(())
}

/// The members of a listpack; integers as decimal text.
///
/// Source: `listpack.c` of Redis.
fn listpack(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut input = Input(bytes);
    input.take(6)?;
    let mut members = Vec::new();
    loop {
        let start = input.0.len();
        let first = input.byte()?;
        let text = |number: i64| number.to_string().into_bytes();
        let member = match first {
            0..=0x7F => text(i64::from(first)),
            0x80..=0xBF => input.take(usize::from(first & 0x3F))?.to_vec(),
            0xC0..=0xDF => {
                let bits = i64::from(first & 0x1F) << 8 | i64::from(input.byte()?);
                text(if bits < 1 << 12 { bits } else { bits - (1 << 13) })
            }
            0xE0..=0xEF => {
                let length = usize::from(first & 0x0F) << 8 | usize::from(input.byte()?);
                input.take(length)?.to_vec()
            }
            0xF0 => {
                let length = u32::from_le_bytes(input.array()?);
                input.take(usize::try_from(length).ok()?)?.to_vec()
            }
            0xF1 => text(i64::from(i16::from_le_bytes(input.array()?))),
            0xF2 => {
                let [low, middle, high]: [u8; 3] = input.array()?;
                text(i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8))
            }
            0xF3 => text(i64::from(i32::from_le_bytes(input.array()?))),
            0xF4 => text(i64::from_le_bytes(input.array()?)),
            0xFF => return input.0.is_empty().then_some(members),
            _ => return None,
        };
        // The length of the member again, in 7 bits a byte, for walks from the end.
        input.take(match start - input.0.len() {
            0..=127 => 1,
            128..=16_382 => 2,
            16_383..=2_097_150 => 3,
            2_097_151..=268_435_454 => 4,
            _ => 5,
        })?;
        members.push(member);
    }
}

/// The members of an intset, as decimal text.
fn intset(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (width, rest) = bytes.split_first_chunk()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let width = usize::try_from(u32::from_le_bytes(*width)).ok().filter(|width| matches!(width, 2 | 4 | 8))?;
    let number = |member: &[u8]| {
        Some(match width {
            2 => i64::from(i16::from_le_bytes(member.try_into().ok()?)),
            4 => i64::from(i32::from_le_bytes(member.try_into().ok()?)),
            _ => i64::from_le_bytes(member.try_into().ok()?),
        })
    };
    rest.chunks(width).map(|member| Some(number(member)?.to_string().into_bytes())).collect()
}

/// A stored value that is read from its beginning.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        let [byte] = self.array()?;
        Some(byte)
    }

    fn length(&mut self) -> Option<u64> {
        let first = self.byte()?;
        match first >> 6 {
            0 => Some(u64::from(first)),
            1 => Some(u64::from(u16::from_be_bytes([first & 0x3F, self.byte()?]))),
            2 if first == 0x80 => Some(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == 0x81 => Some(u64::from_be_bytes(self.array()?)),
            _ => None,
        }
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let text = |number: i64| Some(number.to_string().into_bytes());
        match self.0.first()? {
            0xC0 => text(i64::from(i8::from_le_bytes(self.skip_one()?.array()?))),
            0xC1 => text(i64::from(i16::from_le_bytes(self.skip_one()?.array()?))),
            0xC2 => text(i64::from(i32::from_le_bytes(self.skip_one()?.array()?))),
            0xC3 => {
                self.byte()?;
                let (packed, size) = (self.length()?, self.length()?);
                lzf::unpack(self.take(usize::try_from(packed).ok()?)?, usize::try_from(size).ok()?)
            }
            _ => {
                let size = self.length()?;
                Some(self.take(usize::try_from(size).ok()?)?.to_vec())
            }
        }
    }

    fn skip_one(&mut self) -> Option<&mut Self> {
        self.byte()?;
        Some(self)
    }

    /// A count, and so many times `each` strings.
    fn strings(&mut self, each: u64) -> Option<Vec<Vec<u8>>> {
        let count = self.length()?.checked_mul(each)?;
        (0..count).map(|_| self.string()).collect()
    }
}
