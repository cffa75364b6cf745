//! Rates, sizes and caps, each with its code, and that what was taken comes back.

use serde_json::{Value, json};

use crate::harness::http::Answer;
use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, closes, code_of, member, refusals, within};

/// A bucket of three that does not refill while a test runs.
const THREE: &str = "{ rate = \"1/h\", burst = 3 }";

async fn join(sidecar: &Sidecar, user: &str, teams: &[&str]) -> RawSocket {
    RawSocket::join(sidecar.public, &member(user, teams)).await
}

async fn with_limit(name: &str) -> Sidecar {
    Sidecar::start(&format!("[limits.events]\n{name} = {THREE}")).await
}

async fn passes(socket: &mut RawSocket) {
    assert_eq!(socket.ask("1").await["ok"], true);
}

/// Refused for a rate that refills in an hour.
async fn is_limited(socket: &mut RawSocket) {
    let answer = socket.ask("1").await;
    assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!("rate_limited")));
    let wait = answer["retryAfterMs"].as_u64().unwrap();
    assert!((1..=3_600_001).contains(&wait) && wait > 3_000_000, "{wait}");
    assert_eq!(answer.as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn per_socket() {
    let sidecar = with_limit("per_socket").await;
    let mut one = join(&sidecar, "ann", &["red"]).await;
    let mut other = join(&sidecar, "ann", &["red"]).await;
    for _ in 0..3 {
        passes(&mut one).await;
    }
    is_limited(&mut one).await;
    is_limited(&mut one).await;
    passes(&mut other).await;
    assert_eq!(sidecar.metric(&refusals("rate_limited")).await, 2.0);
    assert_eq!(sidecar.metric("flowgate_events_accepted_total").await, 4.0);
}

#[tokio::test]
async fn per_user() {
    let sidecar = with_limit("per_user").await;
    let mut here = join(&sidecar, "ann", &["red"]).await;
    let mut there = join(&sidecar, "ann", &["red"]).await;
    let mut ben = join(&sidecar, "ben", &["red"]).await;
    passes(&mut here).await;
    passes(&mut there).await;
    passes(&mut here).await;
    is_limited(&mut there).await;
    is_limited(&mut here).await;
    passes(&mut ben).await;
    // Reconnecting refills nothing.
    drop(here);
    sidecar.until("flowgate_peers", 2.0).await;
    is_limited(&mut join(&sidecar, "ann", &["red"]).await).await;
}

#[tokio::test]
async fn per_address() {
    let sidecar = Sidecar::start(&format!(
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[limits.events]\nper_address = {THREE}"
    ))
    .await;
    let from = async |address: &str, user: &str| {
        let headers = [("X-Forwarded-For", address)];
        let mut socket = RawSocket::open_with(sidecar.public, &headers).await.unwrap();
        socket.connect(&member(user, &["red"])).await.unwrap();
        socket
    };
    let mut ann = from("192.0.2.1", "ann").await;
    let mut ben = from("192.0.2.1", "ben").await;
    let mut cleo = from("192.0.2.2", "cleo").await;
    passes(&mut ann).await;
    passes(&mut ben).await;
    passes(&mut ann).await;
    is_limited(&mut ben).await;
    passes(&mut cleo).await;
    // One IPv6 network is one address.
    let mut dan = from("2001:db8::1", "dan").await;
    let mut eve = from("2001:db8::ffff:1", "eve").await;
    for _ in 0..3 {
        passes(&mut dan).await;
    }
    is_limited(&mut eve).await;
}

#[tokio::test]
async fn per_team_all_or_nothing() {
    let sidecar =
        Sidecar::start(&format!("[rooms]\nmulti_team = \"all\"\n[limits.events]\nper_team = {THREE}")).await;
    let mut red = join(&sidecar, "ann", &["red"]).await;
    let mut blue = join(&sidecar, "ben", &["blue"]).await;
    let mut both = join(&sidecar, "cleo", &["red", "blue"]).await;
    passes(&mut red).await;
    passes(&mut red).await;
    passes(&mut both).await;
    is_limited(&mut red).await;
    is_limited(&mut both).await;
    // What was refused for the one team was not taken from the other, which had one event so far.
    passes(&mut blue).await;
    passes(&mut blue).await;
    is_limited(&mut blue).await;
    assert_eq!(blue.heard_until_now().await.len(), 3);
}

#[tokio::test]
async fn a_rate_refills() {
    let sidecar = Sidecar::start("[limits.events]\nper_socket = { rate = \"50/s\", burst = 1 }").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    passes(&mut ann).await;
    within("a passing event after a refused one", async {
        let mut refused = 0;
        loop {
            let answer = ann.ask("1").await;
            match answer["retryAfterMs"].as_u64() {
                Some(wait) => {
                    assert!((1..=21).contains(&wait), "{wait}");
                    refused += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
                }
                None if refused > 0 => break assert_eq!(answer["ok"], true),
                None => {}
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_refusal_costs_the_same() {
    let sidecar = with_limit("per_socket").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    assert_eq!(ann.ask_as("no-such-event", "1").await["code"], "unknown_event");
    assert_eq!(ann.ask("1,2").await["code"], "invalid_payload");
    assert_eq!(ann.ask("{},null").await["code"], "invalid_payload");
    assert_eq!(ann.ask_as("no-such-event", "1").await["code"], "rate_limited");
    assert_eq!(ann.ask("1,2").await["code"], "rate_limited");
}

#[tokio::test]
async fn who_is_refused_too_often_is_disconnected() {
    let sidecar = Sidecar::start("[limits.events]\ndisconnect_after = { refusals = 5, per = \"1h\" }").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut polling = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    let mut honest = join(&sidecar, "cleo", &["red"]).await;
    for _ in 0..4 {
        assert_eq!(ann.ask_as("no-such-event", "").await["code"], "unknown_event");
    }
    passes(&mut ann).await;
    ann.send(&packets::event("no-such-event", "", None)).await;
    let after: Vec<_> = within("the end", ann.closed()).await;
    assert_eq!(after, ["2[\"database-changed\",1]"]);
    let body = vec![packets::event("no-such-event", "", None); 5].join("\x1e");
    polling.post(&body).await;
    within("the end of the polling one", polling.closed()).await;
    assert_eq!(sidecar.metric(&closes("refusals")).await, 2.0);
    sidecar.until("flowgate_peers", 1.0).await;
    passes(&mut honest).await;
}

#[tokio::test]
async fn size_and_depth() {
    let sidecar =
        Sidecar::start("[limits.payload]\nmax_bytes = \"1KiB\"\nhard_max_bytes = \"4KiB\"\nmax_depth = 3")
            .await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    passes(&mut ann).await;
    assert_eq!(ann.ask(&text(1024)).await["ok"], true);
    assert_eq!(ann.ask(&text(1025)).await, json!({ "ok": false, "code": "too_large" }));
    assert_eq!(ann.ask("[[[]]]").await["ok"], true);
    assert_eq!(ann.ask("[[[[]]]]").await, json!({ "ok": false, "code": "too_deep" }));
    assert_eq!(ann.ask(r#"[{"a":{"b":[]}}]"#).await["code"], "too_deep");
    assert_eq!(ann.ask(r#"["[[[[[[[[["]"#).await["ok"], true);
    // The packet as a whole is what the hard limit bounds.
    let overhead = packets::event(EVENT, "", Some(10)).len() + 1;
    assert_eq!(ann.ask(&text(4096 - overhead)).await["code"], "too_large");
    ann.emit(&text(4097)).await;
    within("the end", ann.closed()).await;
    sidecar.until("flowgate_peers", 0.0).await;
    assert_eq!(sidecar.metric(&refusals("too_large")).await, 2.0);
    assert_eq!(sidecar.metric(&refusals("too_deep")).await, 2.0);
}

#[tokio::test]
async fn a_refusal_nobody_asked_for_is_counted_and_silent() {
    let sidecar = Sidecar::start("").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    for _ in 0..20 {
        ann.send(&packets::event("no-such-event", "1", None)).await;
    }
    ann.send(&packets::event("no-such-event", "1", Some(999))).await;
    let first = ann.packet().await.unwrap();
    assert_eq!(
        packets::answer(&first, 999),
        Some(json!({ "ok": false, "code": "unknown_event" })),
        "{first}"
    );
    assert_eq!(sidecar.metric(&refusals("unknown_event")).await, 21.0);
}

#[tokio::test]
async fn detail_is_for_those_who_ask_for_it() {
    let sidecar = Sidecar::start("[refusals]\ndetail = \"full\"").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let answer: Value = ann.ask("[[[[[[[[[[]]]]]]]]]]").await;
    assert_eq!((&answer["code"], &answer["rule"]), (&json!("too_deep"), &json!("limits.payload.max_depth")));
    assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()));
}

/// Turned away by this status and code, with a time to come back.
fn turned_away(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, code_of(answer).as_str()), (status, code));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
}

/// The answer to a handshake that opens nothing, by polling and by WebSocket.
async fn refused_handshakes(sidecar: &Sidecar) -> [Answer; 2] {
    [
        Polling::open_with(sidecar.public, &[]).await.err().expect("no session"),
        RawSocket::open_with(sidecar.public, &[]).await.err().expect("no WebSocket"),
    ]
}

#[tokio::test]
async fn handshakes_have_a_rate() {
    let sidecar = Sidecar::start("[limits.connections]\nhandshakes_per_ip = \"3/h\"").await;
    let first = RawSocket::open(sidecar.public).await;
    let mut polling = Polling::open(sidecar.public).await;
    drop(RawSocket::open(sidecar.public).await);
    for answer in refused_handshakes(&sidecar).await {
        turned_away(&answer, 429, "too_many_requests");
    }
    assert_eq!(sidecar.metric(&refusals("too_many_requests")).await, 2.0);
    // Requests of a session that is there are no handshakes.
    polling.connect(&member("ann", &["red"])).await.unwrap();
    let mut upgraded = polling.upgrade().await;
    assert_eq!(upgraded.ask("1").await["ok"], true);
    drop(first);
}

#[tokio::test]
async fn handshakes_have_a_rate_in_total() {
    let sidecar = Sidecar::start(
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[limits.connections]\nhandshakes_total = \"2/h\"",
    )
    .await;
    let from = async |address: &str| {
        RawSocket::open_with(sidecar.public, &[("X-Forwarded-For", address)]).await.map(|_| ())
    };
    assert!(from("192.0.2.1").await.is_ok());
    assert!(from("192.0.2.2").await.is_ok());
    turned_away(&from("192.0.2.3").await.unwrap_err(), 429, "too_many_requests");
}

#[tokio::test]
async fn places_of_one_address_come_back() {
    let sidecar = Sidecar::start("[limits.connections]\nper_ip = 2").await;
    let auth = member("ann", &["red"]);
    let websocket = RawSocket::join(sidecar.public, &auth).await;
    let polling = Polling::join(sidecar.public, &auth).await;
    for answer in refused_handshakes(&sidecar).await {
        turned_away(&answer, 429, "too_many_requests");
    }
    // An upgrade needs no place of its own, and keeps the one it has.
    let upgraded = polling.upgrade().await;
    assert!(Polling::open_with(sidecar.public, &[]).await.is_err());
    drop(websocket);
    sidecar.until("flowgate_sessions", 1.0).await;
    let again = Polling::join(sidecar.public, &auth).await;
    assert!(Polling::open_with(sidecar.public, &[]).await.is_err());
    drop(upgraded);
    sidecar.until("flowgate_sessions", 1.0).await;
    RawSocket::join(sidecar.public, &auth).await;
    drop(again);
}

#[tokio::test]
async fn places_in_total_come_back() {
    let sidecar = Sidecar::start("[limits.connections]\ntotal = 2").await;
    let auth = member("ann", &["red"]);
    let websocket = RawSocket::join(sidecar.public, &auth).await;
    let mut polling = Polling::join(sidecar.public, &auth).await;
    for answer in refused_handshakes(&sidecar).await {
        turned_away(&answer, 503, "full");
    }
    assert_eq!(sidecar.metric(&refusals("full")).await, 2.0);
    polling.post("1").await;
    sidecar.until("flowgate_sessions", 1.0).await;
    let again = Polling::join(sidecar.public, &auth).await;
    for answer in refused_handshakes(&sidecar).await {
        turned_away(&answer, 503, "full");
    }
    drop((websocket, again));
}
