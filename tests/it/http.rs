//! HTTP on the public port, honest and hostile.

use serde_json::json;

use crate::harness::http::{Answer, Http, POLLING, get};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, code_of, member, until, within};

const OWN_PAGE: &str = "https://app.example";

/// The answers to a page that polls, opens a WebSocket, and upgrades a session that is there.
async fn on_all_ways(sidecar: &Sidecar, origins: &[&str]) -> [Result<(), Answer>; 3] {
    let headers: Vec<_> = origins.iter().map(|origin| ("Origin", *origin)).collect();
    let there = Polling::open_with(sidecar.public, &[("Origin", OWN_PAGE)]).await.unwrap();
    [
        Polling::open_with(sidecar.public, &headers).await.map(drop),
        RawSocket::open_with(sidecar.public, &headers).await.map(drop),
        there.ask_upgrade_with(&headers).await.map(drop),
    ]
}

#[tokio::test]
async fn a_missing_origin_may_be_refused_too() {
    let sidecar = Sidecar::start("[server]\nallow_missing_origin = false").await;
    for answer in on_all_ways(&sidecar, &[]).await {
        assert_eq!(answer.expect_err("it should be refused").status, 403);
    }
    assert!(on_all_ways(&sidecar, &[OWN_PAGE]).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_session_asks_for_one_websocket() {
    let sidecar = Sidecar::start("").await;
    let mut sender = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let client = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    let (target, sid) = (client.target(), client.sid.clone());
    let mut socket = client.upgrade().await;
    let again = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
    let second = RawSocket::upgrade(Http::to(sidecar.public).await, &again, &[]).await;
    assert_eq!(second.err().expect("no WebSocket").status, 400);
    // Nor does it poll any more, and nobody else may in its name.
    let poll = get(sidecar.public, &target, &[]).await;
    assert_eq!(poll.status, 400, "{poll:?}");
    let post = Http::to(sidecar.public).await.request("POST", &target, &[], "1").await;
    assert_eq!(post.status, 400, "{post:?}");
    sender.ask("1").await;
    assert_eq!(socket.event().await, "1");
}

#[tokio::test]
async fn two_polls_at_once_end_the_session() {
    let sidecar = Sidecar::start("").await;
    let client = Polling::join(sidecar.public, &member("ann", &["red"])).await;
    let target = client.target();
    let mut first = Http::to(sidecar.public).await;
    first.send("GET", &target, &[], "").await;
    // Whichever of the others comes second is the one too many.
    until("the session's end", async || get(sidecar.public, &target, &[]).await.status == 400).await;
    sidecar.until_empty().await;
    within("an answer to the first", first.answer()).await;
}

#[tokio::test]
async fn forwarded_addresses_are_believed_from_proxies_only() {
    let settings = "[limits.connections]\nper_ip = 1";
    let direct = Sidecar::start(settings).await;
    let behind = Sidecar::start(&format!("[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n{settings}")).await;
    let open = async |sidecar: &Sidecar, forwarded: &str| {
        RawSocket::open_with(sidecar.public, &[("X-Forwarded-For", forwarded)]).await
    };
    // Claiming to be another each time helps nobody who is not trusted.
    let _first = open(&direct, "192.0.2.1").await.unwrap();
    for forwarded in ["192.0.2.2", "192.0.2.3, 192.0.2.4", "::1"] {
        assert_eq!(open(&direct, forwarded).await.err().expect("a refusal").status, 429);
    }
    // Behind a proxy each client has its own place, and what the client itself wrote to the left does not count.
    let _ann = open(&behind, "192.0.2.1").await.unwrap();
    let _ben = open(&behind, "192.0.2.2").await.unwrap();
    for forwarded in ["192.0.2.1", "9.9.9.9, 192.0.2.1", "192.0.2.2, 127.0.0.1", "rubbish, 192.0.2.2"] {
        assert_eq!(open(&behind, forwarded).await.err().expect("a refusal").status, 429, "{forwarded}");
    }
}

#[tokio::test]
async fn transports_can_be_switched_off() {
    let only_websocket = Sidecar::start("[server]\ntransports = [\"websocket\"]").await;
    let answer = Polling::open_with(only_websocket.public, &[]).await.err().expect("no session");
    assert_eq!((answer.status, code_of(&answer).as_str()), (400, "malformed"));
    RawSocket::join(only_websocket.public, &member("ann", &["red"])).await;
    let only_polling = Sidecar::start("[server]\ntransports = [\"polling\"]").await;
    assert_eq!(RawSocket::open_with(only_polling.public, &[]).await.err().expect("no WebSocket").status, 400);
    let client = Polling::join(only_polling.public, &member("ann", &["red"])).await;
    assert_eq!(client.ask_upgrade().await.err().expect("no WebSocket").status, 400);
}

#[tokio::test]
async fn another_path_is_served_when_the_policy_says_so() {
    let sidecar = Sidecar::start("[server]\npath = \"/realtime/\"").await;
    assert_eq!(get(sidecar.public, "/realtime/?EIO=4&transport=polling", &[]).await.status, 200);
    let answer = get(sidecar.public, POLLING, &[]).await;
    assert_eq!((answer.status, answer.body), (404, json!({ "code": "not_found" }).to_string()));
}
