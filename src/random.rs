//! Random tokens, and the hexadecimal digits in which they are written.

use std::cell::Cell;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A secret that cannot be guessed: 128 bits from the operating system, as 32 hexadecimal digits.
///
/// # Errors
/// If the operating system has no randomness.
pub fn token() -> Result<String, getrandom::Error> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)?;
    Ok(hex(&bits))
}

/// Lower-case hexadecimal digits, two for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| pair(*byte)).map(char::from).collect()
}

/// The 32 hexadecimal digits of a number, highest first. Every request needs them up to twice: no allocation, and a tenth
/// of the instructions of `{:032x}`.
pub fn hex_digits(value: u128) -> [u8; 32] {
    let mut text = [0; 32];
    for (part, shift) in text.chunks_exact_mut(8).zip([96, 64, 32, 0]) {
        let bits = (value >> shift) & u128::from(u32::MAX);
        part.copy_from_slice(&eight_digits(u64::try_from(bits).unwrap_or_default()).to_be_bytes());
    }
    text
}

/// The digits of 32 bits, one per byte, calculated for all bytes at once.
fn eight_digits(bits: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Spreads the eight groups of four bits over the eight bytes.
    let halves = (bits | bits << 16) & 0x0000_FFFF_0000_FFFF;
    let bytes = (halves | halves << 8) & 0x00FF_00FF_00FF_00FF;
    let nibbles = (bytes | bytes << 4) & (0x0F * ONES);
    // Adding 6 carries into the upper half of the bytes that hold 10 to 15: those become letters.
    let letters = (nibbles + 6 * ONES) >> 4 & ONES;
    nibbles + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'0' - 10)
}

fn pair(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|half| DIGITS.get(usize::from(half)).copied().unwrap_or_default())
}

thread_local! {
    static NEXT: Cell<u128> = Cell::new(random_start());
}

/// An id that no other call returns, in any process: 32 hexadecimal digits. Not for secrets.
///
/// Starts at a random number per thread and adds an odd constant each time, so that ids neither repeat nor reveal how
/// many there were.
pub fn unique_id() -> [u8; 32] {
    const STEP: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
    let id = NEXT.get();
    NEXT.set(id.wrapping_add(STEP));
    hex_digits(id)
}

/// [`unique_id`] as text.
pub fn unique_text() -> String {
    unique_id().map(char::from).iter().collect()
}

fn random_start() -> u128 {
    let half = || getrandom::u64().map_or(0, u128::from);
    half() << 64 | half()
}

thread_local! {
    static STATE: Cell<u64> = Cell::new(getrandom::u64().unwrap_or_default());
}

/// A number in 0.0..1.0 for jitter and sampling, without a system call. Not for secrets.
///
/// Source: `SplitMix64`; Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
pub fn fraction() -> f64 {
    let state = STATE.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    // 32 bits decide finely enough, and fit a float exactly.
    let high = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or_default();
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_all_threads_differ() {
        let of_thread = || (0..1_000).map(|_| unique_id()).collect::<Vec<_>>();
        let mut ids = of_thread();
        ids.extend(std::thread::spawn(of_thread).join().expect("a thread"));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 2_000);
    }

    #[test]
    fn digits_are_those_of_the_formatter() {
        for value in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
            let expected = format!("{value:032x}");
            assert_eq!(String::from_utf8_lossy(&hex_digits(value)), expected);
            assert_eq!(hex(&value.to_be_bytes()), expected);
        }
    }

    #[test]
    fn a_token_is_32_digits_and_no_two_are_alike() {
        let tokens: std::collections::HashSet<String> = (0..100).filter_map(|_| token().ok()).collect();
        assert_eq!(tokens.len(), 100);
        assert!(tokens.iter().all(|token| token.len() == 32));
    }

    #[test]
    fn a_fraction_is_below_one() {
        assert!((0..1_000).map(|_| fraction()).all(|number| (0.0..1.0).contains(&number)));
    }
}
