//! What the internal port tells of the process, beyond what each feature's own tests look at.

use jsonwebtoken::Algorithm::ES256;
use serde_json::json;

use crate::harness::endpoint::{Answer, Endpoint};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member, mint, until};
use crate::keys::{P256, jwk, jwks};

fn sessions(state: &str, transport: &str) -> String {
    format!("flowgate_session_states{{state=\"{state}\",transport=\"{transport}\"}}")
}

#[tokio::test]
async fn sessions_are_told_by_state_and_transport() {
    let sidecar = Sidecar::start("").await;
    let (_admitted, _waiting) = (
        RawSocket::join(sidecar.public, &member("ann", &["red"])).await,
        RawSocket::open(sidecar.public).await,
    );
    let (_polls, _waits) =
        (Polling::join(sidecar.public, &member("ben", &["red"])).await, Polling::open(sidecar.public).await);
    for state in ["admitted", "waiting"] {
        for transport in ["websocket", "polling"] {
            assert_eq!(sidecar.metric(&sessions(state, transport)).await, 1.0, "{state} {transport}");
        }
    }
}

#[tokio::test]
async fn bytes_are_counted_both_ways() {
    let sidecar = Sidecar::start("").await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut ben = RawSocket::join(sidecar.public, &member("ben", &["red"])).await;
    let (received, sent) = ("flowgate_received_bytes_total", "flowgate_sent_bytes_total");
    let before = (sidecar.metric(received).await, sidecar.metric(sent).await);
    let payload = format!("\"{}\"", "x".repeat(5000));
    ann.ask(&payload).await;
    assert_eq!(ben.event().await, payload);
    let (read, written) = (sidecar.metric(received).await - before.0, sidecar.metric(sent).await - before.1);
    let frame = (payload.len() + r#"421["database-change",]"#.len()) as f64;
    // Masks, lengths and the answer come on top; nothing else does.
    assert!((frame..frame + 50.0).contains(&read), "{read} bytes of a frame of {frame}");
    assert!(
        (2.0 * frame..2.0 * frame + 200.0).contains(&written),
        "{written} bytes of two frames of {frame}"
    );
}

#[tokio::test]
async fn refusals_are_told_by_stage_and_by_limit() {
    const SETTINGS: &str = r#"
        [events.database-change]
        payload = "typed"
        [limits.events]
        per_socket = { rate = "1/h", burst = 3 }
        [[rules]]
        name = "nobody deletes"
        on = ["task-deleted"]
        allow_if = "false"
    "#;
    let sidecar = Sidecar::start(SETTINGS).await;
    let mut ann = RawSocket::join(sidecar.public, &json!({ "token": mint(json!({ "sub": "ann" })) })).await;
    for payload in [r#"{"type":"no-such"}"#, r#"{"type":"task-deleted","taskId":1}"#, r#""no object""#] {
        assert_eq!(ann.ask(payload).await["ok"], false);
    }
    for _ in 0..4 {
        assert_eq!(ann.ask(r#"{"type":"task-created"}"#).await["code"], "rate_limited");
    }
    let refusals =
        |stage, code| format!("flowgate_event_refusals_total{{stage=\"{stage}\",code=\"{code}\"}}");
    for (stage, code, count) in [
        ("validate", "unknown_type", 1.0),
        ("validate", "invalid_payload", 1.0),
        ("rules", "not_allowed", 1.0),
        ("rate_limit", "rate_limited", 4.0),
    ] {
        assert_eq!(sidecar.metric(&refusals(stage, code)).await, count, "{stage} {code}");
    }
    let over = |limit| format!("flowgate_over_limit_total{{key=\"limits.events.{limit}\"}}");
    assert_eq!(sidecar.metric(&over("per_socket")).await, 4.0);
    assert_eq!(sidecar.metric(&over("per_team")).await, 0.0);
}

#[tokio::test]
async fn what_waits_for_a_slow_client_is_told_and_the_peak_stays() {
    let settings = "[limits.slow_reader]\nmax_queued = \"16MiB\"\nmax_stall = \"1h\"";
    let sidecar = Sidecar::start(settings).await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut stuck = RawSocket::open_narrow(sidecar.public).await;
    stuck.connect(&member("ben", &["red"])).await.unwrap();
    let payload = format!("\"{}\"", "x".repeat(10_000));
    // The kernel takes some megabytes for somebody who reads nothing.
    while sidecar.metric("flowgate_queued_bytes_most").await < 100_000.0 {
        ann.ask(&payload).await;
        ann.event().await;
    }
    let peak = sidecar.metric("flowgate_queued_bytes_peak").await;
    assert!(peak >= 100_000.0, "{peak}");
    assert!(sidecar.metric("flowgate_queued_bytes").await >= 100_000.0);
    drop(stuck);
    sidecar.until("flowgate_queued_bytes", 0.0).await;
    assert!(sidecar.metric("flowgate_queued_bytes_peak").await >= peak);
}

#[tokio::test]
async fn readiness_keys_limits_and_the_runtime_are_told() {
    let mut sidecar = Sidecar::start("[limits.connections]\nper_user = 7\n[drain]\nspread = \"5s\"").await;
    assert_eq!(sidecar.metric("flowgate_keys_present{issuer=\"app\"}").await, 1.0);
    assert_eq!(sidecar.metric("flowgate_limit{key=\"limits.connections.per_user\"}").await, 7.0);
    assert!(sidecar.metric("flowgate_runtime_workers").await >= 1.0);
    assert!(sidecar.metric("process_threads").await >= 1.0);
    assert!(sidecar.metric("process_start_time_seconds").await > 1.7e9);
    let draining = "flowgate_not_ready{why=\"draining\"}";
    assert_eq!(sidecar.metric(draining).await, 0.0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(sidecar.metric(&format!("flowgate_build_info{{version=\"{version}\"}}")).await, 1.0);
    // Somebody must be there, or the drain is over at once.
    let _ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let _ben = RawSocket::join(sidecar.public, &member("ben", &["red"])).await;
    sidecar.stop();
    sidecar.until(draining, 1.0).await;
}

#[tokio::test]
async fn the_age_of_fetched_keys_is_told_and_whether_there_are_any() {
    let endpoint = Endpoint::start(Answer::Body(jwks(&[jwk(P256, "one", ES256)]))).await;
    let nowhere = Endpoint::start(Answer::Body("no keys".into())).await;
    let issuer = |name: &str, url: &str| {
        format!(
            "[[auth.issuers]]\nname = \"{name}\"\nissuer = \"https://{name}.example\"\nalgorithms = [\"ES256\"]\n\
             jwks_url = \"{url}\"\ninsecure_http = true\n"
        )
    };
    let settings = issuer("far", endpoint.url.as_ref()) + &issuer("gone", nowhere.url.as_ref());
    let sidecar = Sidecar::start(&settings).await;
    sidecar.until("flowgate_keys_present{issuer=\"far\"}", 1.0).await;
    assert_eq!(sidecar.metric("flowgate_keys_present{issuer=\"gone\"}").await, 0.0);
    let age = async || sidecar.metric("flowgate_keys_age_seconds{issuer=\"far\"}").await;
    let first = age().await;
    assert!(first >= 0.0);
    until("they grow older", async || age().await > first).await;
    // Configured keys have no age, nor has what was never fetched.
    assert_eq!(sidecar.metrics("flowgate_keys_age_seconds").await.len(), 1);
}
