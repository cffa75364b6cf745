//! What clients send beside events: budgets, and what no client of this server sends.

use futures_util::SinkExt;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::http::Http;
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, closes, member, within};

/// A masked frame whose mask is zero.
fn frame(first: u8, payload: &str) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend(payload.as_bytes());
    frame
}

async fn flood(socket: &mut RawSocket, frame: &[u8]) {
    let many = frame.repeat(100);
    // Ends when the other side has closed.
    while socket.stream.get_mut().write_all(&many).await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_event_has_a_budget() {
    let sidecar = Sidecar::start("").await;
    let mut honest = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut closed = 0.0;
    for (name, bytes) in [
        ("pongs", frame(0x81, "3")),
        ("pings", frame(0x81, "2")),
        ("WebSocket pings", frame(0x89, "x")),
        ("WebSocket pongs", frame(0x8a, "x")),
        ("fragments", [frame(0x01, "42[\"a\""), frame(0x80, "]")].concat()),
    ] {
        let mut attacker = RawSocket::join(sidecar.public, &member("eve", &["blue"])).await;
        within(name, flood(&mut attacker, &bytes)).await;
        closed += 1.0;
        sidecar.until(&closes("inbound_budget"), closed).await;
        assert_eq!(honest.ask("1").await["ok"], true, "{name}");
    }
    // One that nobody has admitted, and one that polls.
    let mut unadmitted = RawSocket::open(sidecar.public).await;
    within("unadmitted pongs", flood(&mut unadmitted, &frame(0x81, "3"))).await;
    let mut polling = Polling::join(sidecar.public, &member("eve", &["blue"])).await;
    assert_eq!(polling.post(&["3"; 1000].join("\u{1e}")).await.status, 400);
    sidecar.until(&closes("inbound_budget"), closed + 2.0).await;
    sidecar.until("flowgate_peers", 1.0).await;
}

/// Four pongs are nothing, and four of 60 KiB are more than anybody needs.
#[tokio::test]
async fn bytes_count_against_the_budget_too() {
    let sidecar = Sidecar::start("").await;
    let mut socket = RawSocket::join(sidecar.public, &member("eve", &["blue"])).await;
    for _ in 0..4 {
        socket.send("3").await;
    }
    assert_eq!(socket.ask("1").await["ok"], true);
    for _ in 0..4 {
        socket.stream.feed(Message::text(format!("3{}", "x".repeat(60 << 10)))).await.unwrap();
    }
    // It may have been closed before the last was sent.
    let _ = socket.stream.flush().await;
    sidecar.until(&closes("inbound_budget"), 1.0).await;
    sidecar.until_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_connect_is_counted_though_the_library_ignores_it() {
    let sidecar = Sidecar::start("").await;
    let mut attacker = RawSocket::join(sidecar.public, &member("eve", &["blue"])).await;
    within("CONNECTs", flood(&mut attacker, &frame(0x81, "40{}"))).await;
    sidecar.until(&closes("connect_flood"), 1.0).await;
    sidecar.until_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_client_sends_closes() {
    let sidecar = Sidecar::start("").await;
    let mut closed = 0.0;
    for packet in [
        "40/x,",
        "41/x,",
        "42/x,[\"a\"]",
        "431[]",
        "44{}",
        "450-[\"database-change\",1]",
        "460-[]",
        "42999999999999999999999[\"database-change\",1]",
    ] {
        let mut socket = RawSocket::join(sidecar.public, &member("eve", &["red"])).await;
        socket.send_bytes(&frame(0x81, packet)).await;
        assert_eq!(within(packet, socket.closed()).await, Vec::<String>::new(), "{packet}");
        let mut polling = Polling::join(sidecar.public, &member("eve", &["red"])).await;
        assert_eq!(polling.post(packet).await.status, 400, "{packet}");
        closed += 2.0;
        sidecar.until(&closes("bad_packet"), closed).await;
    }
    assert_eq!(sidecar.metric("flowgate_events_accepted_total").await, 0.0);
}

#[tokio::test]
async fn an_upgrade_that_cannot_be_is_refused_before_it_begins() {
    let sidecar = Sidecar::start("").await;
    let mut polling = Polling::join(sidecar.public, &member("ann", &["red"])).await;
    let upgrade = |version: &str, more: &str| {
        let target = polling.target().replace("polling", "websocket");
        format!(
            "GET {target} HTTP/{version}\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n{more}"
        )
    };
    // hyper cannot hand over an HTTP/1.0 connection; frames before the answer would be looked at by nobody.
    for request in [upgrade("1.0", ""), upgrade("1.1", "\u{1}\u{2}")] {
        let mut http = Http::to(sidecar.public).await;
        http.send_raw(request).await;
        assert_eq!(http.answer().await.unwrap().status, 400);
    }
    // Neither has made it deaf.
    let mut ben = RawSocket::join(sidecar.public, &member("ben", &["red"])).await;
    assert_eq!(ben.ask("1").await["ok"], true);
    assert_eq!(polling.event().await, "1");
}
