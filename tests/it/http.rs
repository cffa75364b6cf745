//! HTTP on the public port, honest and hostile.

use std::time::Duration;

use serde_json::json;

use crate::harness::http::{Answer, Http, POLLING, WEBSOCKET, get};
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

/// Everything that may come a byte at a time, or never: each has its deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stage_has_a_deadline() {
    let sidecar = Sidecar::start("").await;
    let mut honest = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let client = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    let silent = Http::to(sidecar.public).await;
    let mut half_a_head = Http::to(sidecar.public).await;
    half_a_head.send_raw(format!("GET {WEBSOCKET} HTTP/1.1\r\nHost: l\r\nUpgrade: webso")).await;
    let mut half_a_body = Http::to(sidecar.public).await;
    half_a_body
        .send_raw(format!("POST {} HTTP/1.1\r\nHost: l\r\nContent-Length: 9\r\n\r\n42[\"da", client.target()))
        .await;
    let mut half_a_chunk = Http::to(sidecar.public).await;
    half_a_chunk
        .send_raw(format!(
            "POST {} HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n42",
            client.target()
        ))
        .await;
    let mut drop_by_drop = Http::to(sidecar.public).await;
    let mut kept_alive = Http::to(sidecar.public).await;
    assert_eq!(kept_alive.request("GET", "/", &[], "").await.status, 404);
    let no_connect = RawSocket::open(sidecar.public).await;
    let begun = client.ask_upgrade().await.unwrap();

    let trickle = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let head = format!("GET {POLLING} HTTP/1.1\r\nX-Endless: ");
        let mut bytes = head.into_bytes().into_iter().chain(std::iter::repeat(b'a'));
        // Ends when the other side has closed.
        while drop_by_drop.tcp.write_all(&[bytes.next().unwrap()]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    for mut http in [silent, half_a_head, kept_alive] {
        within("the end of a head that does not come", http.closed()).await;
    }
    for mut http in [half_a_body, half_a_chunk] {
        let answer = within("an answer to half a body", http.answer()).await.expect("an answer");
        assert_eq!(answer.status, 408);
        within("the end of half a body", http.closed()).await;
    }
    within("the end of a head that trickles", trickle).await.unwrap();
    within("the end of a session without CONNECT", no_connect.closed()).await;
    within("the end of an upgrade that is not gone on with", begun.closed()).await;
    assert_eq!(honest.ask("1").await["ok"], true);
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
async fn session_ids_cannot_be_guessed_and_are_not_told_to_others() {
    let sidecar = Sidecar::start("").await;
    let mut sids = Vec::new();
    for _ in 0..50 {
        sids.push(Polling::open(sidecar.public).await.sid);
    }
    let unique: std::collections::HashSet<_> = sids.iter().collect();
    assert_eq!(unique.len(), sids.len());
    // 64 random bits at the least.
    assert!(sids.iter().all(|sid| sid.len() >= 11), "{sids:?}");
    for (at, sid) in sids.iter().enumerate() {
        let alike = sids
            .iter()
            .skip(at + 1)
            .map(|other| sid.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count());
        assert!(alike.max().unwrap_or(0) < 6, "{sid}");
    }
    // One letter off is nobody's.
    let mut guess = sids[0].clone();
    let last = guess.pop().unwrap();
    guess.push(if last == 'A' { 'B' } else { 'A' });
    let answer = get(sidecar.public, &format!("{POLLING}&sid={guess}"), &[]).await;
    assert_eq!((answer.status, code_of(&answer).as_str()), (400, "malformed"));
    // A session that began on a WebSocket is not one to poll.
    let mut socket = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let target = format!("{POLLING}&sid={}", socket.sid);
    assert_eq!(get(sidecar.public, &target, &[]).await.status, 400);
    assert_eq!(Http::to(sidecar.public).await.request("POST", &target, &[], "1").await.status, 400);
    let answer = socket.ask("1").await;
    assert_eq!(answer["ok"], true);
    assert!(!answer.to_string().contains(&socket.sid));
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
