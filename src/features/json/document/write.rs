//! Writes a document as compact text.

use super::Node;

impl Node {
    /// Appends the value's text, without white space.
    pub(in super::super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(number) => out.extend_from_slice(number.as_str().as_bytes()),
            Self::String(text) => write_string(text, out),
            Self::Array(items) => write_separated([b'[', b']'], items, out, Self::write),
            Self::Object(members) => write_separated([b'{', b'}'], members, out, |(name, value), out| {
                write_string(name, out);
                out.push(b':');
                value.write(out);
            }),
        }
    }

    pub(in super::super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        out
    }

    #[cfg(test)]
    pub(in super::super) fn to_text(&self) -> String {
        String::from_utf8(self.to_bytes()).expect("UTF-8")
    }
}

/// Appends the items between brackets, separated by commas.
pub(in super::super) fn write_separated<T>(
    [open, close]: [u8; 2],
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    write: impl Fn(T, &mut Vec<u8>),
) {
    out.push(open);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(close);
}

/// Appends `text` in quotes and escapes only the characters that need it.
pub(in super::super) fn write_string(text: &str, out: &mut Vec<u8>) {
    // Writing a string to a vector cannot fail.
    let _infallible = serde_json::to_writer(out, text);
}
