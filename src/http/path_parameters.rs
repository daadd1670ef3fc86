//! The parameters of a path as typed values.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::value::{CowStrDeserializer, Error, MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Visitor};
use serde::forward_to_deserialize_any;

use super::problem::{self, Problem};
use super::uri;
use crate::config::messages::in_terms_of_json;

/// A request extension: the path of the route as its access row states it, such as `/cache/{key}`.
#[derive(Clone, Copy, Debug)]
pub struct RoutePath(pub &'static str);

/// Path parameters: a struct with their names, a tuple of all, or the value of the only one. Their values are text.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(RoutePath(template)) = parts.extensions.get() else {
            return Err(Problem::new(&problem::INTERNAL).detail("the route has no path parameters"));
        };
        let parameters = parameters(template, parts.uri.path())?;
        match T::deserialize(Parameters(&parameters)) {
            Ok(value) => Ok(Self(value)),
            // Most paths are valid: the name of a wrong parameter is only determined after there is one.
            Err(_) => Err(wrong_parameter::<T>(&parameters)),
        }
    }
}

pub(super) type Parameter<'a> = (&'static str, Cow<'a, str>);

/// The names in a route's path, and the text of a request's path in their places.
pub(super) fn parameters<'a>(mut template: &'static str, mut path: &'a str) -> Result<Vec<Parameter<'a>>, Problem> {
    let mut parameters = Vec::with_capacity(2);
    while !template.is_empty() {
        let (segment, text);
        (segment, template) = first_segment(template);
        (text, path) = first_segment(path);
        if let Some(name) = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            if !uri::is_well_encoded(text) {
                let rule = "has a `%` that is not followed by two hexadecimal digits";
                return Err(Problem::path_segment(name, rule));
            }
            match percent_decode_str(text).decode_utf8() {
                Ok(text) => parameters.push((name, text)),
                Err(_) => return Err(Problem::path_segment(name, "is not UTF-8")),
            }
        }
    }
    Ok(parameters)
}

/// The text before the first slash and the text behind it. Segments are short, so a loop is cheaper than a searcher.
fn first_segment(path: &str) -> (&str, &str) {
    let end = path.bytes().position(|byte| byte == b'/').unwrap_or(path.len());
    let (segment, rest) = path.split_at(end);
    (segment, rest.strip_prefix('/').unwrap_or(rest))
}

/// A template with the values of its parameters.
pub(super) fn filled(template: &str, parameters: &[Parameter<'_>]) -> String {
    let mut text = String::new();
    for piece in template.split_inclusive(['{', '}']) {
        let value = piece.strip_suffix('}').and_then(|name| parameters.iter().find(|(known, _)| *known == name));
        match value {
            Some((_, value)) => text.push_str(value),
            None => text.push_str(piece.trim_end_matches(['{', '}'])),
        }
    }
    text
}

fn wrong_parameter<T: DeserializeOwned>(parameters: &[Parameter<'_>]) -> Problem {
    let Err(error) = serde_path_to_error::deserialize::<_, T>(Parameters(parameters)) else {
        return Problem::new(&problem::INTERNAL);
    };
    let place = error.path().iter().next().map(ToString::to_string).unwrap_or_default();
    let by_name = parameters.iter().find(|(name, _)| *name == place);
    let by_place = || place.trim_matches(['[', ']']).parse().ok().and_then(|at: usize| parameters.get(at));
    let name = by_name.or_else(by_place).or(parameters.first()).map_or("", |(name, _)| name);
    Problem::path_segment(name, in_terms_of_json(&error.inner().to_string()))
}

struct Parameters<'a>(&'a [Parameter<'a>]);

impl<'a> Parameters<'a> {
    fn texts(&self) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
        self.0.iter().map(|(_, text)| text.clone())
    }
}

impl<'de> de::Deserializer<'de> for Parameters<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.texts().next().unwrap_or_default();
        CowStrDeserializer::new(text).deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        SeqDeserializer::new(self.texts()).deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let pairs = self.0.iter().map(|(name, text)| (*name, text.clone()));
        MapDeserializer::new(pairs).deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(try_from = "String")]
    struct Short(String);

    impl TryFrom<String> for Short {
        type Error = &'static str;

        fn try_from(text: String) -> Result<Self, Self::Error> {
            if text.len() <= 5 { Ok(Self(text)) } else { Err("must be short") }
        }
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Both {
        key: Short,
        id: Short,
    }

    async fn read<T: DeserializeOwned + Send>(path: &str) -> Result<T, String> {
        let request = Request::builder().uri(path).extension(RoutePath("/a/{id}/b/{key}")).body(()).expect("a request");
        let read = Path::<T>::from_request_parts(&mut request.into_parts().0, &()).await;
        read.map(|Path(value)| value).map_err(|problem| format!("{problem:?}"))
    }

    #[tokio::test]
    async fn parameters_are_read_by_name_by_place_or_alone() {
        let both = Both { key: Short("x/y".to_owned()), id: Short("é".to_owned()) };
        assert_eq!(read("/a/%C3%A9/b/x%2Fy").await, Ok(both));
        assert_eq!(read("/a/1/b/2").await, Ok(("1".to_owned(), "2".to_owned())));
        assert_eq!(read("/a/1/b/2").await, Ok("1".to_owned()));
    }

    #[tokio::test]
    async fn a_wrong_parameter_is_named() {
        for (path, name) in [
            ("/a/123456/b/2", "/id"),
            ("/a/1/b/123456", "/key"),
            ("/a/1/b/%FF", "/key"),
            ("/a/%zz/b/2", "/id"),
            ("/a/1/b/%4", "/key"),
        ] {
            let problem = read::<Both>(path).await.expect_err("a wrong parameter");
            assert!(problem.contains("invalid-path") && problem.contains(&format!("{name}\"")), "{problem}");
            let problem = read::<(Short, Short)>(path).await.expect_err("a wrong parameter");
            assert!(problem.contains(&format!("{name}\"")), "{problem}");
        }
    }
}
