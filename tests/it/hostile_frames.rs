//! Frames and packets that no honest client sends. The sender is closed or refused; an honest client that is connected
//! throughout sends and hears as before.

use serde_json::json;

use crate::harness::frames::{PING, PONG, TEXT, frame};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member, within};

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
