//! WebSocket frames and what they carry: binary, broken text, too much of it.

use futures_util::StreamExt;
use futures_util::stream::iter;
use serde_json::json;

use crate::harness::frames::{BINARY, CONTINUES, CONTINUES_LAST, PING, PONG, TEXT, TEXT_BEGINS, frame};
use crate::harness::packets::{self, EVENT};
use crate::harness::{closes, within};

use super::scene::{Scene, TEAM};

/// Insiders that attack at the same time, where each alone might go unnoticed.
const AT_ONCE: usize = 200;

/// What a flood may cost the process in memory at its worst. What it sends is many times that.
const FLOOD_MEMORY: u64 = 64 << 20;

/// Beside the honest team's event, one whose payload is typed.
const TYPED: &str = r#"
[events.typed]
emit = "database-changed"
payload = "typed"
fields = { title = { kind = "string", presence = "optional" }, more = { kind = "object", presence = "optional" } }
[[events.typed.types]]
match = "task-updated"
task_id = "optional"
"#;

/// An insider sends each of these byte strings and is closed for it, which is counted, without the honest team hearing
/// anything of it.
async fn closes_whoever_sends(scene: &Scene, attacks: &[(String, Vec<u8>)]) {
    scene
        .during(async {
            let mut closed = scene.closed("bad_packet").await;
            for (name, bytes) in attacks {
                let mut eve = scene.websocket("eve", &[TEAM]).await;
                eve.send_bytes(bytes).await;
                let heard = within(&format!("the end of whoever sends {name}"), eve.closed()).await;
                // It may have heard the honest, and nothing of its own.
                let honest = |packet: &String| packet.starts_with(r#"2["database-changed",{"honest":"#);
                assert!(heard.iter().all(honest), "{name}: {heard:?}");
                closed += 1.0;
                scene.until(&closes("bad_packet"), closed).await;
            }
        })
        .await;
    scene.at_rest().await;
}

/// The same for what a text message says.
fn said(packet: &str) -> (String, Vec<u8>) {
    (packet.chars().take(60).collect(), frame(TEXT, packet.as_bytes()))
}

fn sent(name: &str, bytes: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.to_owned(), bytes.into())
}

/// Two hundred insiders send this at once, as often as they are let.
async fn flood(scene: &Scene, bytes: &[u8], times: usize) {
    use tokio::io::AsyncWriteExt;
    iter(0..AT_ONCE)
        .for_each_concurrent(None, async |_| {
            let mut eve = scene.websocket("eve", &["blue"]).await;
            for _ in 0..times {
                if eve.stream.get_mut().write_all(bytes).await.is_err() {
                    break;
                }
            }
            within("the end of a flood", eve.closed()).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_05_binary_closes_and_is_not_buffered() {
    let scene = Scene::new("").await;
    let packets = [
        format!(r#"451-["{EVENT}",{{"_placeholder":true,"num":0}}]"#),
        format!(r#"451-["{EVENT}",{{"_placeholder":true,"num":7}}]"#),
        format!(r#"451-["{EVENT}",{{"_placeholder":true,"num":-1}}]"#),
        format!(r#"451-["{EVENT}",{{"_placeholder":true,"num":1e9}}]"#),
        format!(r#"451-["{EVENT}",{{"_placeholder":true,"num":"0"}}]"#),
        format!(r#"451-["{EVENT}",{{"_placeholder":"true","num":0}}]"#),
        format!(r#"452-["{EVENT}",{{"_placeholder":true,"num":0}}]"#),
        format!(r#"450-["{EVENT}",{{"_placeholder":true,"num":0}}]"#),
        format!(r#"4510000-["{EVENT}",{{"_placeholder":true,"num":0}}]"#),
        format!(r#"45999999999999999999999-["{EVENT}"]"#),
        format!(r#"45-1-["{EVENT}"]"#),
        format!(r#"451-1["{EVENT}",{{"_placeholder":true,"num":0}}]"#),
        format!(r#"451-/admin,["{EVENT}",{{"_placeholder":true,"num":0}}]"#),
        format!(r#"45-["{EVENT}"]"#),
        r#"461-1[{"_placeholder":true,"num":0}]"#.to_owned(),
        "bAQID".to_owned(),
        "b!!!!".to_owned(),
    ];
    let mut attacks: Vec<_> = packets.iter().map(|packet| said(packet)).collect();
    attacks.push(sent("a binary message", frame(BINARY, b"\x04abc")));
    attacks.push(sent("an empty binary message", frame(BINARY, b"")));
    let begun = frame(TEXT, packets[8].as_bytes());
    attacks.push(sent("attachments", [begun.clone(), frame(BINARY, &[0; 50_000]).repeat(20)].concat()));
    closes_whoever_sends(&scene, &attacks).await;
    // The same by polling.
    let mut closed = attacks.len() as f64;
    for packet in &packets {
        let mut eve = scene.polling("eve", &[TEAM]).await;
        assert_eq!(eve.post(packet).await.status, 400, "{packet}");
        closed += 1.0;
        scene.until(&closes("bad_packet"), closed).await;
    }
    scene.honest_hears().await;
    // Ten thousand attachments announced, and as many of them sent as is let, by many at once.
    let before = scene.process().peak_resident();
    scene.during(flood(&scene, &[begun, frame(BINARY, &[0; 50_000]).repeat(20)].concat(), 4)).await;
    let grown = scene.process().peak_resident() - before;
    assert!(grown < FLOOD_MEMORY, "{grown} bytes");
    scene.at_rest().await;
    assert_eq!(scene.metric("flowgate_events_accepted_total").await, scene.honest_said().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_07_broken_packets_close() {
    let scene = Scene::new("").await;
    let attacks = [
        // Engine.IO.
        "",
        "0",
        "5",
        "6",
        "7",
        "9",
        "2probe",
        "3probe",
        "x",
        "é",
        "\u{0}",
        // Socket.IO.
        "4",
        "47",
        "48[]",
        "4é",
        // Answers to questions that were never asked.
        "43[]",
        "431[]",
        "43-1[]",
        "43x[]",
        "4399999999999[1]",
        "43999999999999999999999999[1]",
        // Of a namespace that it has not joined.
        r#"42/admin,["database-change",1]"#,
        r#"42/,["database-change",1]"#,
        "41/admin",
        "40/x,",
        "44{}",
        // Acknowledgement ids that are none.
        r#"4299999999999999999999999["database-change"]"#,
        r#"4218446744073709551616["database-change"]"#,
        r#"421234567890123456789["database-change"]"#,
        r#"42-1["database-change"]"#,
        r#"421.5["database-change"]"#,
        r#"421e3["database-change"]"#,
        r#"42 1["database-change"]"#,
        // Not JSON, or more than it.
        r#"42["database-change",]"#,
        r#"42["database-change",{"a":}]"#,
        r#"42["database-change",01]"#,
        r#"42["database-change",tru]"#,
        r#"42["database-change",'a']"#,
        r#"42["database-change",NaN]"#,
        r#"42["database-change","#,
        r#"42["database-change",1"#,
        "42[\"database-change\",\"\n\"]",
    ];
    let frames: Vec<_> = attacks.iter().map(|packet| said(packet)).collect();
    closes_whoever_sends(&scene, &frames).await;
    // The same by polling. What has no place in Engine.IO there is 400, and may or may not end the session.
    for packet in ["0", "5", "6", "7", "x", "2probe", "3probe"] {
        let mut odd = scene.polling("eve", &[TEAM]).await;
        assert_eq!(odd.post(packet).await.status, 400, "{packet}");
        odd.post("1").await;
    }
    scene
        .during(async {
            for packet in attacks.iter().filter(|packet| packet.starts_with('4')) {
                let closed = scene.closed("bad_packet").await;
                let mut eve = scene.polling("eve", &[TEAM]).await;
                // The library says `ok` to a body of packets, and then looks into them.
                assert!([200, 400].contains(&eve.post(packet).await.status), "{packet}");
                within("the end", eve.closed()).await;
                scene.until(&closes("bad_packet"), closed + 1.0).await;
            }
        })
        .await;
    scene.at_rest().await;
    assert_eq!(scene.metric("flowgate_events_accepted_total").await, scene.honest_said().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_08_text_that_is_no_text_closes() {
    let scene = Scene::new("").await;
    let attacks: Vec<_> = [
        ("invalid UTF-8", &b"42[\"database-change\",\"\xff\xfe\"]"[..]),
        ("a cut character", b"42[\"database-change\",\"\xf0\x9f\x98\"]"),
        ("an overlong form", b"42[\"database-change\",\"\xc0\xaf\"]"),
        ("a surrogate in UTF-8", b"42[\"database-change\",\"\xed\xa0\x80\"]"),
        ("two surrogates in UTF-8", b"42[\"database-change\",\"\xed\xa0\xbd\xed\xb8\x80\"]"),
        ("beyond Unicode", b"42[\"database-change\",\"\xf4\x90\x80\x80\"]"),
        ("a cut character at the end", b"4\xc3"),
        ("a cut character in the ack id", b"421\xc3[\"database-change\"]"),
        ("nothing but a continuation byte", b"\x80"),
    ]
    .map(|(name, bytes)| sent(name, frame(TEXT, bytes)))
    .into_iter()
    .chain([sent(
        "a character that a message of fragments ends in",
        [frame(TEXT_BEGINS, b"42[\"database-change\",\"\xc3"), frame(CONTINUES_LAST, b"\"]")].concat(),
    )])
    .collect();
    closes_whoever_sends(&scene, &attacks).await;
    // By polling the same bytes are no packet either.
    for bytes in [&b"42[\"database-change\",\"\xff\xfe\"]"[..], b"4\xc3", b"\x80"] {
        let eve = scene.polling("eve", &[TEAM]).await;
        let mut http = scene.tcp(super::scene::source(1)).await;
        let head =
            format!("POST {} HTTP/1.1\r\nHost: l\r\nContent-Length: {}\r\n\r\n", eve.target(), bytes.len());
        http.send_raw([head.as_bytes(), bytes].concat()).await;
        assert_eq!(within("an answer", http.answer()).await.expect("an answer").status, 400);
        let mut eve = eve;
        eve.post("1").await;
    }
    // A character may be cut by a frame's end, if the next one goes on with it.
    let mut eve = scene.websocket("eve", &["blue"]).await;
    eve.send_bytes(&frame(TEXT_BEGINS, b"42[\"database-change\",\"\xc3")).await;
    eve.send_bytes(&frame(CONTINUES_LAST, b"\xa9\"]")).await;
    assert_eq!(eve.event().await, "\"é\"");
    drop(eve);
    scene.at_rest().await;
}

/// As an escape, half of a surrogate pair is JSON and yet no text: what is read as text refuses it, and what is not read
/// is relayed as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_08_escaped_lone_surrogates_are_refused_where_text_is_read() {
    const HALVES: [&str; 6] =
        [r"\ud800", r"\udfff", r"\uD83D", r"a\ude00\ud83d", r"\ud83d\u0041", r"\ud83d\ud83d\ude00"];
    let scene = Scene::new(TYPED).await;
    let mut eve = scene.websocket("eve", &["blue"]).await;
    scene
        .during(async {
            for half in HALVES {
                for payload in [
                    format!(r#"{{"type":"{half}"}}"#),
                    format!(r#"{{"type":"task-updated","taskId":"{half}"}}"#),
                    format!(r#"{{"type":"task-updated","taskId":1,"title":"{half}"}}"#),
                    format!(r#"{{"type":"task-updated","taskId":1,"{half}":1}}"#),
                    format!(r#"{{"type":"task-updated","taskId":1,"more":{{"{half}":1}}}}"#),
                ] {
                    let answer = eve.ask_as("typed", &payload).await;
                    assert_eq!(answer, json!({ "ok": false, "code": "invalid_payload" }), "{payload}");
                }
            }
        })
        .await;
    assert_eq!(scene.refused("invalid_payload").await, 5.0 * HALVES.len() as f64);
    // A pair is a character, and a backslash before a `u` may be one.
    for whole in [r"\ud83d\ude00", r"\uD83D\uDE00\u00e9", r"\\ud800"] {
        let payload = format!(r#"{{"type":"task-updated","taskId":1,"title":"{whole}"}}"#);
        assert_eq!(eve.ask_as("typed", &payload).await["ok"], true, "{payload}");
        assert_eq!(eve.event().await, payload);
    }
    // Where the policy says that anything goes, JSON's grammar is all that counts.
    for half in HALVES {
        let payload = format!(r#"{{"{half}":"{half}"}}"#);
        assert_eq!(eve.ask(&payload).await["ok"], true);
        assert_eq!(eve.event().await, payload);
    }
    drop(eve);
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_09_messages_over_the_limit_close() {
    let scene = Scene::new("").await;
    let megabyte = packets::event(EVENT, &format!("\"{}\"", "x".repeat(1 << 20)), None);
    let long_name = packets::event(&"x".repeat(1 << 20), "", Some(1));
    // Only announced: the header alone says that it is too long.
    let announced = |bytes: u64| [&[TEXT, 0x80 | 127][..], &bytes.to_be_bytes(), &[0; 4]].concat();
    let tiny = [frame(TEXT_BEGINS, b"42[\"a\",\""), frame(CONTINUES, b"x").repeat(70_000)].concat();
    let endless =
        [frame(TEXT_BEGINS, b"42[\"a\",\""), frame(CONTINUES, &[b'x'; 8 << 10]).repeat(20)].concat();
    let attacks = [
        said(&megabyte),
        said(&long_name),
        sent("a frame announced as endless", announced(u64::MAX)),
        sent("a frame announced as a gigabyte", announced(1 << 30)),
        sent("a frame announced a byte too long", announced((64 << 10) + 1)),
        sent("an endless message", endless.clone()),
    ];
    closes_whoever_sends(&scene, &attacks).await;
    // Thousands of fragments are more frames than a session may send, before they are too many bytes.
    let budget = scene.closed("inbound_budget").await;
    let mut eve = scene.websocket("eve", &["blue"]).await;
    scene
        .during(async {
            eve.send_bytes(&tiny).await;
            assert_eq!(within("the end of tiny fragments", eve.closed()).await, Vec::<String>::new());
            scene.until(&closes("inbound_budget"), budget + 1.0).await;
        })
        .await;
    let before = scene.process().peak_resident();
    scene
        .during(async {
            flood(&scene, &endless, 8).await;
            flood(&scene, &tiny, 2).await;
            flood(&scene, &frame(TEXT, megabyte.as_bytes()), 2).await;
        })
        .await;
    let grown = scene.process().peak_resident() - before;
    assert!(grown < FLOOD_MEMORY, "{grown} bytes");
    // By polling the body is what is too large.
    let mut eve = scene.polling("eve", &["blue"]).await;
    assert_eq!(eve.post(&megabyte).await.status, 413);
    eve.post("1").await;
    drop(eve);
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_09_frames_against_the_rules_close() {
    let scene = Scene::new("").await;
    let attacks = [
        sent("an unmasked frame", b"\x81\x01a"),
        sent("a reserved bit", frame(0xc1, b"2")),
        sent("a reserved opcode", frame(0x83, b"")),
        sent("a reserved control opcode", frame(0x8b, b"")),
        sent("a fragmented ping", frame(0x09, b"")),
        sent("a long ping", frame(PING, &[b'x'; 126])),
        sent("a continuation of nothing", frame(CONTINUES_LAST, b"2")),
        sent("a text inside a text", [frame(TEXT_BEGINS, b"4"), frame(TEXT, b"2")].concat()),
        // One that tells nothing could hide anything.
        sent("a first fragment without content", frame(TEXT_BEGINS, b"")),
        sent("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ];
    closes_whoever_sends(&scene, &attacks).await;
}

/// Fragments as such are a message like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_09_fragments_make_one_message_and_delay_nobody() {
    let scene = Scene::new("").await;
    let mut eve = scene.websocket("eve", &["blue"]).await;
    scene
        .during(async {
            // The first fragment tells what the packet is; the rest may come a byte at a time, with pongs between.
            let packet = packets::event(EVENT, r#"{"a":"é"}"#, None);
            let (told, rest) = packet.as_bytes().split_at(3);
            eve.send_bytes(&frame(TEXT_BEGINS, told)).await;
            for byte in rest {
                for byte in [frame(CONTINUES, &[*byte]), frame(PONG, b"")].concat() {
                    eve.send_bytes(&[byte]).await;
                    tokio::task::yield_now().await;
                }
            }
            eve.send_bytes(&frame(CONTINUES_LAST, b"")).await;
            assert_eq!(eve.event().await, r#"{"a":"é"}"#);
        })
        .await;
    drop(eve);
    scene.at_rest().await;
}
