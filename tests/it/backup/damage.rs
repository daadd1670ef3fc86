//! A damaged file is refused, wherever the damage is.

use std::path::Path;
use std::sync::Arc;

use gridtokenx_redis::features::backup::command::verify;

use super::{Vault, fill};
use crate::support::RedisServer;

/// The bytes of an encrypted chunk.
const CHUNK: usize = 64 * 1024 + 16;

/// Numbers without an order, the same in each run.
fn numbers() -> impl Iterator<Item = usize> {
    let mut state = 0x9E37_79B9_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits")
    })
}

async fn is_refused(vault: &Vault, path: &Path, bytes: &[u8]) -> bool {
    std::fs::write(path, bytes).expect("written");
    verify(path, std::slice::from_ref(&vault.identity), Arc::default()).await.is_err()
}

#[tokio::test]
async fn flipped_bits_and_cuts_are_refused() {
    let (redis, vault) = (RedisServer::plain(), Vault::new());
    fill(&redis);
    let small = std::fs::read(vault.back_up(&redis)).expect("the file");
    // Random bytes, so that the file has several chunks.
    let script = "local s = 1 for nth = 1, 300 do local t = {} for i = 1, 1000 do s = (s * 16807) % 2147483647 \
                  t[i] = string.char(s % 256) end redis.call('SET', 'json:random:' .. nth, table.concat(t)) end";
    redis.command::<()>(&["EVAL", script, "0"]);
    let large = std::fs::read(vault.back_up(&redis)).expect("the file");
    let path = vault.backups().join("damaged");
    let mut numbers = numbers();
    let mut number = || numbers.next().expect("endless");
    for (whole, times) in [(&small, 950), (&large, 50)] {
        assert!(!is_refused(&vault, &path, whole).await, "the file itself is whole");
        for _ in 0..times {
            let (at, bit) = (number() % whole.len(), number() % 8);
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            // The header names recipients: damage to the stanza of the key that is thrown away is found as well.
            assert!(is_refused(&vault, &path, &damaged).await, "bit {bit} of byte {at} of {}", whole.len());
        }
        for _ in 0..times {
            let length = number() % whole.len();
            assert!(is_refused(&vault, &path, &whole[..length]).await, "{length} of {} bytes", whole.len());
        }
    }
    let header = large.windows(5).position(|window| window == b"\n--- ").expect("the end of the header");
    let payload = header + 1 + large[header + 1..].iter().position(|byte| *byte == b'\n').expect("a line") + 1 + 16;
    let borders: Vec<usize> = (payload..large.len()).step_by(CHUNK).collect();
    assert!(borders.len() >= 4, "the file has several chunks");
    for border in borders {
        assert!(is_refused(&vault, &path, &large[..border]).await, "cut at the chunk at byte {border}");
    }
    assert!(is_refused(&vault, &path, &[&large[..], b"\0"].concat()).await, "a byte was appended");
    assert!(is_refused(&vault, &path, b"").await, "an empty file");
    assert!(is_refused(&vault, &path, b"REDIS0010").await, "another file");
}
