//! Rows 25 and 26: clients that ask for much and read nothing.

use futures_util::future::join_all;

use super::scene::Scene;
use crate::harness::frames::{TEXT, frame};
use crate::harness::packets;
use crate::harness::websocket::RawSocket;
use crate::harness::{closes, member, until, within};

/// The bytes are what ends it; the time never comes.
const OVERFLOW: &str = "[limits.slow_reader]\nmax_queued = \"64KiB\"\nmax_stall = \"1h\"";

/// What may wait for one client here and in the kernel, which doubles what it is told.
const WAITING: u64 = 3 * 64 * 1024;

/// About an eighth of what may wait for one client.
fn bulk(at: u64) -> String {
    format!("\"{at:010}{}\"", "x".repeat(8_000))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_hundreds_of_readers_that_stop_cost_themselves_only() {
    const STUCK: usize = 300;
    const POLLING: usize = 20;
    let scene = Scene::new(OVERFLOW).await;
    let memory = scene.process().resident();
    let files = scene.process().open_files();
    let attack = async {
        let mut sender = scene.websocket("dan", &["blue"]).await;
        let mut reader = scene.websocket("fay", &["blue"]).await;
        let mut polling = scene.polling("gil", &["blue"]).await;
        // Insiders of a busy team, and of another, whose room must go with them.
        let stuck = join_all((0..STUCK).map(async |at| {
            let mut socket = RawSocket::open_narrow(scene.public).await;
            socket.connect(&member(&format!("eve-{at}"), &["blue", "green"])).await.unwrap();
            socket
        }))
        .await;
        let never_polls =
            join_all((0..POLLING).map(async |at| scene.polling(&format!("mallory-{at}"), &["blue"]).await))
                .await;
        scene.until("flowgate_rooms", 3.0).await;
        let mut at = 0;
        until("all of them are closed", async || {
            for _ in 0..10 {
                let text = bulk(at);
                assert_eq!(sender.ask(&text).await["ok"], true);
                assert_eq!(sender.event().await, text);
                assert_eq!(reader.event().await, text);
                assert_eq!(polling.event().await, text);
                at += 1;
            }
            scene.closed("slow_reader").await == (STUCK + POLLING) as f64
        })
        .await;
        let most = memory + (STUCK + POLLING) as u64 * WAITING;
        assert!(scene.process().resident() < most, "what waited was not bounded");
        // All that they held is free, though their ends of the connections are still open.
        scene.until("flowgate_peers", 6.0).await;
        scene.until("flowgate_rooms", 2.0).await;
        until("their descriptors are free", async || scene.process().open_files() < files + 20).await;
        assert_eq!(sender.ask("\"after\"").await["ok"], true);
        assert_eq!(reader.event().await, "\"after\"");
        assert_eq!(polling.event().await, "\"after\"");
        polling.post("1").await;
        drop((stuck, never_polls));
    };
    scene.during(attack).await;
    assert_eq!(scene.closed("slow_reader").await, (STUCK + POLLING) as f64);
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_26_answers_that_are_never_collected_are_bounded() {
    let scene = Scene::new("[limits.slow_reader]\nmax_queued = \"16KiB\"\nmax_stall = \"2s\"").await;
    let memory = scene.process().resident();
    let questions: Vec<String> = (0..500).map(|at| packets::event("no-such-event", "", Some(at))).collect();
    let frames: Vec<u8> = questions.iter().flat_map(|question| frame(TEXT, question.as_bytes())).collect();
    let attack = async {
        // Over WebSockets that are never read.
        let asking = (0..20).map(async |at| {
            let mut stuck = RawSocket::open_narrow(scene.public).await;
            stuck.connect(&member(&format!("eve-{at}"), &["blue"])).await.unwrap();
            use tokio::io::AsyncWriteExt;
            // Ends when the other side has closed.
            while stuck.stream.get_mut().write_all(&frames).await.is_ok() {}
        });
        within("the end of asking", join_all(asking)).await;
        scene.until("flowgate_peers", 3.0).await;
        let counted = async || scene.closed("slow_reader").await + scene.closed("send_failed").await;
        assert_eq!(counted().await, 20.0);
        // By posts, without a poll for the answers.
        let body = questions.join("\x1e");
        let posting = (0..5).map(async |at| {
            let mut stuck = scene.polling(&format!("mallory-{at}"), &["blue"]).await;
            while stuck.post(&body).await.status == 200 {}
        });
        within("the end of posting", join_all(posting)).await;
        scene.until(&closes("send_failed"), scene.closed("send_failed").await).await;
        assert_eq!(counted().await, 25.0);
    };
    scene.during(attack).await;
    assert!(scene.process().resident() < memory + (64 << 20), "what waited was not bounded");
    scene.at_rest().await;
}
