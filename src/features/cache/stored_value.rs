//! The bytes of a value in Redis.
//!
//! A JSON body without tags is stored exactly as it was sent, so that `redis-cli GET user:profile:1` prints JSON and
//! other services can read it. Everything else is stored in an envelope, also what is called JSON and does not begin like it:
//!
//! | bytes | meaning |
//! |---|---|
//! | 4 | magic: `0x00`, `g`, `c`, version 1 |
//! | 2 | offset of the content, big endian |
//! | 1 | number of tags |
//! | per tag 1 + n + 8 | length, the tag, its generation (big endian) when the value was written |
//! | 1 + n | the content starts here: length of the Content-Type, the Content-Type |
//! | the rest | the body |

use bytes::{Buf, BufMut, Bytes};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::error::CacheError;
use super::model::{CONTENT_TYPE_LIMIT, Tag};
use crate::http::conditional::ETag;

/// The first byte is zero, with which neither JSON nor a number begins.
const MAGIC: &[u8; 4] = b"\0gc\x01";
const TAGS_AT: usize = 6;

/// The type of values that are stored without an envelope.
pub(super) const JSON: &str = "application/json";
/// The type that marks a value which the source does not have. Its first tag has a generation that no tag ever has: scripts
/// and former versions take it for a value with an invalidated tag.
const ABSENT: &[u8] = b"application/vnd.gtx.absent";
/// The generation of that tag.
pub(super) const NO_GENERATION: u64 = 0;
/// The most tags that a value and its mark have room for.
pub(super) const MOST_TAGS: usize = 254;
/// The type of other text that is stored without an envelope.
const TEXT: &str = "text/plain; charset=utf-8";
/// The type of bodies that are sent without a Content-Type.
pub(super) const BINARY: &str = "application/octet-stream";

/// A value as Redis stores it, parsed without copying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredValue {
    raw: Bytes,
    content_type: ContentType,
    body_at: usize,
    tag_count: usize,
}

/// A body's media type as it was sent: printable ASCII, at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ContentType {
    Json,
    Other(Bytes),
}

impl ContentType {
    /// # Errors
    /// The rule that the text violates.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        if text == JSON.as_bytes() {
            return Ok(Self::Json);
        }
        if text.is_empty() || text.len() > CONTENT_TYPE_LIMIT {
            return Err(format!("must have 1 to {CONTENT_TYPE_LIMIT} bytes"));
        }
        if !text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err("must be visible ASCII".to_owned());
        }
        if text.eq_ignore_ascii_case(ABSENT) {
            return Err("must not be the type that marks absent values".to_owned());
        }
        Ok(Self::Other(Bytes::copy_from_slice(text)))
    }

    /// The type of bytes without an envelope, which another program may have stored.
    fn of_plain(raw: &[u8]) -> Self {
        if is_like_json(raw) {
            Self::Json
        } else if std::str::from_utf8(raw).is_ok() {
            Self::Other(Bytes::from_static(TEXT.as_bytes()))
        } else {
            Self::binary()
        }
    }

    pub(super) fn binary() -> Self {
        Self::Other(Bytes::from_static(BINARY.as_bytes()))
    }

    /// Whether the body is meant to be JSON: `application/json` with or without parameters, or a `+json` type.
    pub(super) fn is_json(&self) -> bool {
        let Self::Other(text) = self else { return true };
        let essence = text.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let suffix = essence.len().checked_sub(5).and_then(|at| essence.get(at..)).unwrap_or_default();
        essence.eq_ignore_ascii_case(JSON.as_bytes()) || suffix.eq_ignore_ascii_case(b"+json")
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json => JSON.as_bytes(),
            Self::Other(text) => text,
        }
    }
}

impl StoredValue {
    /// Encodes a value for Redis. `tags` include the generations under which the value is valid.
    pub(super) fn encode(content_type: ContentType, body: Bytes, tags: &[(Tag, u64)]) -> Self {
        if content_type == ContentType::Json && tags.is_empty() && is_like_json(&body) {
            return Self { raw: body, content_type, body_at: 0, tag_count: 0 };
        }
        let tags_length: usize = tags.iter().map(|(tag, _)| 1 + tag.as_str().len() + 8).sum();
        let content_at = TAGS_AT + 1 + tags_length;
        let text = content_type.as_bytes();
        let body_at = content_at + 1 + text.len();
        let mut raw = Vec::with_capacity(body_at + body.len());
        raw.put_slice(MAGIC);
        raw.put_u16(u16::try_from(content_at).unwrap_or(u16::MAX));
        raw.put_u8(length_byte(tags.len()));
        for (tag, generation) in tags {
            raw.put_u8(length_byte(tag.as_str().len()));
            raw.put_slice(tag.as_str().as_bytes());
            raw.put_u64(*generation);
        }
        raw.put_u8(length_byte(text.len()));
        raw.put_slice(text);
        raw.put_slice(&body);
        Self { raw: Bytes::from(raw), content_type, body_at, tag_count: tags.len() }
    }

    /// A mark that the source has no such value. `tags` are those under which it is valid, with their generations.
    pub(super) fn absent(tags: &[(Tag, u64)]) -> Result<Self, String> {
        let marker = (Tag::try_from("absent".to_owned())?, NO_GENERATION);
        let tags = [&[marker], tags].concat();
        Ok(Self::encode(ContentType::Other(Bytes::from_static(ABSENT)), Bytes::new(), &tags))
    }

    /// Whether this is only a mark that the source has no such value.
    pub(super) fn is_absent(&self) -> bool {
        self.content_type.as_bytes() == ABSENT
    }

    /// Parses the bytes from Redis.
    ///
    /// # Errors
    /// [`CacheError::UnknownFormat`] for an envelope that is damaged or of a later version.
    pub(super) fn decode(raw: Bytes) -> Result<Self, CacheError> {
        Self::parse(raw).ok_or(CacheError::UnknownFormat)
    }

    fn parse(raw: Bytes) -> Option<Self> {
        if raw.first() != MAGIC.first() {
            let content_type = ContentType::of_plain(&raw);
            return Some(Self { raw, content_type, body_at: 0, tag_count: 0 });
        }
        let mut rest = raw.strip_prefix(MAGIC)?;
        let content_at = usize::from(rest.try_get_u16().ok()?);
        let tag_count = usize::from(rest.try_get_u8().ok()?);
        for _ in 0..tag_count {
            take_tag(&mut rest)?;
        }
        if raw.len() - rest.len() != content_at {
            return None;
        }
        let text = take_text(&mut rest)?;
        let content_type =
            if text == JSON.as_bytes() { ContentType::Json } else { ContentType::Other(raw.slice_ref(text)) };
        let body_at = raw.len() - rest.len();
        Some(Self { raw, content_type, body_at, tag_count })
    }

    pub(super) fn content_type(&self) -> &ContentType {
        &self.content_type
    }

    pub(super) fn body(&self) -> Bytes {
        self.raw.slice(self.body_at..)
    }

    /// The exact bytes in Redis.
    pub(super) fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The tags and the generations under which the value is valid.
    pub(super) fn tags(&self) -> Vec<(Tag, u64)> {
        let mut rest = self.raw.get(TAGS_AT + 1..).unwrap_or_default();
        (0..self.tag_count).map_while(|_| take_tag(&mut rest)).collect()
    }

    /// Derived from Content-Type and body alone: the type seeds the hash of the body (XXH3, 128 bits).
    pub(super) fn etag(&self) -> ETag {
        let body = self.raw.get(self.body_at..).unwrap_or_default();
        ETag(xxh3_128_with_seed(body, xxh3_64(self.content_type.as_bytes())))
    }

    /// SHA-1 of the exact bytes, hexadecimal. Scripts use it to detect whether the value has changed.
    pub(super) fn digest(&self) -> String {
        sha1_smol::Sha1::from(&self.raw).digest().to_string()
    }
}

/// Whether bytes begin as JSON does. The rest of objects, lists and texts is not parsed: large ones are read often.
fn is_like_json(raw: &[u8]) -> bool {
    match raw.trim_ascii_start().first() {
        Some(b'{' | b'[' | b'"') => true,
        // Parsing ends behind the number or the word.
        Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => serde_json::from_slice::<serde::de::IgnoredAny>(raw).is_ok(),
        _ => false,
    }
}

/// Every length was limited to a byte when it was parsed.
fn length_byte(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// A length byte followed by that many bytes.
fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = rest.try_get_u8().ok()?;
    rest.split_off(..usize::from(length))
}

/// A tag followed by its generation.
fn take_tag(rest: &mut &[u8]) -> Option<(Tag, u64)> {
    let text = std::str::from_utf8(take_text(rest)?).ok()?.to_owned();
    Some((Tag::try_from(text).ok()?, rest.try_get_u64().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tag(text: &str) -> Tag {
        Tag::try_from(text.to_owned()).expect("a tag")
    }

    #[test]
    fn untagged_json_is_stored_unchanged() {
        let body = Bytes::from_static(b"{\"a\": 1}");
        let value = StoredValue::encode(ContentType::Json, body.clone(), &[]);
        assert_eq!(value.raw(), &body);
        assert_eq!(StoredValue::parse(body), Some(value));
    }

    #[test]
    fn json_that_looks_like_an_envelope_is_wrapped() {
        let body = Bytes::from_static(b"\0gc\x01");
        let value = StoredValue::encode(ContentType::Json, body.clone(), &[]);
        let read = StoredValue::decode(value.raw().clone()).expect("a stored value");
        assert_eq!((read.body(), read.content_type()), (body, &ContentType::Json));
    }

    #[test]
    fn bytes_of_other_programs_have_the_type_that_they_look_like() {
        let text = |raw: &'static [u8]| {
            let value = StoredValue::decode(Bytes::from_static(raw)).expect("a value");
            String::from_utf8(value.content_type().as_bytes().to_vec()).expect("ASCII")
        };
        for json in [b"{\"a\":1}".as_slice(), b" [1]", b"\"a\"", b"-1.5e3", b"42\n", b"true", b"null"] {
            assert_eq!(text(json), JSON);
        }
        for plain in [b"".as_slice(), b"hello", b"true story", b"12:30", b"1 2", b"<p>", "\u{e9}".as_bytes()] {
            assert_eq!(text(plain), TEXT);
        }
        assert_eq!(text(b"\xff\xfe"), BINARY);
    }

    #[test]
    fn what_is_sent_as_json_stays_json() {
        for body in [b"".as_slice(), b"hello", b"12:30", b"\xff"] {
            let value = StoredValue::encode(ContentType::Json, Bytes::from_static(body), &[]);
            let read = StoredValue::decode(value.raw().clone()).expect("a value");
            assert_eq!((read.content_type(), read.etag()), (&ContentType::Json, value.etag()));
        }
    }

    #[test]
    fn a_truncated_envelope_is_rejected() {
        let whole = StoredValue::encode(ContentType::binary(), Bytes::from_static(b"body"), &[(tag("t"), 7)]);
        for length in 1..whole.body_at {
            assert_eq!(StoredValue::parse(whole.raw().slice(..length)), None, "{length}");
        }
    }

    #[test]
    fn the_etag_depends_on_content_type_and_body_only() {
        let encode = |content_type: &[u8], body: &'static [u8], tags: &[(Tag, u64)]| {
            let content_type = ContentType::parse(content_type).expect("a type");
            StoredValue::encode(content_type, Bytes::from_static(body), tags).etag()
        };
        let plain = encode(b"application/json", b"1", &[]);
        assert_eq!(plain, encode(b"application/json", b"1", &[(tag("t"), 7)]));
        assert_ne!(plain, encode(b"text/plain", b"1", &[]));
        assert_ne!(plain, encode(b"application/json", b"2", &[]));
    }

    proptest! {
        #[test]
        fn encoded_values_are_decoded_unchanged(
            content_type in "[ -~]{1,255}",
            body in proptest::collection::vec(any::<u8>(), 0..400),
            tags in proptest::collection::vec(("[a-zé ]{1,60}", any::<u64>()), 0..16),
        ) {
            let content_type = ContentType::parse(content_type.as_bytes()).expect("a type");
            let tags: Vec<(Tag, u64)> = tags.iter().map(|(text, at)| (tag(text), *at)).collect();
            let written = StoredValue::encode(content_type.clone(), Bytes::from(body.clone()), &tags);
            let read = StoredValue::decode(written.raw().clone()).expect("a stored value");
            prop_assert_eq!(read.content_type(), &content_type);
            prop_assert_eq!(&read.body()[..], &body[..]);
            prop_assert_eq!(read.tags(), tags);
            prop_assert_eq!(read, written);
        }

        #[test]
        fn decoding_arbitrary_bytes_does_not_panic(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut enveloped = MAGIC.to_vec();
            enveloped.extend_from_slice(&raw);
            let _ = StoredValue::decode(Bytes::from(enveloped));
            let _ = StoredValue::decode(Bytes::from(raw));
        }
    }
}
