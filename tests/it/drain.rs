//! Going down: nobody new, everybody told, and out within the deadline whatever a peer does.

use std::time::{Duration, Instant};

use crate::harness::http::get;
use crate::harness::packets;
use crate::harness::polling::Polling;
use crate::harness::process::Process;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, closes, code_of, member, metric, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_ends_with_zero() {
    let mut process = Process::serve("[drain]\nspread = \"1s\"\ndeadline = \"20s\"");
    let (public, internal) = (process.public, process.internal);
    assert_eq!(get(internal, "/ready", &[]).await.status, 200);
    let mut ends = Vec::new();
    for at in 0..20 {
        let auth = member(&format!("user-{at}"), &["red"]);
        let mut socket = match at % 4 {
            0 => Polling::join(public, &auth).await.upgrade().await,
            _ => RawSocket::join(public, &auth).await,
        };
        ends.push(tokio::spawn(async move {
            // Load until the end: one event after the other, each sent when the one before has come back.
            for own in 0.. {
                let text = format!("\"{at} {own}\"");
                socket.emit(&text).await;
                loop {
                    let Some(packet) = socket.packet().await else { return };
                    if packets::heard(&packet) == Some(text.as_str()) {
                        break;
                    }
                }
            }
        }));
    }
    let polling = Polling::join(public, &member("polling", &["blue"])).await;
    ends.push(tokio::spawn(polling.closed()));
    process.signal("TERM");
    for end in ends {
        within("a client hears of its end", end).await.unwrap();
    }
    assert_eq!(process.exit_code(), Some(0));
}

/// A peer that never reads nor answers must not hold the process up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_with_a_stuck_peer_ends_with_zero() {
    const DEADLINE: Duration = Duration::from_secs(3);
    /// What a busy machine may add, and the runtime's own second.
    const WITHIN: Duration = Duration::from_secs(15);
    let mut process = Process::serve(
        "[drain]\nspread = \"100ms\"\ndeadline = \"3s\"\n[limits.slow_reader]\nmax_stall = \"1h\"\n[limits.payload]\nmax_bytes = \"1MiB\"\nhard_max_bytes = \"2MiB\"",
    );
    let mut stuck = RawSocket::open_narrow(process.public).await;
    stuck.connect(&member("eve", &["red"])).await.unwrap();
    let _half_open = RawSocket::open(process.public).await;
    let _never_polls = Polling::join(process.public, &member("cleo", &["red"])).await;
    let mut sender = RawSocket::join(process.public, &member("ann", &["red"])).await;
    for _ in 0..12 {
        let text = format!("\"{}\"", "x".repeat(800_000));
        sender.emit(&text).await;
        assert_eq!(sender.event().await, text);
    }
    assert_eq!(metric(process.internal, "flowgate_peers").await, 3.0);
    let begin = Instant::now();
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
    assert!(begin.elapsed() < DEADLINE + WITHIN, "{:?}", begin.elapsed());
    within("the sender's end", sender.closed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_draining_nobody_new_comes_in() {
    let mut sidecar = Sidecar::start("[drain]\nspread = \"3s\"\ndeadline = \"20s\"").await;
    let (public, internal) = (sidecar.public, sidecar.internal);
    let mut sockets = Vec::new();
    for at in 0..30 {
        sockets.push(RawSocket::join(public, &member(&format!("user-{at}"), &["red"])).await);
    }
    assert_eq!(get(internal, "/ready", &[]).await.status, 200);
    sidecar.stop();
    let not_ready = async {
        while get(internal, "/ready", &[]).await.status != 503 {
            tokio::task::yield_now().await;
        }
    };
    within("not ready", not_ready).await;
    let polling = Polling::open_with(public, &[]).await.err().expect("no session");
    let websocket = RawSocket::open_with(public, &[]).await.err().expect("no WebSocket");
    for answer in [polling, websocket] {
        assert_eq!((answer.status, code_of(&answer).as_str()), (503, "draining"));
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    }
    // Spread out: some are still there while others have gone, and in the end all have.
    let closed = closes("draining");
    let between = async {
        loop {
            let count = sidecar.metric(&closed).await;
            if count > 0.0 {
                break count;
            }
        }
    };
    assert!(within("the first closes", between).await < 30.0);
    for socket in sockets {
        within("a client hears of its end", socket.closed()).await;
    }
    sidecar.stopped().await;
}

#[tokio::test]
async fn sigint_does_the_same() {
    let mut process = Process::serve("");
    let socket = RawSocket::join(process.public, &member("ann", &["red"])).await;
    process.signal("INT");
    within("a client hears of its end", socket.closed()).await;
    assert_eq!(process.exit_code(), Some(0));
}
