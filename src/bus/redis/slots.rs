//! Hash slots (Redis Cluster specification): which part of a key counts, and which slot it falls into.

/// How many there are.
pub(super) const SLOTS: u16 = 16384;

/// The slot of a key or of a sharded channel: CRC16 (XMODEM) of it, or of what is between its first `{` and the next `}` if
/// that is not empty, modulo 16384.
pub(super) fn slot(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let inside = &key[open + 1..];
    match inside.iter().position(|byte| *byte == b'}') {
        Some(length) if length > 0 => &inside[..length],
        _ => key,
    }
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

/// What each byte does to the sum: polynomial 0x1021, not reflected.
const TABLE: [u16; 256] = {
    let mut table = [0_u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b""), 0);
    }

    /// As `CLUSTER KEYSLOT` of Redis 7 answers.
    #[test]
    fn slots_are_those_of_redis() {
        for (key, expected) in [
            ("foo", 12182),
            ("bar", 5061),
            ("hello", 866),
            ("{foo}bar", 12182),
            ("x{foo}{bar}", 12182),
            ("", 0),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn only_what_is_between_the_first_braces_counts_and_not_if_it_is_nothing() {
        assert_eq!(slot(b"flowgate:t:{a}"), slot(b"a"));
        assert_eq!(tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(tag(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(tag(b"foo{bar"), b"foo{bar");
        assert_eq!(tag(b"foo}bar{x}"), b"x");
    }
}
