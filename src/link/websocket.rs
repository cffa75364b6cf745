//! WebSocket framing, server to client (RFC 6455 §5.2): what broadcasts write, and what the library was seen writing.

use bytes::Bytes;

/// FIN and opcode 1.
pub const TEXT_FRAME: u8 = 0x81;

/// The first frame of a buffer: its first byte, its payload, and what follows.
pub fn split_frame(buffer: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&first, rest) = buffer.split_first()?;
    // The library never fragments, so every frame has FIN; an HTTP response begins with a letter.
    if first & 0x80 == 0 {
        return None;
    }
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        126 => {
            let (bytes, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*bytes)), rest)
        }
        127 => {
            let (bytes, rest) = rest.split_first_chunk::<8>()?;
            (usize::try_from(u64::from_be_bytes(*bytes)).ok()?, rest)
        }
        short => (usize::from(short), rest),
    };
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((first, payload, rest))
}

/// A final, unmasked WebSocket text frame (RFC 6455 §5.2).
pub fn text_frame(payload: &[u8]) -> Bytes {
    const MAX_HEADER: usize = 10;
    let mut frame = Vec::with_capacity(payload.len() + MAX_HEADER);
    frame.push(TEXT_FRAME);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend(medium.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    Bytes::from(frame)
}

/// A close frame with status 1001, "going away" (RFC 6455 §7.4.1).
pub const GOING_AWAY: &[u8] = &[0x88, 0x02, 0x03, 0xe9];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_follow_the_length() {
        assert_eq!(text_frame(b"hi")[..2], [0x81, 2]);
        assert_eq!(text_frame(&[b'x'; 125])[..2], [0x81, 125]);
        assert_eq!(text_frame(&[b'x'; 126])[..4], [0x81, 126, 0, 126]);
        assert_eq!(text_frame(&[b'x'; 65_536])[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn frames_split_again() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut buffer = text_frame(&payload).to_vec();
            buffer.extend(GOING_AWAY);
            let (first, found, rest) = split_frame(&buffer).unwrap();
            assert_eq!((first, found.len(), rest), (TEXT_FRAME, length, GOING_AWAY));
        }
    }
}
