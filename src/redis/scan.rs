//! Scanning keys, for the tasks and commands of operators. Requests never scan.

use std::collections::HashSet;

use redis::ConnectionAddr;
use xxhash_rust::xxh3::xxh3_64;

use super::connection::{Node, Packet};
use super::{Effect, Redis, RedisFault};

/// Keys that one SCAN call of a [`PrefixScan`] looks at.
const ROUND: usize = 100;

/// Iterates over all keys of a server, or of every master of a cluster. A key may be returned more than once.
///
/// A key that stays from the first step to the last is returned, unless its slot moves to another node meanwhile.
#[derive(Debug)]
pub struct KeyScan<'a> {
    redis: &'a Redis,
    count: usize,
    pattern: Option<String>,
    /// The masters of a cluster that have been scanned, and the present one; `None` before the first step and without a cluster.
    nodes: Vec<Node>,
    cursor: Option<u64>,
}

impl<'a> KeyScan<'a> {
    /// `count` keys are looked at in one step.
    pub fn new(redis: &'a Redis, count: usize) -> Self {
        Self { redis, count, pattern: None, nodes: Vec::new(), cursor: Some(0) }
    }

    /// Whether a step follows.
    pub fn is_over(&self) -> bool {
        self.cursor.is_none()
    }

    /// The next keys, possibly none; `None` after the last step.
    ///
    /// # Errors
    /// [`RedisFault`]; the step can be repeated.
    pub async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, RedisFault> {
        let Some(cursor) = self.cursor else { return Ok(None) };
        if self.redis.is_cluster() && self.nodes.is_empty() {
            self.nodes.extend(self.next_node().await?);
        }
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor);
        if let Some(pattern) = &self.pattern {
            scan.arg("MATCH").arg(pattern);
        }
        scan.arg("COUNT").arg(self.count);
        let packet = self.nodes.last().map_or(Packet::Command(&scan), |node| Packet::At(&scan, node));
        let reply = self.redis.exchange(packet, Effect::Read, self.redis.deadline()).await?;
        let (cursor, names): (u64, Vec<Vec<u8>>) =
            redis::from_redis_value(reply).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
        let mut following = Some(cursor).filter(|cursor| *cursor != 0);
        if following.is_none()
            && self.redis.is_cluster()
            && let Some(node) = self.next_node().await?
        {
            self.nodes.push(node);
            following = Some(0);
        }
        self.cursor = following;
        Ok(Some(names))
    }

    /// A master that has not been scanned. One may have been promoted meanwhile.
    async fn next_node(&self) -> Result<Option<Node>, RedisFault> {
        let masters = self.redis.masters().await?.into_iter().filter_map(|info| match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Node { host: host.clone(), port: *port })
            }
            _ => None,
        });
        Ok(masters.into_iter().find(|node| !self.nodes.contains(node)))
    }
}

/// Iterates over the keys with one of several prefixes. Each key is returned once; companion keys are left out.
#[derive(Debug)]
pub struct PrefixScan<'a> {
    /// One scan for each prefix.
    scans: Vec<KeyScan<'a>>,
    /// Hashes of the names returned so far: SCAN may return a name twice, and prefixes may overlap.
    seen: HashSet<u64>,
}

impl<'a> PrefixScan<'a> {
    /// `starts` are complete prefixes, including the configured one.
    pub fn new(redis: &'a Redis, starts: &[String]) -> Self {
        let scan =
            |start: &String| KeyScan { pattern: Some(format!("{}*", literal(start))), ..KeyScan::new(redis, ROUND) };
        Self { scans: starts.iter().map(scan).collect(), seen: HashSet::new() }
    }

    /// The next keys, possibly none; `None` after the last.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn next(&mut self) -> Result<Option<Vec<String>>, RedisFault> {
        while let Some(scan) = self.scans.last_mut() {
            let Some(names) = scan.next().await? else {
                self.scans.pop();
                continue;
            };
            // Companions contain braces and escaped names do not. All names of the service are text.
            let is_new = |name: &String| !name.contains('{') && self.seen.insert(xxh3_64(name.as_bytes()));
            return Ok(Some(
                names.into_iter().filter_map(|name| String::from_utf8(name).ok()).filter(is_new).collect(),
            ));
        }
        Ok(None)
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
