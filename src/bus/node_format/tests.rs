//! Whole messages. Those in hexadecimal were written by the packages themselves: `@socket.io/redis-emitter` 5.1.0,
//! `@socket.io/redis-adapter` 8.3.0 and `notepack.io` 3.0.1.

use proptest::prelude::*;
use rmp::encode::{ByteBuf, write_array_len, write_map_len, write_sint, write_str};
use serde_json::Value;

use super::*;
use crate::event::fixtures::json_value;

/// `emitter.to("red").emit("database-changed", {type: "task-created", taskId: 7})`
const TO_ONE: &str = "93a7656d697474657283a47479706502a46461746192b064617461626173652d6368616e67656482a474797065ac7461736b2d63726561746564a67461736b496407a36e7370a12f83a5726f6f6d7391a3726564a5666c61677380a665786365707490";

/// `emitter.to("red").to("blue").except("green").volatile.compress(false).emit("a", 1, [null, true, 1.5, -3, "größe"])`
const TO_TWO: &str = "93a7656d697474657283a47479706502a46461746193a1610195c0c3cb3ff8000000000000fda76772c3b6c39f65a36e7370a12f83a5726f6f6d7392a3726564a4626c7565a5666c61677382a8766f6c6174696c65c3a8636f6d7072657373c2a665786365707491a5677265656e";

/// `emitter.of("/admin").to("red").emit("a", 1)`
const TO_ADMIN: &str = "93a7656d697474657283a47479706502a46461746192a16101a36e7370a62f61646d696e83a5726f6f6d7391a3726564a5666c61677380a665786365707490";

/// `emitter.to("red").emit("a", {file: Buffer.from("xyz"), view: new ArrayBuffer(3)})`
const BINARY: &str = "93a7656d697474657283a47479706502a46461746192a16182a466696c65c40378797aa476696577c403010203a36e7370a12f83a5726f6f6d7391a3726564a5666c61677380a665786365707490";

/// `emitter.to("red").emit("a", {at: new Date(1772366400123), not: undefined, list: [undefined]}, undefined)`
const DATE: &str = "93a7656d697474657283a47479706502a46461746193a16182a26174d7ff1d53530069a42a40a46c69737491c0c0a36e7370a12f83a5726f6f6d7391a3726564a5666c61677380a665786365707490";

/// `emitter.to(5).emit("a", …)` with integers of every length.
const NUMBERS: &str = "93a7656d697474657283a47479706502a46461746196a161cf0020000000000000cf0000010000000000d3ffffff0000000000ce00011170d2fffeee90a36e7370a12f83a5726f6f6d739105a5666c61677380a665786365707490";

/// The bytes that are written so.
pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn on(room: &str, message: &[u8]) -> Result<Option<Broadcast<'static>>, Unreadable> {
    // Leaked, for it is only a test.
    read(message.to_vec().leak(), Address::Room(room))
}

#[test]
fn what_an_emitter_sends_to_one_room() {
    let read = on("red", &bytes(TO_ONE)).unwrap().unwrap();
    assert_eq!((read.uid, read.event), ("emitter", "database-changed"));
    assert_eq!(read.arguments, r#"{"type":"task-created","taskId":7}"#);
    assert_eq!((read.rooms, read.except), (vec!["red".into()], vec![]));
}

#[test]
fn what_an_emitter_sends_to_several_rooms() {
    let message = bytes(TO_TWO);
    let read = read(&message, Address::General).unwrap().unwrap();
    assert_eq!(read.arguments, r#"1,[null,true,1.5,-3,"größe"]"#);
    assert_eq!((read.rooms, read.except), (vec!["red".into(), "blue".into()], vec!["green".into()]));
}

#[test]
fn values_become_what_clients_of_node_hear() {
    let dates = on("red", &bytes(DATE)).unwrap().unwrap();
    assert_eq!(dates.arguments, r#"{"at":"2026-03-01T12:00:00.123Z","list":[null]},null"#);
    let numbers = on("5", &bytes(NUMBERS)).unwrap().unwrap();
    assert_eq!(numbers.arguments, "9007199254740992,1099511627776,-1099511627776,70000,-70000");
    assert_eq!(numbers.rooms, ["5"]);
}

#[test]
fn what_is_no_broadcast_for_here_is_refused_with_its_reason() {
    assert_eq!(on("red", &bytes(TO_ADMIN)), Err(Unreadable::Namespace));
    assert_eq!(on("red", &bytes(BINARY)), Err(Unreadable::Binary));
    for channel in ["blue", "re", ""] {
        assert!(matches!(on(channel, &bytes(TO_ONE)), Err(Unreadable::NoBroadcast(_))), "{channel}");
    }
    // For two rooms, on the channel of one.
    assert!(matches!(on("red", &bytes(TO_TWO)), Err(Unreadable::NoBroadcast(_))));
    let request = br#"{"uid":"Ab3_-9","requestId":"q1w2e3","type":5,"opts":{"rooms":["red"],"except":[]}}"#;
    assert!(matches!(on("red", request), Err(Unreadable::NoBroadcast(_))));
}

#[test]
fn every_cut_and_every_tail_is_refused() {
    let whole = bytes(TO_TWO);
    for length in 0..whole.len() {
        assert!(read(&whole[..length], Address::General).is_err(), "{length}");
    }
    let longer = [&whole[..], &[0xc0]].concat();
    assert_eq!(read(&longer, Address::General), Err(Unreadable::NoMessagePack));
}

/// A message of these parts, each MessagePack already.
fn message(packet: &[(&str, &[u8])], opts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = ByteBuf::new();
    write_array_len(&mut out, 3).unwrap();
    write_str(&mut out, "emitter").unwrap();
    for part in [packet, opts] {
        write_map_len(&mut out, part.len() as u32).unwrap();
        for (key, value) in part {
            write_str(&mut out, key).unwrap();
            out.as_mut_vec().extend_from_slice(value);
        }
    }
    out.into_vec()
}

/// A MessagePack array of texts.
fn texts(texts: &[&str]) -> Vec<u8> {
    let mut out = ByteBuf::new();
    write_array_len(&mut out, texts.len() as u32).unwrap();
    texts.iter().for_each(|text| write_str(&mut out, text).unwrap());
    out.into_vec()
}

#[test]
fn a_packet_may_leave_out_its_namespace_and_nothing_else() {
    let (data, rooms) = (texts(&["a", "b"]), texts(&["red"]));
    let packet: &[(&str, &[u8])] = &[("data", &data), ("type", &[2])];
    let opts: &[(&str, &[u8])] = &[("rooms", &rooms), ("flags", &[0x80]), ("more", &[0x91, 0xc4, 1, 0])];
    assert_eq!(on("red", &message(packet, opts)).unwrap().unwrap().arguments, r#""b""#);

    let refused =
        |packet: &[(&str, &[u8])], opts: &[(&str, &[u8])]| on("red", &message(packet, opts)).unwrap_err();
    let no_broadcast = |error| matches!(error, Unreadable::NoBroadcast(_));
    assert!(no_broadcast(refused(&packet[..1], opts)));
    assert!(no_broadcast(refused(&packet[1..], opts)));
    assert!(no_broadcast(refused(packet, &opts[1..])));
    assert!(no_broadcast(refused(packet, &[("rooms", &[0x91, 0xc3])])));
    assert!(no_broadcast(refused(&[("data", &data), ("type", &[0])], opts)));
    assert!(no_broadcast(refused(&[("data", &[0x90]), ("type", &[2])], opts)));
    assert!(no_broadcast(refused(&[("data", &[0x91, 7]), ("type", &[2])], opts)));
    assert!(no_broadcast(refused(&[("data", &[0x80]), ("type", &[2])], opts)));
    assert_eq!(refused(&[("data", &data), ("type", &[5])], opts), Unreadable::Binary);
    assert_eq!(refused(&[("data", &data), ("type", &[2]), ("nsp", &[0xc0])], opts), Unreadable::Namespace);
    // Two readers could each see another one.
    assert!(no_broadcast(refused(&[("data", &data), ("data", &data), ("type", &[2])], opts)));
    assert!(no_broadcast(refused(packet, &[("rooms", &rooms), ("rooms", &rooms)])));
    assert!(no_broadcast(refused(packet, &[("rooms", &rooms), ("except", &[0x90]), ("except", &[0x90])])));
}

#[test]
fn rooms_and_depth_are_bounded() {
    let data = texts(&["a"]);
    let packet: &[(&str, &[u8])] = &[("data", &data), ("type", &[2])];
    let names = vec!["r"; MOST_ROOMS + 1];
    let to = |names: &[&str]| message(packet, &[("rooms", &texts(names))]);
    assert!(read(&to(&names[1..]), Address::General).is_ok());
    assert_eq!(read(&to(&names), Address::General), Err(Unreadable::TooManyRooms));

    let rooms = texts(&["red"]);
    let nested = |depth: usize| [&[0x92, 0xa1, b'a'], &vec![0x91; depth][..], &[1]].concat();
    let deep = |depth| message(&[("data", &nested(depth)), ("type", &[2])], &[("rooms", &rooms)]);
    assert!(on("red", &deep(DEEPEST)).is_ok());
    assert_eq!(on("red", &deep(DEEPEST + 1)), Err(Unreadable::TooDeep));
    assert_eq!(on("red", &deep(1_000_000)), Err(Unreadable::TooDeep));
    let unknown = [&vec![0x91; DEEPEST + 1][..], &[1]].concat();
    let with_unknown = message(packet, &[("rooms", &rooms), ("unknown", &unknown)]);
    assert_eq!(on("red", &with_unknown), Err(Unreadable::TooDeep));
}

#[test]
fn own_messages_are_known() {
    let own = write("flowgate:1f-2", &["red"], "a", "1").unwrap();
    assert_eq!(on("red", &own), Ok(None));
    let of_another = write("Ab3_-9", &["red"], "a", "1").unwrap();
    assert!(on("red", &of_another).unwrap().is_some());
}

#[test]
fn writes_what_the_packages_would_write() {
    // `notepack.io` writes the same but for shorter heads of arrays and maps in the payload; here there is none.
    let written = write("emitter", &["red", "blue"], "a", r#""größe""#).unwrap();
    let mut expected = ByteBuf::new();
    write_array_len(&mut expected, 3).unwrap();
    write_str(&mut expected, "emitter").unwrap();
    write_map_len(&mut expected, 3).unwrap();
    write_str(&mut expected, "type").unwrap();
    write_sint(&mut expected, 2).unwrap();
    write_str(&mut expected, "data").unwrap();
    expected.as_mut_vec().extend(texts(&["a", "größe"]));
    write_str(&mut expected, "nsp").unwrap();
    write_str(&mut expected, "/").unwrap();
    write_map_len(&mut expected, 3).unwrap();
    write_str(&mut expected, "rooms").unwrap();
    expected.as_mut_vec().extend(texts(&["red", "blue"]));
    write_str(&mut expected, "except").unwrap();
    write_array_len(&mut expected, 0).unwrap();
    write_str(&mut expected, "flags").unwrap();
    write_map_len(&mut expected, 0).unwrap();
    assert_eq!(written, expected.into_vec());
}

/// The payload as it comes back from being written and read.
fn there_and_back(payload: &str) -> String {
    let message = write("Ab3_-9", &["red"], "a", payload).unwrap();
    on("red", &message).unwrap().unwrap().arguments
}

#[test]
fn numbers_become_doubles_and_what_javascript_lacks_is_not_written() {
    let payload =
        r#" {"a" : 1.0, "b":-0, "c":12345678901234567890, "d":9007199254740993, "e":1e21, "f":[ ] } "#;
    let back = r#"{"a":1,"b":0,"c":12345678901234567000,"d":9007199254740992,"e":1e+21,"f":[]}"#;
    assert_eq!(there_and_back(payload), back);
    for payload in ["1e400", r#""\ud800""#, "{", "1 2", ""] {
        assert!(write("Ab3_-9", &["red"], "a", payload).is_err(), "{payload}");
    }
    // As long as the document they stand in.
    let wide = format!("[{}0]", "0,".repeat(70_000));
    assert_eq!(there_and_back(&wide), wide);
}

/// The value with every number as JavaScript reads it.
fn with_doubles(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.into_iter().map(with_doubles).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(key, value)| (key, with_doubles(value))).collect()
        }
        other => other,
    }
}

proptest! {
    #[test]
    fn payloads_come_back_as_they_were(value in json_value(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let back: Value = serde_json::from_str(&there_and_back(&text)).unwrap();
        prop_assert_eq!(with_doubles(back), with_doubles(value));
    }

    #[test]
    fn survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), room: bool) {
        let address = if room { Address::Room("red") } else { Address::General };
        let _ = read(&bytes, address);
    }
}
