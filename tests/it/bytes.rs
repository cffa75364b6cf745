//! What is relayed is what was sent, byte for byte.

use crate::harness::packets::{self, HEARD};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member};

/// Texts that a decoder and an encoder between them would change.
const TEXTS: &[&str] = &[
    "1.0",
    "1.50",
    "-0",
    "-0.0",
    "1e2",
    "1E+2",
    "12345678901234567890",
    "123456789012345678901234567890.000000000000000000001",
    "1e400",
    r#"{"z":1,"a":2,"m":3,"a":4}"#,
    r#"{ "a" : [ 1 , 2 ] }"#,
    "{\n\t\"a\":\r\n1}",
    r#""\u0041\u00e9\ud83d\ude00\/\b""#,
    "\"é😀👩‍👩‍👧‍👦 \u{2028}\u{7f}\u{feff}\"",
    r#"{"":"","__proto__":null,"constructor":{}}"#,
    "[]",
    "{}",
    "null",
    "true",
    "\"\"",
    r#""_placeholder""#,
    r#"["database-change",{"a":"]"}]"#,
];

#[tokio::test]
async fn any_payload_keeps_its_bytes_on_every_way() {
    let sidecar = Sidecar::start("").await;
    let mut sender = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut websocket = RawSocket::join(sidecar.public, &member("ben", &["red"])).await;
    let mut polling = Polling::join(sidecar.public, &member("cleo", &["red"])).await;
    for text in TEXTS {
        assert_eq!(sender.ask(text).await["ok"], true, "{text}");
        assert_eq!(sender.event().await, *text);
        assert_eq!(websocket.event().await, *text);
        assert_eq!(polling.event().await, *text);
        polling.emit(text).await;
        assert_eq!(sender.event().await, *text);
        assert_eq!(websocket.event().await, *text);
        assert_eq!(polling.event().await, *text);
    }
}

#[tokio::test]
async fn every_length_of_frame_keeps_its_bytes() {
    let settings = "[limits.payload]\nmax_bytes = \"128KiB\"\nhard_max_bytes = \"256KiB\"";
    let sidecar = Sidecar::start(settings).await;
    let mut sender = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut polling = Polling::join(sidecar.public, &member("cleo", &["red"])).await;
    // Around the lengths at which a WebSocket frame's header grows: 125, 126, 65,535 and 65,536 bytes in all.
    let overhead = packets::event(HEARD, "\"\"", None).len();
    for whole in [overhead, 124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537, 100_000] {
        let text = format!("\"{}\"", "x".repeat(whole - overhead));
        assert_eq!(packets::event(HEARD, &text, None).len(), whole);
        assert_eq!(sender.ask(&text).await["ok"], true);
        assert_eq!(sender.event().await, text);
        assert_eq!(polling.event().await, text);
    }
}

#[tokio::test]
async fn no_argument_is_relayed_as_null() {
    let sidecar = Sidecar::start("").await;
    let mut sender = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut polling = Polling::join(sidecar.public, &member("cleo", &["red"])).await;
    assert_eq!(sender.ask("").await["ok"], true);
    assert_eq!(sender.packet().await.unwrap(), "2[\"database-changed\",null]");
    assert_eq!(polling.packet().await.unwrap(), "2[\"database-changed\",null]");
}

#[tokio::test]
async fn typed_payloads_keep_their_bytes_too() {
    let sidecar =
        Sidecar::start("[events.database-change]\npayload = \"typed\"\nunknown_fields = \"pass\"").await;
    let mut sender = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    for text in [
        r#"{ "taskId" : 12345678901234567890 , "type":"task-updated" }"#,
        r#"{"\u0074ype":"task-\u0075pdated","taskId":"7"}"#,
        r#"{"type":"task-created","cost":1.0,"note":"😀","deep":{"a":[1e2]}}"#,
    ] {
        assert_eq!(sender.ask(text).await["ok"], true, "{text}");
        assert_eq!(sender.event().await, text);
    }
}

#[tokio::test]
async fn strip_takes_unknown_fields_out_and_keeps_the_others_bytes() {
    let sidecar =
        Sidecar::start("[events.database-change]\npayload = \"typed\"\nunknown_fields = \"strip\"").await;
    let mut sender = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let untouched = r#"{ "taskId" : 12345678901234567890 , "type":"task-updated" }"#;
    assert_eq!(sender.ask(untouched).await["ok"], true);
    assert_eq!(sender.event().await, untouched);
    for (sent, heard) in [
        (r#"{"x":1,"type":"task-updated","taskId":7}"#, r#"{"type":"task-updated","taskId":7}"#),
        (r#"{"type":"task-updated","x":{"y":[1,2]},"taskId":7}"#, r#"{"type":"task-updated","taskId":7}"#),
        (
            r#"{"type":"task-\u0075pdated","taskId":12345678901234567890,"__proto__":{}}"#,
            r#"{"type":"task-\u0075pdated","taskId":12345678901234567890}"#,
        ),
    ] {
        assert_eq!(sender.ask(sent).await["ok"], true, "{sent}");
        assert_eq!(sender.event().await, heard);
    }
}
