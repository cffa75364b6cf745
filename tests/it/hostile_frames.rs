//! Frames and packets that no honest client sends. The sender is closed or refused; an honest client that is connected
//! throughout sends and hears as before.

use serde_json::json;

use crate::harness::frames::{BINARY, CONTINUES, CONTINUES_LAST, PING, PONG, TEXT, TEXT_BEGINS, frame};
use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, closes, member, within};

/// A client that is there all the time.
struct Honest {
    speaks: RawSocket,
    hears: RawSocket,
    polls: Polling,
    said: u64,
}

impl Honest {
    async fn join(sidecar: &Sidecar) -> Self {
        let auth = |user: &str| member(user, &["red"]);
        Honest {
            speaks: RawSocket::join(sidecar.public, &auth("ann")).await,
            hears: RawSocket::join(sidecar.public, &auth("ben")).await,
            polls: Polling::join(sidecar.public, &auth("cleo")).await,
            said: 0,
        }
    }

    /// Says something, and everybody hears that next and nothing else.
    async fn goes_on(&mut self) {
        self.said += 1;
        let text = format!(r#"{{"honest":{}}}"#, self.said);
        assert_eq!(self.speaks.ask(&text).await["ok"], true);
        assert_eq!(self.speaks.event().await, text);
        assert_eq!(self.hears.event().await, text);
        assert_eq!(self.polls.event().await, text);
    }
}

/// An admitted member sends these bytes and is closed, without anything of it having been relayed.
async fn closes_whoever_sends(sidecar: &Sidecar, honest: &mut Honest, name: &str, bytes: &[u8]) {
    let mut attacker = RawSocket::join(sidecar.public, &member("eve", &["red"])).await;
    attacker.send_bytes(bytes).await;
    let heard = within(&format!("the end of whoever sends {name}"), attacker.closed()).await;
    assert!(heard.iter().all(|packet| packets::heard(packet).is_none()), "{name}: {heard:?}");
    sidecar.until("flowgate_peers", 3.0).await;
    honest.goes_on().await;
}

async fn closes_whoever_says(sidecar: &Sidecar, honest: &mut Honest, packet: &str) {
    let name: String = packet.chars().take(60).collect();
    closes_whoever_sends(sidecar, honest, &name, &frame(TEXT, packet.as_bytes())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_closes() {
    let sidecar = Sidecar::start("").await;
    let mut honest = Honest::join(&sidecar).await;
    closes_whoever_sends(&sidecar, &mut honest, "a binary message", &frame(BINARY, b"\x04abc")).await;
    closes_whoever_sends(&sidecar, &mut honest, "an empty binary message", &frame(BINARY, b"")).await;
    for packet in [
        format!(r#"451-["{EVENT}",{{"_placeholder":true,"num":0}}]"#),
        format!(r#"451-["{EVENT}",{{"_placeholder":true,"num":7}}]"#),
        format!(r#"451-["{EVENT}",{{"_placeholder":true,"num":-1}}]"#),
        format!(r#"451-["{EVENT}",{{"_placeholder":true,"num":"0"}}]"#),
        format!(r#"4510000-["{EVENT}",{{"_placeholder":true,"num":0}}]"#),
        format!(r#"45999999999999999999999-["{EVENT}"]"#),
        format!(r#"451-1["{EVENT}",{{"_placeholder":true,"num":0}}]"#),
        format!(r#"45-["{EVENT}"]"#),
        r#"461-1[{"_placeholder":true,"num":0}]"#.to_owned(),
        "bAQID".to_owned(),
        "b!!!!".to_owned(),
    ] {
        closes_whoever_says(&sidecar, &mut honest, &packet).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_packets_close() {
    let sidecar = Sidecar::start("").await;
    let mut honest = Honest::join(&sidecar).await;
    for packet in [
        // Engine.IO.
        "",
        "0",
        "5",
        "7",
        "9",
        "x",
        "é",
        "\u{0}",
        // Socket.IO.
        "4",
        "47",
        "48[]",
        "4é",
        "43[]",
        "43-1[]",
        "43x[]",
        // Not an event with a plain name.
        "42",
        "42[]",
        "42[1]",
        "42[null]",
        "42[{}]",
        "42[[]]",
        "42{}",
        "42\"a\"",
        r#"42["a\u0062"]"#,
        // Not JSON.
        r#"42["database-change",]"#,
        r#"42["database-change",{"a":}]"#,
        r#"42["database-change",01]"#,
        r#"42["database-change",tru]"#,
        r#"42["database-change",'a']"#,
        r#"42["database-change",NaN]"#,
        r#"42["database-change","#,
        r#"42["database-change",1"#,
        "42[\"database-change\",\"\n\"]",
    ] {
        closes_whoever_says(&sidecar, &mut honest, packet).await;
    }
}

/// What is odd and harmless: refused or passed over, and the connection goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_packets_are_survived() {
    let sidecar = Sidecar::start("").await;
    let mut honest = Honest::join(&sidecar).await;
    let mut odd = RawSocket::join(sidecar.public, &member("eve", &["blue"])).await;
    for packet in [
        // Answers to questions that were never asked, and pings and pongs out of turn.
        "431[]",
        "4399999999999[1]",
        "43999999999999999999999999[1]",
        "3",
        "2",
        "6",
        // Of a namespace that it has not joined.
        r#"42/admin,["database-change",1]"#,
        r#"42/,["database-change",1]"#,
        "41/admin",
        // Trailing junk, and acknowledgement numbers out of range.
        r#"42["database-change",1]x"#,
        r#"42["database-change",1]]"#,
        r#"42["database-change"] []"#,
        r#"4299999999999999999999999["no-such-event"]"#,
        r#"42-1["database-change"]"#,
    ] {
        odd.send(packet).await;
        honest.goes_on().await;
    }
    // Whether one of them closed it is the library's to say; nobody heard anything of them.
    drop(odd);
    sidecar.until("flowgate_peers", 3.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_is_no_text_closes() {
    let sidecar = Sidecar::start("").await;
    let mut honest = Honest::join(&sidecar).await;
    for (name, bytes) in [
        ("invalid UTF-8", &b"42[\"database-change\",\"\xff\xfe\"]"[..]),
        ("a cut character", b"42[\"database-change\",\"\xf0\x9f\x98\"]"),
        ("an overlong form", b"42[\"database-change\",\"\xc0\xaf\"]"),
        ("a surrogate in UTF-8", b"42[\"database-change\",\"\xed\xa0\x80\"]"),
        ("a cut character at the end", b"4\xc3"),
    ] {
        closes_whoever_sends(&sidecar, &mut honest, name, &frame(TEXT, bytes)).await;
    }
    // A character may be cut by a frame's end, if the next one goes on with it.
    let mut attacker = RawSocket::join(sidecar.public, &member("eve", &["red"])).await;
    attacker.send_bytes(&frame(TEXT_BEGINS, b"42[\"no-such-event\",\"\xc3")).await;
    attacker.send_bytes(&frame(CONTINUES_LAST, b"\xa9\"]")).await;
    assert_eq!(attacker.heard_until_now().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_against_the_rules_close() {
    let sidecar = Sidecar::start("").await;
    let mut honest = Honest::join(&sidecar).await;
    let long_ping = frame(PING, &[b'x'; 126]);
    for (name, bytes) in [
        ("an unmasked frame", &b"\x81\x01a"[..]),
        ("a reserved bit", &frame(0xc1, b"2")),
        ("a reserved opcode", &frame(0x83, b"")),
        ("a reserved control opcode", &frame(0x8b, b"")),
        ("a fragmented ping", &frame(0x09, b"")),
        ("a long ping", &long_ping),
        ("a continuation of nothing", &frame(CONTINUES_LAST, b"2")),
        ("a text inside a text", &[frame(TEXT_BEGINS, b"4"), frame(TEXT, b"2")].concat()),
        ("a close frame with half a code", &frame(0x88, b"\x03")),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ] {
        closes_whoever_sends(&sidecar, &mut honest, name, bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_over_the_limit_close() {
    let sidecar = Sidecar::start("").await;
    let mut honest = Honest::join(&sidecar).await;
    let megabyte = packets::event(EVENT, &format!("\"{}\"", "x".repeat(1 << 20)), None);
    closes_whoever_says(&sidecar, &mut honest, &megabyte).await;
    let long_name = packets::event(&"x".repeat(1 << 20), "", Some(1));
    closes_whoever_says(&sidecar, &mut honest, &long_name).await;
    // Only announced: the header alone says that it is too long.
    let announced = [&[TEXT, 0x80 | 127][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    closes_whoever_sends(&sidecar, &mut honest, "a frame announced as endless", &announced).await;
    let announced = [&[TEXT, 0x80 | 127][..], &(1_u64 << 30).to_be_bytes(), &[0; 4]].concat();
    closes_whoever_sends(&sidecar, &mut honest, "a frame announced as a gigabyte", &announced).await;
    // In thousands of tiny fragments, and in ones that never end.
    let mut tiny = frame(TEXT_BEGINS, b"4");
    for _ in 0..70_000 {
        tiny.extend(frame(CONTINUES, b"x"));
    }
    closes_whoever_sends(&sidecar, &mut honest, "tiny fragments", &tiny).await;
    let mut endless = frame(TEXT_BEGINS, b"4");
    for _ in 0..20 {
        endless.extend(frame(CONTINUES, &[b'x'; 8 << 10]));
    }
    closes_whoever_sends(&sidecar, &mut honest, "an endless message", &endless).await;
}

/// Fragments as such are a message like any other.
#[tokio::test]
async fn fragments_make_one_message() {
    let sidecar = Sidecar::start("").await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    // The first fragment tells what the packet is; the rest may come a byte at a time, with pongs between.
    let packet = packets::event(EVENT, r#"{"a":"é"}"#, None);
    let (told, rest) = packet.as_bytes().split_at(3);
    let mut bytes = frame(TEXT_BEGINS, told);
    for byte in rest {
        bytes.extend(frame(CONTINUES, &[*byte]));
        bytes.extend(frame(PONG, b""));
    }
    bytes.extend(frame(CONTINUES_LAST, b""));
    ann.send_bytes(&bytes).await;
    assert_eq!(ann.event().await, r#"{"a":"é"}"#);
    // One that tells nothing could hide anything.
    ann.send_bytes(&frame(TEXT_BEGINS, b"")).await;
    assert_eq!(within("the end", ann.closed()).await, Vec::<String>::new());
}

/// A message whose bytes come one at a time delays nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_trickles_delays_nobody() {
    let sidecar = Sidecar::start("").await;
    let mut honest = Honest::join(&sidecar).await;
    let mut slow = RawSocket::join(sidecar.public, &member("eve", &["red"])).await;
    let bytes = frame(TEXT, packets::event("no-such-event", "\"at last\"", Some(7)).as_bytes());
    for byte in &bytes {
        slow.send_bytes(&[*byte]).await;
        honest.goes_on().await;
    }
    let answer = loop {
        let packet = slow.packet().await.unwrap();
        if let Some(answer) = packets::answer(&packet, 7) {
            break answer;
        }
    };
    assert_eq!(answer["code"], "unknown_event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_that_would_break_a_parser() {
    let sidecar = Sidecar::start("[events.database-change]\npayload = \"typed\"").await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut ben = RawSocket::join(sidecar.public, &member("ben", &["red"])).await;
    let with = |more: &str| format!(r#"{{"type":"task-updated","taskId":1{more}}}"#);
    assert_eq!(ann.ask(&with("")).await["ok"], true);
    let unknown: String = (0..1_000).map(|at| format!(",\"k{at}\":1")).collect();
    for (payload, code) in [
        (with(r#","type":"task-deleted""#), "invalid_payload"),
        (with(r#","taskId":2"#), "invalid_payload"),
        (with(r#","task\u0049d":2"#), "invalid_payload"),
        (with(r#","__proto__":{"admin":true}"#), "unknown_field"),
        (with(r#","constructor":1"#), "unknown_field"),
        (with(&unknown), "unknown_field"),
        (format!(r#"{{"type":"task-updated","taskId":{}}}"#, "9".repeat(10_000)), "invalid_payload"),
        (r#"{"type":"task-updated","taskId":1e400}"#.to_owned(), "invalid_payload"),
        (r#"{"type":"task-updated","taskId":1.5}"#.to_owned(), "invalid_payload"),
        (r#"{"type":"task-updated","taskId":[[[[[[[[[1]]]]]]]]]}"#.to_owned(), "too_deep"),
        (format!("{}{}", "[".repeat(100), "]".repeat(100)), "too_deep"),
    ] {
        let shown: String = payload.chars().take(80).collect();
        assert_eq!(ann.ask(&payload).await, json!({ "ok": false, "code": code }), "{shown}");
    }
    assert_eq!(ben.heard_until_now().await, [with("")]);
}

/// So deep that even skipping over it would overflow a stack that recurses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_that_is_deep_beyond_all_measure() {
    let sidecar = Sidecar::start("[limits.payload]\nmax_bytes = \"1MiB\"\nhard_max_bytes = \"2MiB\"").await;
    let mut honest = Honest::join(&sidecar).await;
    for depth in [129, 1_000, 100_000] {
        let mut eve = RawSocket::join(sidecar.public, &member("eve", &["red"])).await;
        eve.emit(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))).await;
        eve.emit(&format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))).await;
        drop(eve);
        honest.goes_on().await;
        sidecar.until("flowgate_peers", 3.0).await;
    }
}

/// Pings, pongs and empty packets in floods: answered or passed over, and others do not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_control_delay_nobody() {
    let sidecar = Sidecar::start("").await;
    let mut honest = Honest::join(&sidecar).await;
    for flood in
        [frame(PING, b"x"), frame(PONG, b""), frame(TEXT, b"2"), frame(TEXT, b"3"), frame(TEXT, b"431[]")]
    {
        let mut eve = RawSocket::join(sidecar.public, &member("eve", &["red"])).await;
        let flood = flood.repeat(1_000);
        let flooding = tokio::spawn(async move {
            for _ in 0..10 {
                eve.send_bytes(&flood).await;
            }
            eve
        });
        for _ in 0..5 {
            honest.goes_on().await;
        }
        drop(within("the flood", flooding).await.unwrap());
        sidecar.until("flowgate_peers", 3.0).await;
    }
}

#[tokio::test]
async fn what_closes_is_counted() {
    let sidecar = Sidecar::start("").await;
    for packet in ["451-[\"a\",{}]", "47", "42[1]", "x"] {
        let mut eve = RawSocket::join(sidecar.public, &member("eve", &["red"])).await;
        eve.send(packet).await;
        eve.closed().await;
        sidecar.until("flowgate_peers", 0.0).await;
    }
    sidecar.until(&closes("bad_packet"), 4.0).await;
}
