//! NDJSON in requests: one JSON value per line. Empty lines are skipped, and a problem names the line.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::body::BodyStream;
use super::extract::parse_json;
use super::lines::Lines;
use super::problem::Problem;

/// The longest line, bytes: a line is held in memory.
pub const MAX_LINE: usize = 4_096;

/// Reads all lines of a body, with their numbers from 1.
///
/// # Errors
/// The problems of [`parse_json`] for the first line that cannot be read.
pub fn read_all<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<(u64, T)>, Problem> {
    let mut lines = Lines::new(MAX_LINE);
    lines.push(body);
    let mut values = Vec::new();
    while let Some((number, line)) = lines.next_line() {
        values.extend(value(number, line)?);
    }
    if let Some((number, line)) = lines.finish() {
        values.extend(value(number, line)?);
    }
    Ok(values)
}

/// The values of a body of any length, one at a time.
#[derive(Debug)]
pub struct JsonLines {
    /// `None` at its end.
    body: Option<BodyStream>,
    lines: Lines,
    idle: Duration,
}

impl JsonLines {
    /// `idle` is the longest allowed pause in the body.
    pub fn new(body: BodyStream, idle: Duration) -> Self {
        Self { body: Some(body), lines: Lines::new(MAX_LINE), idle }
    }

    /// The next value with the number of its line, from 1; `None` at the end.
    ///
    /// # Errors
    /// The problems of [`parse_json`] for this line, and those of [`BodyStream::next`].
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<(u64, T)>, Problem> {
        loop {
            while let Some((number, line)) = self.lines.next_line() {
                if let Some(value) = value(number, line)? {
                    return Ok(Some(value));
                }
            }
            let Some(body) = &mut self.body else { return Ok(None) };
            if let Some(piece) = body.next(self.idle).await? {
                self.lines.push(&piece);
                // A fast sender must not block the other requests on this thread.
                tokio::task::yield_now().await;
                continue;
            }
            self.body = None;
            if let Some((number, line)) = self.lines.finish()
                && let Some(value) = value(number, line)?
            {
                return Ok(Some(value));
            }
        }
    }
}

fn value<T: DeserializeOwned>(number: u64, line: Option<&[u8]>) -> Result<Option<(u64, T)>, Problem> {
    let Some(text) = line else {
        let rule = format!("must have at most {MAX_LINE} bytes");
        return Err(Problem::body_field(&format!("/{number}"), rule));
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    match parse_json(text) {
        Ok(value) => Ok(Some((number, value))),
        Err(problem) if problem.violations().is_empty() => {
            // The parser sees one line, and states its position in it.
            let text = problem.text();
            let detail = match text.split_once(" at line 1,") {
                Some((reason, column)) => format!("{reason} at line {number},{column}"),
                None => format!("{text} at line {number}"),
            };
            Err(problem.detail(detail))
        }
        Err(problem) => Err(problem.within(&format!("/{number}"))),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::{FromRequest, Request};
    use futures_util::stream;

    use super::*;

    async fn streamed(pieces: &[&str]) -> Result<Vec<(u64, u8)>, Problem> {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok::<_, std::io::Error>((*piece).to_owned())).collect();
        let request = Request::new(Body::from_stream(stream::iter(pieces)));
        let body = BodyStream::from_request(request, &()).await?;
        let mut lines = JsonLines::new(body, Duration::from_secs(5));
        let mut values = Vec::new();
        while let Some(value) = lines.next().await? {
            values.push(value);
        }
        Ok(values)
    }

    #[tokio::test]
    async fn lines_are_read_however_the_body_is_cut() {
        let expected = vec![(1, 7), (3, 8), (5, 9)];
        assert_eq!(read_all::<u8>(b"7\n\n8\r\n  \n9").expect("lines"), expected);
        assert_eq!(streamed(&["7", "\n\n8\r", "\n  \n", "9"]).await.expect("lines"), expected);
        assert_eq!(streamed(&[]).await.expect("none"), vec![]);
    }

    #[tokio::test]
    async fn a_problem_names_its_line() {
        let long = format!("1\n{}\n", "1".repeat(MAX_LINE + 1));
        let deep = format!("1\n{}{}\n", "[".repeat(65), "]".repeat(65));
        for (text, slug, part) in [
            ("1\n\n300\n", "invalid-body", "\"/3\""),
            ("1\nx\n", "invalid-json", "at line 2, column"),
            ("1\n2 3", "invalid-json", "at line 2, column"),
            (long.as_str(), "invalid-body", "\"/2\""),
            (deep.as_str(), "json-too-deep", "64 levels at line 2"),
        ] {
            let whole = read_all::<u8>(text.as_bytes()).map(|_| ()).expect_err(slug);
            let pieces = streamed(&[text]).await.map(|_| ()).expect_err(slug);
            for problem in [whole, pieces] {
                assert_eq!(problem.kind().slug, slug);
                assert!(format!("{problem:?}").contains(part), "{problem:?}");
            }
        }
    }
}
