use super::*;

#[derive(Default)]
struct Seen(Vec<(Vec<u8>, Option<i64>, Vec<u8>)>);

impl Records for Seen {
    fn begin(&mut self, head: &RecordHead) -> io::Result<bool> {
        self.0.push((head.key.clone(), head.expires, Vec::new()));
        Ok(head.key != b"foreign")
    }

    fn value(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.last_mut().expect("begun").2.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A snapshot with these entries.
fn snapshot(version: u32, entries: &[u8]) -> Vec<u8> {
    let mut bytes = format!("REDIS{version:04}").into_bytes();
    bytes.extend_from_slice(entries);
    bytes.push(0xFF);
    bytes.extend(crc64::update(0, &bytes).to_le_bytes());
    bytes
}

/// A database's mark, an expiry, a string, a foreign set, a hash and a module's value.
const ENTRIES: &[u8] = b"\xFA\x03ver\x017\xFE\x00\xFB\x03\x01\xFC\x07\0\0\0\0\0\0\0\x00\x01a\x03one\
    \x02\x07foreign\x02\x01x\xC0\x05\x04\x01h\x01\x01f\xC1\x01\x02\x07\x01m\x81\0\0\0\0\0\0\0\x09\x02\x05\x05\x02hi\x00";

#[test]
fn entries_are_cut_and_what_is_not_understood_is_an_error() {
    let whole = snapshot(10, ENTRIES);
    let mut seen = Seen::default();
    let ended = read(&[&whole[..], b"mark"].concat()[..], 0, &mut seen).expect("a snapshot");
    assert_eq!((ended.version, &ended.rest[..]), (10, &b"mark"[..]));
    let expected: [(&[u8], Option<i64>, &[u8]); 4] = [
        (b"a", Some(7), b"\x00\x03one"),
        (b"foreign", None, b""),
        (b"h", None, b"\x04\x01\x01f\xC1\x01\x02"),
        (b"m", None, b"\x07\x81\0\0\0\0\0\0\0\x09\x02\x05\x05\x02hi\x00"),
    ];
    let found: Vec<(&[u8], Option<i64>, &[u8])> =
        seen.0.iter().map(|(key, expires, value)| (&key[..], *expires, &value[..])).collect();
    assert_eq!(found, expected);
    let refuse = |bytes: &[u8]| read(bytes, 0, &mut Seen::default()).expect_err("not a snapshot").to_string();
    for length in 0..whole.len() {
        refuse(&whole[..length]);
    }
    for at in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        refuse(&flipped);
    }
    assert_eq!(refuse(&snapshot(10, b"\x63\x01a\x01b")), "the snapshot has the unknown type 99");
    assert!(refuse(&snapshot(14, b"")).contains("RDB version 14"));
    let mut other = Seen::default();
    let ended =
        read(&snapshot(10, b"\xFE\x01\x00\x01a\x01b\xFE\x02\x00\x01c\x01d")[..], 2, &mut other).expect("a snapshot");
    assert_eq!((ended.elsewhere, other.0), (1, vec![(b"c".to_vec(), None, b"\x00\x01d".to_vec())]));
}
