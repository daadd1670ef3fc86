//! JSON that every parser reads alike (RFC 8259, sections 4, 6 and 8.2; RFC 7493).

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Whether `text` is JSON that every parser reads alike: no object repeats a name, no string has half of a surrogate pair,
/// and no number is beyond those of a double.
pub fn is_portable(text: &[u8]) -> bool {
    serde_json::from_slice::<Portable>(text).is_ok()
}

/// A JSON object of a client. It is kept as text, so that no digit of a number is lost.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct ObjectText(Box<RawValue>);

impl ObjectText {
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The object that is stored as `text`.
    pub fn stored(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }
}

impl<'de> Deserialize<'de> for ObjectText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        if text.get().starts_with('{') && is_portable(text.get().as_bytes()) {
            return Ok(Self(text));
        }
        Err(D::Error::custom(
            "expected an object without repeated names, with complete surrogate pairs, and with numbers that a double can \
             represent",
        ))
    }
}

/// What is wrong with JSON that is not portable.
pub const NOT_PORTABLE: &str = "repeats a name, has half of a surrogate pair, or has a number beyond those of a double";

/// Reads JSON of a client that it gets back as text, for `#[serde(deserialize_with)]`; absent (with `default`) or null: `None`.
///
/// # Errors
/// If parsers may read it differently.
pub fn text_if_given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    let text = Option::<Box<RawValue>>::deserialize(deserializer)?;
    match &text {
        Some(text) if !is_portable(text.get().as_bytes()) => Err(D::Error::custom(NOT_PORTABLE)),
        _ => Ok(text),
    }
}

/// An object as a map. A map alone would keep the last of the members that share a name.
#[derive(Clone, Debug)]
pub struct UniqueNames<V>(pub BTreeMap<String, V>);

/// Reads a map from an object that repeats no name, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// If it repeats a name, and those of its values.
pub fn unique_names<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, V>, D::Error> {
    UniqueNames::deserialize(deserializer).map(|UniqueNames(members)| members)
}

/// Like [`unique_names`]: absent (with `default`) or null: `None`.
///
/// # Errors
/// Those of [`unique_names`].
pub fn unique_names_if_given<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, V>>, D::Error> {
    Ok(Option::<UniqueNames<V>>::deserialize(deserializer)?.map(|UniqueNames(members)| members))
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueNames<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueNamesVisitor(PhantomData))
    }
}

struct UniqueNamesVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueNamesVisitor<V> {
    type Value = UniqueNames<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<UniqueNames<V>, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((name, value)) = members.next_entry::<String, V>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("`{name}` is repeated")));
            }
            map.insert(name, value);
        }
        Ok(UniqueNames(map))
    }
}

struct Portable;

impl<'de> Deserialize<'de> for Portable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortableVisitor)
    }
}

struct PortableVisitor;

macro_rules! accept {
    ($($method:ident: $type:ty;)+) => {$(
        fn $method<E>(self, _: $type) -> Result<Portable, E> {
            Ok(Portable)
        }
    )+};
}

impl<'de> Visitor<'de> for PortableVisitor {
    type Value = Portable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    accept! {
        visit_bool: bool;
        visit_i64: i64;
        visit_u64: u64;
        visit_f64: f64;
        visit_str: &str;
    }

    fn visit_unit<E>(self) -> Result<Portable, E> {
        Ok(Portable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Portable, A::Error> {
        while items.next_element::<Portable>()?.is_some() {}
        Ok(Portable)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Portable, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, Portable)) = members.next_entry::<String, Portable>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a name is repeated"));
            }
        }
        Ok(Portable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_that_every_parser_reads_alike_is_portable() {
        for good in ["1", "null", r#"{"a":[1.5,"é\u00e9\ud83d\ude00"],"b":{"a":true}}"#, "123456789012345678901", " 1 "]
        {
            assert!(is_portable(good.as_bytes()), "{good}");
        }
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"[{"b":{"a":1,"\u0061":2}}]"#,
            r#""\ud800""#,
            r#"{"\udc00":1}"#,
            "1e400",
            "[-1e999]",
            "NaN",
            "Infinity",
            "[1,]",
            "01",
            "\"\u{1}\"",
            "",
        ] {
            assert!(!is_portable(bad.as_bytes()), "{bad}");
        }
        assert!(!is_portable(b"\"\xFF\""));
    }
}
