//! A member that does not read costs itself only: a bounded number of bytes, then its place.

use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, closes, member, until};

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
async fn an_upgraded_socket_that_stops_reading_is_closed() {
    let sidecar = Sidecar::start(OVERFLOW).await;
    let stuck = Polling::join(sidecar.public, &member("eve", &["red"])).await.upgrade().await;
    busy_until(&sidecar, &closes("slow_reader"), 1.0).await;
    drop(stuck);
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
