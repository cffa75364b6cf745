//! What clients send beside events has a budget, also in bytes.

use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, closes, member};

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
