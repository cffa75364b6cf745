//! Bytes and heads before Socket.IO: WebSocket frames and poll bodies that are counted or told apart, queries, forwarded
//! addresses.

use std::net::IpAddr;
use std::sync::LazyLock;

use flowgate::edge::proxy::client_address;
use flowgate::edge::query::Query;
use flowgate::link::inbound::{ClientFrames, Inbound, SAMPLE, judge};
use flowgate::link::tally::Tally;
use flowgate::link::websocket::{TEXT_FRAME, split_frame, text_frame};
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use socketioxide_core::packet::PacketData;
use socketioxide_core::parser::{Parse, ParseConfig, ParseError, ParserState};
use socketioxide_parser_common::CommonParser;

/// Separates packets in the body of a poll (Engine.IO protocol 4, "Packet encoding").
const RECORD_SEPARATOR: u8 = 0x1e;

/// The same bytes as frames, as the body of a poll, as a query, and as lines of `X-Forwarded-For`.
///
/// Promised: frames are split where RFC 6455 says; what the tally was given and saw written is even, and not before; what
/// a client sends is told apart however it is cut, and never taken for less than the protocol library takes it for; a query's keys that count stand there once; an address that no trusted proxy vouches for is never believed.
pub fn frames(data: &[u8]) {
    split(data);
    tally_of_frames(data);
    tally_of_polls(data);
    client_frames(data);
    data.split(|byte| *byte == RECORD_SEPARATOR).for_each(told_as_the_library_reads_it);
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
    for packet in data.split(|byte| *byte == RECORD_SEPARATOR) {
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

/// The bytes as what a client sends: as they are, and as the payload of frames.
fn client_frames(data: &[u8]) {
    let seen = |bytes: &[u8], cut: usize| {
        let mut frames = ClientFrames::default();
        let mut seen = Vec::new();
        bytes
            .chunks(cut.max(1))
            .for_each(|piece| frames.feed(piece, |inbound, bytes| seen.push((inbound, bytes))));
        seen
    };
    let whole = seen(data, data.len());
    for cut in [1, 3, 17] {
        assert_eq!(seen(data, cut), whole, "cut into {cut}");
    }
    hides_nothing(data, &whole);

    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for packet in data.split(|byte| *byte == RECORD_SEPARATOR) {
        bytes.extend(masked(0x81, packet));
        expected.push((judge(&packet[..packet.len().min(SAMPLE)]), packet.len() as u64));
    }
    for cut in [1, 5, bytes.len()] {
        assert_eq!(seen(&bytes, cut), expected, "cut into {cut}");
    }
    // The same as one message in three fragments.
    let (one, other) = data.split_at(data.len() / 8);
    let fragments = [masked(0x01, one), masked(0x00, b""), masked(0x80, other)].concat();
    hides_nothing(&fragments, &seen(&fragments, fragments.len()));
}

/// No message escapes notice by being cut into fragments (RFC 6455 §5.4): of one that would be forbidden, or is a
/// CONNECT, some frame is told as that or worse.
fn hides_nothing(mut bytes: &[u8], seen: &[(Inbound, u64)]) {
    let mut seen = seen.iter();
    let mut message: Option<(Vec<u8>, Vec<Inbound>)> = None;
    while let Some((first, payload, rest)) = split_client_frame(bytes) {
        bytes = rest;
        let (told, length) = *seen.next().expect("every frame is seen");
        assert_eq!(length, payload.len() as u64);
        let (opcode, is_final) = (first & 0x0f, first & 0x80 != 0);
        match (opcode, &mut message) {
            (1, None) => message = Some((payload, vec![told])),
            (0, Some((text, all))) => {
                text.extend(payload);
                all.push(told);
            }
            (8.., _) => continue,
            // The library closes a connection on which frames follow each other like this, and reads no further.
            _ => return,
        }
        if is_final && let Some((text, all)) = message.take() {
            let is = judge(&text[..text.len().min(SAMPLE)]);
            let noticed = all.iter().any(|told| *told == is || *told == Inbound::Forbidden);
            assert!(noticed || text.is_empty(), "{text:?} is {is:?} and was told as {all:?}");
        }
    }
}

/// The first whole frame of a client: its first byte, its payload unmasked, and what follows.
fn split_client_frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&second, rest) = rest.split_first()?;
    let (length, rest) = match second & 0x7f {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (usize::try_from(u64::from_be_bytes(*length)).ok()?, rest)
        }
        short => (usize::from(short), rest),
    };
    let (mask, rest) = if second & 0x80 != 0 { rest.split_first_chunk::<4>()? } else { (&[0; 4], rest) };
    let (payload, rest) = rest.split_at_checked(length)?;
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Some((first, payload, rest))
}

/// A client's frame of less than 64 KiB.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [7, 1, 200, 33];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        medium => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What the edge tells from a packet's beginning, the library must not read as something that costs more.
fn told_as_the_library_reads_it(packet: &[u8]) {
    let Ok(text) = std::str::from_utf8(packet) else { return };
    let Some(message) = text.strip_prefix('4') else { return };
    let state = ParserState::default();
    let read = CommonParser.decode_str(&ParseConfig::default(), &state, message.to_owned().into());
    let told = judge(&packet[..packet.len().min(SAMPLE)]);
    match read {
        Ok(packet) if packet.ns != "/" => assert_eq!(told, Inbound::Forbidden, "{text:?}"),
        Ok(packet) => match packet.inner {
            PacketData::Connect(_) => assert_eq!(told, Inbound::Connect, "{text:?}"),
            PacketData::Disconnect => assert_eq!(told, Inbound::Other, "{text:?}"),
            // Ids that are longer than any client's are forbidden.
            PacketData::Event(..) => assert!(matches!(told, Inbound::Event | Inbound::Forbidden), "{text:?}"),
            _ => assert_eq!(told, Inbound::Forbidden, "{text:?}"),
        },
        Err(ParseError::NeedsMoreBinaryData) => assert_eq!(told, Inbound::Forbidden, "{text:?}"),
        // Anything else closes the connection.
        Err(_) => {}
    }
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
