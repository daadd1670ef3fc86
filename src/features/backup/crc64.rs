//! The checksum of Redis: CRC-64 of Jones, reflected.

const POLYNOMIAL: u64 = 0x95AC_9329_AC4B_C9B5;

/// `TABLES[n][byte]` is the checksum of the byte with `n` zero bytes after it.
#[expect(clippy::indexing_slicing, reason = "constant bounds, checked when this is compiled")]
const TABLES: [[u64; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = tables[0][(before & 0xFF) as usize] ^ (before >> 8);
            byte += 1;
        }
        table += 1;
    }
    tables
};

/// The checksum of what had the checksum `crc`, followed by `bytes`.
pub(super) fn update(crc: u64, bytes: &[u8]) -> u64 {
    let (groups, rest) = bytes.as_chunks::<8>();
    let crc = groups.iter().fold(crc, |crc, group| {
        let mixed = (crc ^ u64::from_le_bytes(*group)).to_le_bytes();
        mixed.iter().rev().zip(&TABLES).fold(0, |sum, (byte, table)| sum ^ entry(table, *byte))
    });
    let [first, ..] = &TABLES;
    rest.iter().fold(crc, |crc, byte| entry(first, crc.to_le_bytes()[0] ^ byte) ^ (crc >> 8))
}

fn entry(table: &[u64; 256], byte: u8) -> u64 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::update;

    #[test]
    fn the_checksum_is_that_of_redis() {
        assert_eq!(update(0, b"123456789"), 0xE9C6_D914_C4B8_D9CA);
        let long: Vec<u8> = (0..=255).cycle().take(1_001).collect();
        let (start, end) = long.split_at(333);
        assert_eq!(update(update(0, start), end), update(0, &long));
    }
}
