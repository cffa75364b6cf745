//! Bytes that are no protocol, and protocol that makes no sense.

use std::io;
use std::time::Duration;

use super::{Attacker, Ended, at_most, flood};
use crate::frame;
use crate::soak::session::Socket;

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(3);
/// Above `limits.payload.hard_max_bytes`.
const OVERSIZE: usize = 70_000;
const CONTINUATION: u8 = 0x0;
const BINARY: u8 = 0x2;

/// Something instead of an HTTP request.
pub async fn http(attacker: &mut Attacker) -> io::Result<Ended> {
    let from = attacker.address();
    let mut wire = attacker.stage.target.dial(from).await?;
    let bytes = request(attacker);
    wire.write(&bytes).await?;
    Ok(at_most(ANSWER, wire.until_closed()).await)
}

fn request(attacker: &mut Attacker) -> Vec<u8> {
    let chance = &mut attacker.chance;
    let get = |target: &str, headers: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
    };
    const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
    match chance.below(14) {
        0 | 1 => {
            let length = 1 + chance.below(4000);
            chance.bytes(length)
        }
        2 => [b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n".to_vec(), chance.bytes(300)].concat(),
        3 => get(POLLING, &"X-Header: value\r\n".repeat(500)),
        4 => format!("GET {POLLING} HTTP/1.1\r\nHost: x\r\nX-Long: {}", "y".repeat(40_000)).into_bytes(),
        5 => get("/socket.io/?EIO=3&transport=polling", ""),
        6 => get("/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA", ""),
        7 => get("/socket.io/?EIO=4&EIO=4&transport=polling&sid=a&sid=b", ""),
        8 => get("/socket.io/?EIO=4&transport=websocket", "Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        9 => get("/../../etc/passwd", ""),
        10 => get(POLLING, "Origin: https://evil.example\r\n"),
        11 => get(POLLING, "X-Forwarded-For: 10.0.0.1\r\nOrigin: null\r\n"),
        12 => format!(
            "POST {POLLING}&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: {OVERSIZE}\r\n\r\n{}",
            "z".repeat(OVERSIZE)
        )
        .into_bytes(),
        _ => b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
    }
}

/// Something instead of frames or packets, before or after being admitted.
pub async fn frames(attacker: &mut Attacker) -> io::Result<Ended> {
    let mut socket = if attacker.chance.once_in(3) {
        let from = attacker.address();
        Socket::open(&attacker.stage.target, from).await?
    } else {
        let team = attacker.team();
        attacker.join_socket(team).await?
    };
    for _ in 0..=attacker.chance.below(20) {
        let bytes = nonsense(attacker);
        socket.wire.write(&bytes).await?;
    }
    Ok(at_most(ANSWER, socket.wire.until_closed()).await)
}

fn nonsense(attacker: &mut Attacker) -> Vec<u8> {
    let chance = &mut attacker.chance;
    let length = chance.below(300);
    let random = chance.bytes(length);
    let (opcode, payload) = match chance.below(16) {
        0 => return random,
        1 => ((chance.next() & 0xf) as u8, random),
        2 => (BINARY, random),
        3 => (frame::TEXT, vec![b'4'; OVERSIZE]),
        4 => (CONTINUATION, random),
        // Invalid UTF-8, and a character cut in two.
        5 => (frame::TEXT, b"42[\"database-change\",\"\xff\xfe\xc3\"]".to_vec()),
        6 => (frame::TEXT, format!("42[\"database-change\",{}", "[".repeat(20_000)).into_bytes()),
        7 => (frame::TEXT, b"42[{\"a\":1},2]".to_vec()),
        8 => (frame::TEXT, format!("42[\"{}\"]", "e".repeat(10_000)).into_bytes()),
        9 => (frame::TEXT, b"4299999999999999999999[\"database-change\"]".to_vec()),
        10 => (frame::TEXT, b"451-[\"database-change\",{\"_placeholder\":true,\"num\":9}]".to_vec()),
        11 => (frame::TEXT, b"4510000-[\"database-change\"]".to_vec()),
        12 => (frame::TEXT, b"42[\"database-change\",{}]trailing".to_vec()),
        13 => (frame::CLOSE, vec![3]),
        14 => (frame::TEXT, flood::bad_event(attacker).into_bytes()),
        _ => (frame::TEXT, random),
    };
    let mut bytes = Vec::with_capacity(payload.len() + 14);
    frame::write_masked(&mut bytes, opcode, &payload);
    // The first bit says that the message is whole; now and then it is left out, and the message never ends.
    if attacker.chance.once_in(8) {
        bytes[0] &= 0x7f;
    }
    bytes
}
