//! Bytes and heads before Socket.IO: WebSocket frames and poll bodies that are counted, queries, forwarded addresses.

use std::net::IpAddr;
use std::sync::LazyLock;

use flowgate::edge::proxy::client_address;
use flowgate::edge::query::Query;
use flowgate::link::tally::Tally;
use flowgate::link::websocket::{TEXT_FRAME, split_frame, text_frame};
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// The same bytes as frames, as the body of a poll, as a query, and as lines of `X-Forwarded-For`.
///
/// Promised: frames are split where RFC 6455 says; what the tally was given and saw written is even, and not before; a
/// query's keys that count stand there once; an address that no trusted proxy vouches for is never believed.
pub fn frames(data: &[u8]) {
    split(data);
    tally_of_frames(data);
    tally_of_polls(data);
    if let Ok(text) = std::str::from_utf8(data) {
        query(text);
    }
    forwarded(data);
}

fn split(data: &[u8]) {
    let mut rest = data;
    while let Some((first, payload, after)) = split_frame(rest) {
        let header = rest.len() - payload.len() - after.len();
        assert!(matches!(header, 2 | 4 | 10) && first & 0x80 != 0);
        assert_eq!(
            (&rest[header..header + payload.len()], &rest[header + payload.len()..]),
            (payload, after)
        );
        rest = after;
    }
    let frame = text_frame(data);
    assert_eq!(split_frame(&frame), Some((TEXT_FRAME, data, &b""[..])));
    for cut in [0, 1, frame.len() / 2, frame.len() - 1] {
        assert_eq!(split_frame(&frame[..cut]), None);
    }
}

/// The packets in arbitrary frames, counted twice: by the tally, and here.
fn tally_of_frames(data: &[u8]) {
    let (mut packets, mut bytes) = (0_usize, 0);
    let mut rest = data;
    while let Some((first, payload, after)) = split_frame(rest) {
        if first == TEXT_FRAME {
            count(payload, &mut packets, &mut bytes);
        }
        rest = after;
    }
    check_tally(packets, bytes, |tally| tally.wrote_frames(data));
}

fn tally_of_polls(data: &[u8]) {
    let (mut packets, mut bytes) = (0, 0);
    for packet in data.split(|byte| *byte == 0x1e) {
        count(packet, &mut packets, &mut bytes);
    }
    check_tally(packets, bytes, |tally| tally.wrote_poll_body(data));
}

fn count(packet: &[u8], packets: &mut usize, bytes: &mut usize) {
    *packets += usize::from(packet.starts_with(b"42") || packet.starts_with(b"40"));
    *bytes += if packet.starts_with(b"42") { packet.len() } else { 0 };
}

fn check_tally(packets: usize, bytes: usize, write: impl Fn(&Tally)) {
    let tally = Tally::default();
    for at in 0..packets {
        tally.give(if at == 0 { bytes } else { 0 });
    }
    assert_eq!((tally.is_even(), tally.queued_bytes()), (packets == 0, bytes as u64));
    write(&tally);
    assert!(tally.is_even());
    assert_eq!(tally.queued_bytes(), 0);
    // One more that was given and not written keeps the gate closed.
    let tally = Tally::default();
    (0..=packets).for_each(|_| tally.give(0));
    write(&tally);
    assert!(!tally.is_even());
}

fn query(text: &str) {
    let Ok(query) = Query::parse(Some(text)) else { return };
    let values = |wanted: &str| {
        let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(|(key, _)| *key == wanted).map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(values("EIO"), ["4"]);
    assert_eq!(values("transport"), [if query.is_websocket { "websocket" } else { "polling" }]);
    assert_eq!(values("sid"), query.sid.into_iter().collect::<Vec<_>>());
    assert!(query.sid.is_none_or(|sid| (1..=64).contains(&sid.len())));
}

static TRUSTED: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network")).into());

fn forwarded(data: &[u8]) {
    const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let headers = |lines: &[u8]| {
        let lines = lines.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
        lines.map(|line| (FORWARDED_FOR, line)).collect::<HeaderMap>()
    };
    let is_trusted = |address: IpAddr| TRUSTED.iter().any(|net| net.contains(&address));
    for remote in ["203.0.113.9", "10.0.0.1", "::ffff:10.0.0.1", "fd00::1"] {
        let remote: IpAddr = remote.parse().expect("an address");
        let found = client_address(remote, &headers(data), &TRUSTED);
        assert_eq!(found, found.to_canonical());
        if !is_trusted(remote.to_canonical()) {
            assert_eq!(found, remote.to_canonical());
        }
        // Where the walk ended at somebody we do not trust, nothing further left can change who that is.
        if !is_trusted(found) {
            let forged = b"198.51.100.7, 10.0.0.2";
            let another_line = [&forged[..], b"\n", data].concat();
            assert_eq!(client_address(remote, &headers(&another_line), &TRUSTED), found);
            let same_line = [&forged[..], b",", data].concat();
            assert_eq!(client_address(remote, &headers(&same_line), &TRUSTED), found);
        }
    }
}
