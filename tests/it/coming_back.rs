//! Coming back: what events say of themselves, what a client is told first, and what it has missed is replayed.

mod load;
mod meta;
mod notice;
mod replay;

use serde_json::Value;

use crate::harness::packets::{self, HEARD};
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member};

const META: &str = "[relay]\nmeta = true\n";

/// Everything that is relayed in a test is kept.
const KEPT: &str = "[relay]\nmeta = true\n[relay.history]\ncount = 4096\nage = \"1h\"\nbytes = \"8MiB\"\n";

const NOTICE: &str = r#"{"type":"resync"}"#;

async fn join(sidecar: &Sidecar, user: &str, teams: &[&str]) -> RawSocket {
    RawSocket::join(sidecar.public, &member(user, teams)).await
}

/// Comes in as somebody who has heard all this.
async fn back(sidecar: &Sidecar, user: &str, teams: &[&str], since: &str) -> RawSocket {
    let mut auth = member(user, teams);
    auth["since"] = since.into();
    RawSocket::join(sidecar.public, &auth).await
}

/// The next event with its meta: the payload's text, and what is said of it.
async fn heard(socket: &mut RawSocket) -> (String, Value) {
    loop {
        let packet = socket.packet().await.expect("an event rather than the end");
        if let Some(heard) = apart(&packet) {
            return heard;
        }
    }
}

/// All events that have come so far, with their meta.
async fn heard_until_now(socket: &mut RawSocket) -> Vec<(String, Value)> {
    let all = socket.heard_until_now().await;
    let packet = |arguments: &String| format!("2[\"{HEARD}\",{arguments}]");
    all.iter().map(|arguments| apart(&packet(arguments)).unwrap()).collect()
}

/// An event's two arguments; `None` for another packet.
fn apart(packet: &str) -> Option<(String, Value)> {
    let arguments = format!("[{}]", packets::heard(packet)?);
    let [payload, meta]: [Box<serde_json::value::RawValue>; 2] = serde_json::from_str(&arguments).unwrap();
    Some((payload.get().to_owned(), serde_json::from_str(meta.get()).unwrap()))
}

/// The payloads, and the numbers, of what was heard.
fn told(heard: &[(String, Value)]) -> Vec<(&str, u64)> {
    heard.iter().map(|(payload, meta)| (&**payload, meta["seq"].as_u64().unwrap_or(0))).collect()
}

async fn sends(socket: &mut RawSocket, arguments: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for argument in arguments {
        let answer = socket.ask(argument).await;
        assert_eq!(answer["ok"], true, "{argument}: {answer}");
        ids.push(answer["id"].as_str().unwrap().to_owned());
    }
    ids
}

fn resyncs(reason: &str) -> String {
    format!("flowgate_resyncs_total{{reason=\"{reason}\"}}")
}

const REPLAYED: &str = "flowgate_replayed_events_total";
