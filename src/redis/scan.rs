//! Scanning the keys with a prefix, for operators' commands. Requests never scan.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use super::{Effect, Redis, RedisFault};

/// Keys that one SCAN call looks at.
const ROUND: usize = 100;

/// Iterates over the keys with one of several prefixes. Each key is returned once; companion keys are left out.
#[derive(Debug)]
pub struct PrefixScan<'a> {
    redis: &'a Redis,
    patterns: Vec<String>,
    cursor: u64,
    /// Hashes of the names returned so far: SCAN may return a name twice, and prefixes may overlap.
    seen: HashSet<u64>,
}

impl<'a> PrefixScan<'a> {
    /// `starts` are complete prefixes, including the configured one.
    pub fn new(redis: &'a Redis, starts: &[String]) -> Self {
        let patterns = starts.iter().map(|start| format!("{}*", literal(start))).collect();
        Self { redis, patterns, cursor: 0, seen: HashSet::new() }
    }

    /// The next keys, possibly none; `None` after the last.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn next(&mut self) -> Result<Option<Vec<String>>, RedisFault> {
        let Some(pattern) = self.patterns.last() else { return Ok(None) };
        let mut scan = redis::cmd("SCAN");
        scan.arg(self.cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(ROUND);
        let (cursor, names): (u64, Vec<Vec<u8>>) = self.redis.query(&scan, Effect::Read).await?;
        self.cursor = cursor;
        if cursor == 0 {
            self.patterns.pop();
        }
        // Companions contain braces and escaped names do not. All names of the service are text.
        let is_new = |name: &String| !name.contains('{') && self.seen.insert(xxh3_64(name.as_bytes()));
        Ok(Some(names.into_iter().filter_map(|name| String::from_utf8(name).ok()).filter(is_new).collect()))
    }
}

/// Escapes text so that a Redis pattern matches only the text itself.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(literal("a*:[b]?\\"), "a\\*:\\[b\\]\\?\\\\");
    }
}
