//! `relay.resync_on_connect`: the notice that stock clients are sent first of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{NOTICE, apart, heard_until_now, join, resyncs, sends};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member};

const ON: &str = "[relay]\nresync_on_connect = true\n";

#[tokio::test]
async fn it_comes_once_after_every_admission_and_then_all_is_as_ever() {
    let sidecar = Sidecar::start(ON).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    assert_eq!(ann.packet().await.unwrap(), format!("2[\"database-changed\",{NOTICE}]"));
    let mut ben = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    assert_eq!(ben.packet().await.unwrap(), format!("2[\"database-changed\",{NOTICE}]"));
    sends(&mut ann, &["[1]"]).await;
    assert_eq!(ann.heard_until_now().await, ["[1]"]);
    assert_eq!(ben.event().await, "[1]");
    assert_eq!(sidecar.metric(&resyncs("connect")).await, 2.0);
    drop(ann);
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    assert_eq!(ann.heard_until_now().await, [NOTICE]);
}

#[tokio::test]
async fn by_default_there_is_none() {
    let sidecar = Sidecar::start("").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    sends(&mut ann, &["[1]"]).await;
    assert_eq!(ann.heard_until_now().await, ["[1]"]);
    assert_eq!(sidecar.metric(&resyncs("connect")).await, 0.0);
}

#[tokio::test]
async fn each_name_that_a_client_may_listen_to_has_one() {
    const EVENTS: &str =
        "[events.comment]\nemit = \"commented\"\n[events.other]\nemit = \"database-changed\"\n";
    let sidecar = Sidecar::start(&format!("{ON}{EVENTS}")).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    assert_eq!(ann.packet().await.unwrap(), format!("2[\"commented\",{NOTICE}]"));
    assert_eq!(ann.packet().await.unwrap(), format!("2[\"database-changed\",{NOTICE}]"));
    assert_eq!(ann.heard_until_now().await, [""; 0]);
}

#[tokio::test]
async fn those_without_a_token_are_told_too_and_nobody_who_is_refused() {
    let sidecar =
        Sidecar::start(&format!("{ON}[auth]\nmode = \"optional\"\n[rooms]\nanonymous = \"lobby\"\n")).await;
    let mut guest = RawSocket::join(sidecar.public, &Value::Null).await;
    assert_eq!(guest.event().await, NOTICE);
    let mut refused = RawSocket::open(sidecar.public).await;
    assert_eq!(refused.connect(&json!({ "token": "x" })).await, Err("token_invalid".into()));
    assert_eq!(sidecar.metric(&resyncs("connect")).await, 1.0);
}

#[tokio::test]
async fn it_comes_before_anything_else_while_others_send() {
    let sidecar = Arc::new(Sidecar::start(ON).await);
    let done = Arc::new(AtomicBool::new(false));
    let sending = tokio::spawn({
        let (sidecar, done) = (sidecar.clone(), done.clone());
        async move {
            let mut ann = join(&sidecar, "ann", &["red"]).await;
            while !done.load(Ordering::Relaxed) {
                sends(&mut ann, &["7"]).await;
            }
        }
    });
    for round in 0..40 {
        let first = if round % 2 == 0 {
            join(&sidecar, "ben", &["red"]).await.event().await
        } else {
            Polling::join(sidecar.public, &member("ben", &["red"])).await.event().await
        };
        assert_eq!(first, NOTICE);
    }
    done.store(true, Ordering::Relaxed);
    sending.await.unwrap();
}

#[tokio::test]
async fn with_meta_it_says_how_far_its_hearer_has_come() {
    let sidecar =
        Sidecar::start("[relay]\nmeta = true\nresync_on_connect = true\n[relay.history]\ncount = 9\n").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let (payload, meta) = apart(&ann.packet().await.unwrap()).unwrap();
    assert_eq!(payload, NOTICE);
    assert_eq!(meta.as_object().unwrap().len(), 5, "{meta}");
    for null in ["seq", "team", "actor"] {
        assert_eq!(meta[null], Value::Null, "{meta}");
    }
    let mut ben = join(&sidecar, "ben", &["red"]).await;
    drop(ann);
    sends(&mut ben, &["1", "2"]).await;
    // Whoever says so is not told again.
    let mut ann = super::back(&sidecar, "ann", &["red"], meta["id"].as_str().unwrap()).await;
    let heard = heard_until_now(&mut ann).await;
    assert_eq!(super::told(&heard), [("1", 1), ("2", 2)]);
    assert_eq!(sidecar.metric(&resyncs("connect")).await, 2.0);
}
