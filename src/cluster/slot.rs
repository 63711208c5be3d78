//! The slot of a key in a Redis Cluster.

/// The number of slots.
const SLOTS: u16 = 16_384;

/// The slot of `key`: CRC-16/XMODEM of what stands between the first `{` and the next `}`, if that is anything, else of
/// the whole key (Redis Cluster specification, "Hash tags").
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|begin| {
        let rest = key.get(begin + 1..)?;
        let end = rest.iter().position(|&byte| byte == b'}').filter(|&end| end > 0)?;
        rest.get(..end)
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_that_of_the_tag() {
        // The check value of the specification, and slots as CLUSTER KEYSLOT tells them.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!([slot(b"foo"), slot(b"{foo}:members"), slot(b"a{foo}{bar}")], [12_182; 3]);
        assert_eq!((slot(b"bar"), slot(b"")), (5_061, 0));
        assert_eq!(slot(b"{}foo"), crc16(b"{}foo") % SLOTS);
        assert_eq!(slot(b"{foo"), crc16(b"{foo") % SLOTS);
    }
}
