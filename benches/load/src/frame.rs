//! WebSocket frames (RFC 6455 §5.2), read in place and written whole.

/// A text frame.
pub const TEXT: u8 = 0x1;
/// A close frame.
pub const CLOSE: u8 = 0x8;
/// A WebSocket ping (Engine.IO has its own, inside text frames).
pub const PING: u8 = 0x9;
/// A WebSocket pong.
pub const PONG: u8 = 0xA;

/// The key that masks everything this benchmark sends. RFC 6455 wants an unpredictable one against caches in between, of which there are
/// none here; it must not be zero, because Node's `ws` then skips the unmasking that real clients make it do.
pub const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Where a whole frame lies in a buffer that begins with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Whether this is the last fragment of its message.
    pub fin: bool,
    /// The frame's opcode.
    pub opcode: u8,
    /// The masking key, which only clients use.
    pub mask: Option<[u8; 4]>,
    /// Offset of the payload.
    pub start: usize,
    /// Offset just after the payload, where the next frame begins.
    pub end: usize,
}

/// Reads the frame that `buffer` begins with, or `None` while part of it is missing.
#[must_use]
pub fn parse(buffer: &[u8]) -> Option<Frame> {
    let (&first, &second) = (buffer.first()?, buffer.get(1)?);
    let (length, mut start) = match second & !MASKED {
        126 => (u16::from_be_bytes(array(buffer, 2)?) as usize, 4),
        127 => (usize::try_from(u64::from_be_bytes(array(buffer, 2)?)).ok()?, 10),
        short => (short as usize, 2),
    };
    let mask = if second & MASKED == 0 {
        None
    } else {
        start += 4;
        Some(array(buffer, start - 4)?)
    };
    let end = start.checked_add(length)?;
    (buffer.len() >= end).then_some(Frame { fin: first & FIN != 0, opcode: first & 0x0F, mask, start, end })
}

/// Appends one masked frame, as a client must send it.
pub fn write_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    write_head(out, opcode, MASKED, payload.len());
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], MASK);
}

/// Appends one unmasked frame, as a server must send it.
pub fn write_unmasked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    write_head(out, opcode, 0, payload.len());
    out.extend_from_slice(payload);
}

/// Masks or unmasks, which is the same operation.
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[index & 3];
    }
}

fn write_head(out: &mut Vec<u8>, opcode: u8, masked: u8, length: usize) {
    out.push(FIN | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(masked | short),
        (_, Ok(medium)) => {
            out.push(masked | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

fn array<const N: usize>(buffer: &[u8], at: usize) -> Option<[u8; N]> {
    buffer.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_form_survive_the_round_trip() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut wire = Vec::new();
            write_masked(&mut wire, TEXT, &payload);
            for cut in [0, 1, wire.len() - 1] {
                assert_eq!(parse(&wire[..cut]), None, "{length} bytes cut to {cut}");
            }
            let frame = parse(&wire).unwrap();
            assert_eq!((frame.fin, frame.opcode, frame.end), (true, TEXT, wire.len()));
            let mut read = wire[frame.start..frame.end].to_vec();
            apply_mask(&mut read, frame.mask.unwrap());
            assert_eq!(read, payload);

            wire.clear();
            write_unmasked(&mut wire, TEXT, &payload);
            let frame = parse(&wire).unwrap();
            assert_eq!((frame.mask, &wire[frame.start..frame.end]), (None, &payload[..]));
        }
    }
}
