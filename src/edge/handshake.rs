//! The library's answer to a polling handshake: the Engine.IO open packet, `0{…}`.

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http_body_util::Full;
use serde::{Deserialize, Serialize};

use super::front::{Answer, collect};

/// Engine.IO protocol 4, "Handshake".
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    sid: String,
    upgrades: Vec<String>,
    ping_interval: u64,
    ping_timeout: u64,
    max_payload: u64,
}

/// Learns the new session's id from the answer, and tells the client the body size that this server really takes.
///
/// The library is told a larger one: it would lose a packet at the moment of upgrade if a poll response ever filled up
/// to its own `maxPayload`. A stock client splits its POST bodies by what it is told here.
pub async fn complete(answer: Answer, max_payload: usize, learn: impl FnOnce(String)) -> Answer {
    let (mut head, body) = answer.into_parts();
    let body = collect(body).await;
    let open = body.strip_prefix(b"0").and_then(|json| serde_json::from_slice::<Open>(json).ok());
    let Some(mut open) = open else {
        // Cannot happen with the library this was written for; its answer is passed on as it is.
        return Response::from_parts(head, Full::new(body));
    };
    open.max_payload = max_payload as u64;
    let text = format!("0{}", serde_json::to_string(&open).unwrap_or_default());
    learn(open.sid);
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    Response::from_parts(head, Full::new(Bytes::from(text)))
}
