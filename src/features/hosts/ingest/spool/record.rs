//! One record of the spool: samples of a host that arrived together.

use xxhash_rust::xxh3::xxh3_64;

use crate::features::hosts::model::HostId;
use crate::features::hosts::sample::Sample;
use crate::features::hosts::store::chunk;
use crate::features::hosts::tenancy::Organisation;

/// Bytes before a record's content: its length and its checksum.
const HEAD: usize = 12;

/// Samples of a host, and the host's owner.
#[derive(Debug, PartialEq)]
pub(in crate::features::hosts) struct SpoolRecord {
    pub host: HostId,
    pub owner: Organisation,
    pub samples: Vec<Sample>,
}

/// The bytes of a record; `None` if there are no samples, or too many.
pub(super) fn encode(host: &HostId, owner: &Organisation, samples: &[Sample]) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(64 + 160 * samples.len());
    for text in [host.as_str(), owner.as_str()] {
        content.extend_from_slice(&u16::try_from(text.len()).ok()?.to_be_bytes());
        content.extend_from_slice(text.as_bytes());
    }
    content.extend_from_slice(&chunk::encode(samples).ok()?);
    let mut record = Vec::with_capacity(HEAD + content.len());
    record.extend_from_slice(&u32::try_from(content.len()).ok()?.to_be_bytes());
    record.extend_from_slice(&xxh3_64(&content).to_be_bytes());
    record.extend_from_slice(&content);
    Some(record)
}

/// The content of the first record and the bytes after it; `None` if no intact record starts here.
pub(super) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let (content, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    (xxh3_64(content) == u64::from_be_bytes(*sum)).then_some((content, rest))
}

/// The record with this content; `None` if the format is unknown.
pub(super) fn decode(content: &[u8]) -> Option<SpoolRecord> {
    let (host, rest) = text(content)?;
    let (owner, chunk) = text(rest)?;
    let (host, owner) = (HostId::stored(host)?, Organisation::new(owner));
    Some(SpoolRecord { host, owner, samples: chunk::decode(chunk).ok()? })
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_round_trips_and_a_truncated_or_damaged_one_is_rejected() {
        let (host, owner) = (HostId::new("web-1").expect("a name"), Organisation::new("o"));
        let samples =
            [Sample { timestamp: 9, seq: 2, ..Sample::default() }, Sample { timestamp: 3, ..Sample::default() }];
        let one = encode(&host, &owner, &samples).expect("a record");
        let two = [one.clone(), one.clone()].concat();
        let (content, rest) = split(&two).expect("a record");
        assert_eq!(decode(content), Some(SpoolRecord { host, owner, samples: samples.to_vec() }));
        assert_eq!(rest, one);
        for cut in 0..one.len() {
            assert!(split(one.get(..cut).expect("shorter")).is_none(), "{cut}");
        }
        for at in 4..one.len() {
            let mut damaged = one.clone();
            *damaged.get_mut(at).expect("a byte") ^= 1;
            assert!(split(&damaged).is_none(), "{at}");
        }
    }
}
