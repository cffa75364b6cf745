//! What clients send beside events: budgets, and what no client of this server sends.

use futures_util::SinkExt;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::frames::{CONTINUES_LAST, PING, PONG, TEXT, TEXT_BEGINS, frame};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, closes, member, within};

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
        ("pongs", frame(TEXT, b"3")),
        ("pings", frame(TEXT, b"2")),
        ("WebSocket pings", frame(PING, b"x")),
        ("WebSocket pongs", frame(PONG, b"x")),
        ("fragments", [frame(TEXT_BEGINS, b"42[\"a\""), frame(CONTINUES_LAST, b"]")].concat()),
    ] {
        let mut attacker = RawSocket::join(sidecar.public, &member("eve", &["blue"])).await;
        within(name, flood(&mut attacker, &bytes)).await;
        closed += 1.0;
        sidecar.until(&closes("inbound_budget"), closed).await;
        assert_eq!(honest.ask("1").await["ok"], true, "{name}");
    }
    // One that nobody has admitted, and one that polls.
    let mut unadmitted = RawSocket::open(sidecar.public).await;
    within("unadmitted pongs", flood(&mut unadmitted, &frame(TEXT, b"3"))).await;
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
    within("CONNECTs", flood(&mut attacker, &frame(TEXT, b"40{}"))).await;
    sidecar.until(&closes("connect_flood"), 1.0).await;
    sidecar.until_empty().await;
}
