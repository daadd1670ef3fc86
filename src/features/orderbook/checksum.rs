//! The checksum with which clients verify their copy of a book.
//!
//! Source: Kraken, "Book checksum (v2)": CRC32 over the ten best asks, lowest first, then the ten best bids, highest first.
//! Of each level, price and quantity count without the decimal point and without leading zeros. Here a negative price keeps
//! its minus sign, and a price of zero adds nothing.

use super::model::Level;

/// The levels of each side that count.
pub(super) const DEPTH: usize = 10;

/// The checksum of a book with these levels, best first; 0 for an empty book.
pub(super) fn checksum(bids: &[Level], asks: &[Level]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    for level in asks.iter().take(DEPTH).chain(bids.iter().take(DEPTH)) {
        for number in [&level.price, &level.quantity] {
            let (sign, digits) = number.strip_prefix('-').map_or(("", number.as_str()), |rest| ("-", rest));
            hash.update(sign.as_bytes());
            let digits = digits.bytes().filter(|byte| *byte != b'.').skip_while(|byte| *byte == b'0');
            hash.update(&digits.collect::<Vec<u8>>());
        }
    }
    hash.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(pairs: &[(&str, &str)]) -> Vec<Level> {
        let level = |(price, quantity): &(&str, &str)| Level {
            price: (*price).to_owned(),
            quantity: (*quantity).to_owned(),
            orders: 1,
        };
        pairs.iter().map(level).collect()
    }

    #[test]
    fn the_documented_example_has_the_documented_checksum() {
        let asks = [
            ("45285.2", "0.00100000"),
            ("45286.4", "1.54571953"),
            ("45286.6", "1.54571109"),
            ("45289.6", "1.54560911"),
            ("45290.2", "0.15890660"),
            ("45291.8", "1.54553491"),
            ("45294.7", "0.04454749"),
            ("45296.1", "0.35380000"),
            ("45297.5", "0.09945542"),
            ("45299.5", "0.18772827"),
        ];
        let bids = [
            ("45283.5", "0.10000000"),
            ("45283.4", "1.54582015"),
            ("45282.1", "0.10000000"),
            ("45281.0", "0.10000000"),
            ("45280.3", "1.54592586"),
            ("45279.0", "0.07990000"),
            ("45277.6", "0.03310103"),
            ("45277.5", "0.30000000"),
            ("45277.3", "1.54602737"),
            ("45276.6", "0.15445238"),
        ];
        assert_eq!(checksum(&levels(&bids), &levels(&asks)), 3_310_070_434);
        let eleventh = [asks.as_slice(), &[("45300.0", "1.00000000")]].concat();
        assert_eq!(checksum(&levels(&bids), &levels(&eleventh)), 3_310_070_434);
    }

    #[test]
    fn few_levels_and_unusual_prices_have_a_checksum() {
        assert_eq!(checksum(&[], &[]), 0);
        let hash = |text: &str| crc32fast::hash(text.as_bytes());
        assert_eq!(checksum(&levels(&[("-0.50", "1.0")]), &[]), hash("-5010"));
        assert_eq!(checksum(&levels(&[("0.00", "2.5")]), &levels(&[("0.05", "0.1")])), hash("5125"));
    }
}
