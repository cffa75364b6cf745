//! Events by names and arguments that no honest client sends.

use serde_json::json;

use crate::harness::frames::{TEXT, frame};
use crate::harness::packets::{self, EVENT};
use crate::harness::{closes, within};

use super::scene::{Scene, TEAM};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_06_names_that_are_no_event_are_refused_and_counted() {
    let scene = Scene::new("").await;
    let mut eve = scene.websocket("eve", &["blue"]).await;
    let (large, long) = ("x".repeat(60_000), "x".repeat(1 << 20));
    let names = [
        // Socket.IO's own are just names here, and so are JavaScript's.
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "error",
        "newListener",
        "removeListener",
        "__proto__",
        "constructor",
        "",
        " ",
        "*",
        "database",
        "database-changed",
        "database-change ",
        "Database-Change",
        "database-change\u{0}",
        "database-cha\u{200b}nge",
        "😀",
        &large,
    ];
    scene
        .during(async {
            for name in names.iter().filter(|name| !name.contains('\0')) {
                for argument in ["", "1", "{}"] {
                    let answer = eve.ask_as(name, argument).await;
                    assert_eq!(answer, json!({ "ok": false, "code": "unknown_event" }), "{name:.60}");
                }
            }
        })
        .await;
    let mut refused = 3.0 * (names.len() - 1) as f64;
    assert_eq!(scene.refused("unknown_event").await, refused);
    // Nobody asked: counted all the same, and silent.
    for name in names.iter().filter(|name| !name.contains('\0')) {
        eve.send(&packets::event(name, "1", None)).await;
        refused += 1.0;
    }
    assert_eq!(eve.heard_until_now().await, Vec::<String>::new());
    assert_eq!(scene.refused("unknown_event").await, refused + 1.0);
    drop(eve);
    // A name that is no plain string makes no packet.
    let mut closed = 0.0;
    scene
        .during(async {
            for packet in [
                "42".to_owned(),
                "42[]".to_owned(),
                "42[1]".to_owned(),
                "421[1,2]".to_owned(),
                "42[null]".to_owned(),
                "42[true]".to_owned(),
                "42[{}]".to_owned(),
                format!(r#"42[{{"{EVENT}":1}}]"#),
                format!(r#"42[["{EVENT}"]]"#),
                format!(r#"42[,"{EVENT}"]"#),
                "42{}".to_owned(),
                format!(r#"42{{"0":"{EVENT}"}}"#),
                format!(r#"42"{EVENT}""#),
                r#"42["database\u002dchange"]"#.to_owned(),
                r#"42["\u0000"]"#.to_owned(),
                "42[\"database-change\u{0}\"]".to_owned(),
                packets::event(&long, "", Some(1)),
            ] {
                let mut eve = scene.websocket("eve", &[TEAM]).await;
                eve.send_bytes(&frame(TEXT, packet.as_bytes())).await;
                within(&format!("the end of whoever says {packet:.60}"), eve.closed()).await;
                closed += 1.0;
                scene.until(&closes("bad_packet"), closed).await;
            }
        })
        .await;
    scene.at_rest().await;
    assert_eq!(scene.metric("flowgate_events_accepted_total").await, scene.honest_said().await);
}

/// What the packet's end and its arguments may not be, where the packet as such is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_07_trailing_junk_and_extra_arguments_are_refused() {
    let scene = Scene::new("").await;
    let mut eve = scene.websocket("eve", &["blue"]).await;
    let arguments = ["1,2", "{},{}", "null,null", "\"a\",\"b\"", "1,2,3,4", "[],[]"];
    scene
        .during(async {
            for arguments in arguments {
                let answer = eve.ask(arguments).await;
                assert_eq!(answer, json!({ "ok": false, "code": "invalid_payload" }), "{arguments}");
            }
        })
        .await;
    let mut refused = arguments.len();
    for junk in
        ["]x", "]]", "] []", "][]", "]1", "]42[\"database-change\"]", "]\u{1e}42[\"database-change\"]"]
    {
        for argument in ["", ",1", ",{}"] {
            eve.send(&format!("42{refused}[\"{EVENT}\"{argument}{junk}")).await;
            let packet = eve.packet().await.unwrap();
            let answer = packets::answer(&packet, refused as u64);
            assert_eq!(answer, Some(json!({ "ok": false, "code": "invalid_payload" })), "{argument}{junk}");
            refused += 1;
        }
    }
    assert_eq!(scene.refused("invalid_payload").await, refused as f64);
    // Heartbeats out of turn are passed over.
    for packet in ["3", "2"] {
        eve.send(packet).await;
    }
    // The largest id that is answered, and the smallest.
    for id in [0, 999_999_999_999_999_999] {
        eve.send(&packets::event("no-such-event", "", Some(id))).await;
        let packet = eve.packet().await.unwrap();
        assert_eq!(packets::answer(&packet, id), Some(json!({ "ok": false, "code": "unknown_event" })));
    }
    assert_eq!(eve.heard_until_now().await, Vec::<String>::new());
    drop(eve);
    scene.at_rest().await;
    assert_eq!(scene.metric("flowgate_events_accepted_total").await, scene.honest_said().await);
}
