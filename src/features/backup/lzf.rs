//! The compression of strings in Redis: LZF.

/// Unpacks bytes that are `size` long; `None` if they are malformed.
pub(super) fn unpack(packed: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(size);
    let mut rest = packed;
    while let Some((&control, after)) = rest.split_first() {
        rest = after;
        let length = usize::from(control >> 5);
        if length == 0 {
            let (literal, after) = rest.split_at_checked(usize::from(control) + 1)?;
            out.extend_from_slice(literal);
            rest = after;
        } else {
            let mut length = length + 2;
            if length == 9 {
                let (&more, after) = rest.split_first()?;
                length += usize::from(more);
                rest = after;
            }
            let (&low, after) = rest.split_first()?;
            rest = after;
            let back = usize::from(control & 0x1F) << 8 | usize::from(low);
            let from = out.len().checked_sub(back + 1)?;
            // The source may overlap what is written.
            for at in from..from + length {
                out.push(*out.get(at)?);
            }
        }
        if out.len() > size {
            return None;
        }
    }
    (out.len() == size).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::unpack;

    #[test]
    fn repetitions_are_written_out() {
        assert_eq!(unpack(b"\x00a\xE0\x01\x00", 11).as_deref(), Some(&b"aaaaaaaaaaa"[..]));
        assert_eq!(unpack(b"\x02abc", 3).as_deref(), Some(&b"abc"[..]));
        for malformed in [&b"\x05a"[..], b"\x20\x00", b"\x00a\xE0", b"\x00a"] {
            assert_eq!(unpack(malformed, 9), None);
        }
    }
}
