//! The stream of what happens.

use serde_json::{Value, json};

use crate::harness::http::{Http, get};
use crate::harness::operator::{Operator, TOKEN, operated};
use crate::harness::websocket::RawSocket;
use crate::harness::{code_of, member, within};

/// Who listens to `/api/live`.
struct Listener {
    tcp: tokio::net::TcpStream,
    read: Vec<u8>,
    /// The stream's text that has not been looked at.
    text: String,
    /// The last chunk has come.
    has_ended: bool,
}

impl Listener {
    async fn open(operator: Operator, headers: &[(&str, &str)]) -> Self {
        let mut http = Http::to(operator.0).await;
        http.send("GET", "/api/live", headers, "").await;
        let (tcp, read) = http.into_parts();
        let mut listener = Listener { tcp, read, text: String::new(), has_ended: false };
        let head = loop {
            if let Some(at) = listener.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break String::from_utf8(listener.read.drain(..at + 4).collect()).unwrap();
            }
            assert!(listener.more().await, "a head");
        };
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/event-stream"),
            "{head}"
        );
        assert!(head.contains("cache-control: no-store"), "{head}");
        listener
    }

    async fn with_token(operator: Operator) -> Self {
        Self::open(operator, &[("Authorization", &format!("Bearer {TOKEN}"))]).await
    }

    async fn more(&mut self) -> bool {
        use tokio::io::AsyncReadExt;
        self.tcp.read_buf(&mut self.read).await.is_ok_and(|read| read > 0)
    }

    /// Takes one chunk (RFC 9112 §7.1) out of what was read.
    fn take_chunk(&mut self) -> bool {
        let Some(line) = self.read.windows(2).position(|two| two == b"\r\n") else { return false };
        let length = std::str::from_utf8(&self.read[..line]).unwrap();
        let (begin, length) = (line + 2, usize::from_str_radix(length, 16).unwrap());
        if self.read.len() < begin + length + 2 {
            return false;
        }
        self.text += std::str::from_utf8(&self.read[begin..begin + length]).unwrap();
        self.read.drain(..begin + length + 2);
        self.has_ended = length == 0;
        true
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        within("an event", async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let (name, data) = event.split_once('\n').unwrap();
                    let name = name.strip_prefix("event: ").unwrap().to_owned();
                    let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                    self.text = rest.to_owned();
                    return Some((name, data));
                }
                if self.has_ended || !self.take_chunk() && !self.more().await {
                    return None;
                }
            }
        })
        .await
    }

    /// The data of the next event of this name that is as wanted.
    async fn until(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (found, data) = self.next().await.expect("an event rather than the end");
            if found == name && wanted(&data) {
                return data;
            }
        }
    }
}

#[tokio::test]
async fn whoever_listens_hears_ticks_and_decisions_with_their_reasons() {
    let (sidecar, operator) = operated("").await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut listener = Listener::with_token(operator).await;
    ann.ask("{}").await;
    assert_eq!(ann.ask_as("no-such-event", "").await["ok"], false);
    let refused = listener.until("decision", |line| line["outcome"] == "refused").await;
    let fields = ["kind", "subject", "code", "stage", "rule", "event"].map(|name| refused[name].clone());
    assert_eq!(json!(fields), json!(["event", "ann", "unknown_event", "validate", "events", "unknown"]));
    let mut refusals = 0;
    while refusals == 0 {
        let tick = listener.until("tick", |_| true).await;
        assert_eq!((&tick["ready"], &tick["sessions"], &tick["rooms"]), (&json!(true), &json!(1), &json!(1)));
        refusals += tick["eventsRefused"].as_u64().unwrap();
    }
    assert_eq!(refusals, 1);
    let sample = listener.until("sample", |_| true).await;
    assert_eq!(operator.get("/api/series").await["samples"].as_array().unwrap().last(), Some(&sample));
    let mut forged = RawSocket::open(sidecar.public).await;
    forged.connect(&json!({ "token": "not.a.token" })).await.unwrap_err();
    let denied = listener.until("decision", |line| line["kind"] == "admission").await;
    assert_eq!((&denied["outcome"], &denied["code"]), (&json!("refused"), &json!("token_invalid")));
    assert_eq!(operator.ask("POST", "/api/disconnect", r#"{"user":"ann"}"#).await.0, 200);
    let done = listener.until("decision", |line| line["kind"] == "admin").await;
    assert_eq!((&done["code"], &done["closed"]), (&json!("disconnect"), &json!(1)));
}

#[tokio::test]
async fn a_flood_is_shown_in_part_and_what_was_not_is_counted() {
    const CONNECTIONS: usize = 10;
    let (sidecar, operator) = operated("").await;
    let mut listener = Listener::with_token(operator).await;
    let mut sockets = Vec::new();
    for at in 0..CONNECTIONS {
        sockets.push(RawSocket::join(sidecar.public, &member(&format!("user-{at}"), &["red"])).await);
    }
    for socket in &mut sockets {
        for _ in 0..19 {
            socket.send(r#"42["no-such-event"]"#).await;
        }
        socket.ask_as("no-such-event", "").await;
    }
    // Admissions and refusals, fewer than one connection and one address may have lines.
    let all = CONNECTIONS as u64 * 21;
    let (mut shown, mut skipped) = (0, 0);
    while shown + skipped < all {
        match listener.next().await.unwrap() {
            (name, _) if name == "decision" => shown += 1,
            (name, data) if name == "skipped" => skipped += data["decisions"].as_u64().unwrap(),
            _ => {}
        }
    }
    assert_eq!(shown + skipped, all);
    assert!(shown > 0);
}

#[tokio::test]
async fn only_so_many_listen_and_the_stream_ends_with_the_session_and_with_the_process() {
    let (mut sidecar, operator) = operated("").await;
    let login = json!({ "token": TOKEN }).to_string();
    let answer = Http::to(operator.0).await.request("POST", "/api/session", &[], &login).await;
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let csrf = serde_json::from_str::<Value>(&answer.body).unwrap()["csrf"].as_str().unwrap().to_owned();
    let mut page = Listener::open(operator, &[("Cookie", &cookie)]).await;
    let mut others = Vec::new();
    for _ in 1..16 {
        others.push(Listener::with_token(operator).await);
    }
    let authorization = format!("Bearer {TOKEN}");
    let refused = get(operator.0, "/api/live", &[("Authorization", &authorization)]).await;
    assert_eq!((refused.status, &*code_of(&refused)), (503, "too_many_listeners"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(get(operator.0, "/api/live", &[]).await.status, 401);
    let headers = [("Cookie", &*cookie), ("X-Flowgate-Csrf", &*csrf)];
    let out = Http::to(operator.0).await.request("DELETE", "/api/session", &headers, "").await;
    assert_eq!(out.status, 204);
    assert_eq!(page.until("end", |_| true).await, json!({ "why": "logged_out" }));
    assert!(page.next().await.is_none());
    // Its place is free, and so is that of one who just leaves.
    others.push(Listener::with_token(operator).await);
    drop(others.pop());
    crate::harness::until("there is a place", async || {
        let mut http = Http::to(operator.0).await;
        http.send("GET", "/api/live", &[("Authorization", &authorization)], "").await;
        let (mut tcp, mut read) = http.into_parts();
        tokio::io::AsyncReadExt::read_buf(&mut tcp, &mut read).await.unwrap();
        read.starts_with(b"HTTP/1.1 200 ")
    })
    .await;
    sidecar.stop();
    for mut listener in others {
        assert_eq!(listener.until("end", |_| true).await, json!({ "why": "draining" }));
        assert!(listener.next().await.is_none());
    }
    sidecar.stopped().await;
}
