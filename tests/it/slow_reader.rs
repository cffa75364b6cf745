//! A member that does not read costs itself only: a bounded number of bytes, then its place.

use crate::harness::frames::{TEXT, frame};
use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, closes, member, until, within};

/// The bytes are what ends it; the time never comes.
const OVERFLOW: &str = "[limits.slow_reader]\nmax_queued = \"64KiB\"\nmax_stall = \"1h\"";

/// About a thousandth of what the kernels of both sides may take for one connection.
fn bulk(at: u64) -> String {
    format!("\"{at:010}{}\"", "x".repeat(8_000))
}

/// The sender keeps its team busy, one event after the other as it hears them, until the metric has this value; another
/// member hears all of it in order.
async fn busy_until(sidecar: &Sidecar, series: &str, value: f64) {
    let mut sender = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut reader = RawSocket::join(sidecar.public, &member("ben", &["red"])).await;
    let mut polling = Polling::join(sidecar.public, &member("cleo", &["red"])).await;
    let mut at = 0;
    until(&format!("{series} = {value}"), async || {
        for _ in 0..20 {
            let text = bulk(at);
            assert_eq!(sender.ask(&text).await["ok"], true);
            assert_eq!(sender.event().await, text);
            assert_eq!(reader.event().await, text);
            assert_eq!(polling.event().await, text);
            at += 1;
        }
        sidecar.metric(series).await == value
    })
    .await;
    // Nobody else has been closed, and the team goes on.
    assert_eq!(sender.ask("\"after\"").await["ok"], true);
    assert_eq!(reader.event().await, "\"after\"");
    assert_eq!(polling.event().await, "\"after\"");
    sidecar.until("flowgate_peers", 3.0).await;
    polling.post("1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_that_stops_reading_is_closed() {
    let sidecar = Sidecar::start(OVERFLOW).await;
    let mut stuck = RawSocket::open_narrow(sidecar.public).await;
    stuck.connect(&member("eve", &["red", "blue"])).await.unwrap();
    sidecar.until("flowgate_rooms", 2.0).await;
    busy_until(&sidecar, &closes("slow_reader"), 1.0).await;
    // Its other room is gone with it, though its connection is still held here.
    sidecar.until("flowgate_rooms", 0.0).await;
    drop(stuck);
    sidecar.until_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgraded_socket_that_stops_reading_is_closed() {
    let sidecar = Sidecar::start(OVERFLOW).await;
    let stuck = Polling::join(sidecar.public, &member("eve", &["red"])).await.upgrade().await;
    busy_until(&sidecar, &closes("slow_reader"), 1.0).await;
    drop(stuck);
    sidecar.until_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_never_polls_is_closed() {
    let sidecar = Sidecar::start(OVERFLOW).await;
    let mut stuck = Polling::join(sidecar.public, &member("eve", &["red"])).await;
    busy_until(&sidecar, &closes("slow_reader"), 1.0).await;
    assert_eq!(stuck.poll().await.status, 400);
    // What waited for it was bounded: 64 KiB and the event that went over it.
    sidecar.until_empty().await;
}

/// Little traffic, so that nothing overflows: the time is what ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_is_enough() {
    let sidecar = Sidecar::start(
        "[limits.payload]\nmax_bytes = \"1MiB\"\nhard_max_bytes = \"2MiB\"\n\
         [limits.slow_reader]\nmax_queued = \"64MiB\"\nmax_stall = \"1s\"",
    )
    .await;
    let stuck = RawSocket::open_narrow(sidecar.public).await;
    let mut stuck = stuck;
    stuck.connect(&member("eve", &["red"])).await.unwrap();
    let mut sender = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    // Sixteen megabytes, more than the kernels of both sides take and far less than may wait.
    for _ in 0..20 {
        let text = format!("\"{}\"", "x".repeat(800_000));
        sender.emit(&text).await;
        assert_eq!(sender.event().await, text);
    }
    sidecar.until(&closes("slow_reader"), 1.0).await;
    assert_eq!(sender.ask("1").await["ok"], true);
    sidecar.until("flowgate_peers", 1.0).await;
}

/// Acknowledgements are what waits here: their number is bounded too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_and_never_reads_is_closed() {
    let sidecar = Sidecar::start("[limits.slow_reader]\nmax_queued = \"16KiB\"\nmax_stall = \"2s\"").await;
    let mut honest = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut stuck = RawSocket::open_narrow(sidecar.public).await;
    stuck.connect(&member("eve", &["blue"])).await.unwrap();
    let asking = tokio::spawn(async move {
        let questions: Vec<u8> = (0..500_u16)
            .flat_map(|at| {
                let text = packets::event("no-such-event", "", Some(at.into()));
                frame(TEXT, text.as_bytes())
            })
            .collect();
        use tokio::io::AsyncWriteExt;
        // Ends when the other side has closed.
        while stuck.stream.get_mut().write_all(&questions).await.is_ok() {}
    });
    within("the end of asking", async {
        while !asking.is_finished() {
            assert_eq!(honest.ask("1").await["ok"], true);
            honest.event().await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    sidecar.until("flowgate_peers", 1.0).await;
    let counted = sidecar.metric(&closes("slow_reader")).await + sidecar.metric(&closes("send_failed")).await;
    assert_eq!(counted, 1.0);
    assert_eq!(honest.ask_as(EVENT, "2").await["ok"], true);
}

/// A polling client that posts questions and never polls for the answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_polling_client_that_asks_and_never_polls_is_closed() {
    let sidecar = Sidecar::start(OVERFLOW).await;
    let mut stuck = Polling::join(sidecar.public, &member("eve", &["blue"])).await;
    let questions: Vec<_> = (0..500).map(|at| packets::event("no-such-event", "", Some(at))).collect();
    let body = questions.join("\x1e");
    within("the end of asking", async { while stuck.post(&body).await.status == 200 {} }).await;
    sidecar.until_empty().await;
    assert_eq!(sidecar.metric(&closes("send_failed")).await, 1.0);
}
