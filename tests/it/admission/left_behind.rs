//! However a socket ends, its session, its peer and its room end with it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::Algorithm::RS256;
use serde_json::json;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, claims, closes, member, packets, within};
use crate::keys;

/// Ends the TCP connection with RST.
fn reset(socket: RawSocket) {
    SockRef::from(socket.stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Waits until everything sent so far has been read on the other side.
async fn read_until_here(socket: &mut RawSocket) {
    socket.stream.send(Message::Ping("here".into())).await.unwrap();
    within("a pong", async { while !matches!(socket.stream.next().await, Some(Ok(Message::Pong(_)))) {} })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_client_ends_it() {
    let sidecar = Sidecar::start("").await;
    let addr = sidecar.public;
    let auth = member("ann", &["red", "blue"]);

    // Socket.IO disconnect: the peer is gone at once, the idle session soon after.
    let mut socket = RawSocket::join(addr, &auth).await;
    sidecar.until("flowgate_rooms", 2.0).await;
    socket.send("41").await;
    sidecar.until("flowgate_peers", 0.0).await;
    sidecar.until("flowgate_rooms", 0.0).await;
    assert_eq!(within("the idle session's end", socket.closed()).await, Vec::<String>::new());
    sidecar.until_empty().await;
    assert_eq!(sidecar.metric(&closes("not_admitted")).await, 1.0);

    // Engine.IO close, WebSocket close, FIN, RST.
    RawSocket::join(addr, &auth).await.send("1").await;
    sidecar.until_empty().await;
    RawSocket::join(addr, &auth).await.stream.close(None).await.unwrap();
    sidecar.until_empty().await;
    drop(RawSocket::join(addr, &auth).await);
    sidecar.until_empty().await;
    reset(RawSocket::join(addr, &auth).await);
    sidecar.until_empty().await;

    // Polling: Socket.IO disconnect and Engine.IO close.
    Polling::join(addr, &auth).await.post("41\x1e1").await;
    sidecar.until_empty().await;
    Polling::join(addr, &auth).await.post("1").await;
    sidecar.until_empty().await;

    // After an upgrade, and in the middle of one.
    reset(Polling::join(addr, &auth).await.upgrade().await);
    sidecar.until_empty().await;
    let polling = Polling::join(addr, &auth).await;
    let mut probing = polling.ask_upgrade().await.unwrap();
    probing.send("2probe").await;
    assert_eq!(probing.frame().await.as_deref(), Some("3probe"));
    reset(probing);
    sidecar.until_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_it_leaves_and_comes_back_in_one_session() {
    let sidecar = Sidecar::start("[limits.connections]\nper_user = 1").await;
    let auth = member("ann", &["red"]);
    let mut socket = RawSocket::join(sidecar.public, &auth).await;
    socket.send("41").await;
    sidecar.until("flowgate_peers", 0.0).await;
    socket.connect(&auth).await.unwrap();
    assert_eq!(socket.ask("1").await["ok"], true);
    assert_eq!(socket.heard_until_now().await, ["1"], "it is in its room once");
    assert_eq!(sidecar.metric("flowgate_peers").await, 1.0);
    drop(socket);
    sidecar.until_empty().await;
    RawSocket::join(sidecar.public, &auth).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_it_was_never_let_in() {
    let sidecar = Sidecar::start("").await;
    let mut refused = RawSocket::open(sidecar.public).await;
    assert!(refused.connect(&json!({ "token": "a.b.c" })).await.is_err());
    let silent = RawSocket::open(sidecar.public).await;
    let mut refused_polling = Polling::open(sidecar.public).await;
    assert!(refused_polling.connect(&json!({ "token": "a.b.c" })).await.is_err());
    let _abandoned = Polling::open(sidecar.public).await;
    sidecar.until("flowgate_sessions", 4.0).await;
    // Gone before CONNECT. Its place is free at once, although the library holds on to it for a while.
    drop(RawSocket::open(sidecar.public).await);
    sidecar.until("flowgate_sessions", 4.0).await;
    within("the refused one's end", refused.closed()).await;
    within("the silent one's end", silent.closed()).await;
    sidecar.until_empty().await;
    assert!(sidecar.metric(&closes("not_admitted")).await >= 4.0);
}

/// The keys' endpoint takes the connection and never answers, so that admission waits until the client is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_it_goes_while_it_is_being_admitted() {
    let endpoint = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", endpoint.local_addr().unwrap());
    let sidecar = Sidecar::start(&format!(
        "[limits.connections]\nper_user = 1\n[[auth.issuers]]\nname = \"far\"\nissuer = \"https://far.example\"\n\
         algorithms = [\"RS256\"]\njwks_url = \"{url}\"\ninsecure_http = true"
    ))
    .await;
    let token = keys::token(&claims(json!({ "iss": "https://far.example" })), keys::RSA, RS256);
    let connect = packets::connect(&json!({ "token": token }));
    let mut by_reset = RawSocket::open(sidecar.public).await;
    by_reset.send(&connect).await;
    read_until_here(&mut by_reset).await;
    let mut by_close = RawSocket::open(sidecar.public).await;
    by_close.send(&connect).await;
    read_until_here(&mut by_close).await;
    let mut polling = Polling::open(sidecar.public).await;
    assert_eq!(polling.post(&connect).await.status, 200);
    sidecar.until("flowgate_sessions", 3.0).await;
    reset(by_reset);
    by_close.send("1").await;
    polling.post("1").await;
    sidecar.until_empty().await;
    assert_eq!(sidecar.metric("flowgate_admissions_total").await, 0.0);
    // Others are not held up by it.
    let mut honest = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    assert_eq!(honest.ask("1").await["ok"], true);
}
