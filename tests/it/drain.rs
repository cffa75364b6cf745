//! Going down: nobody new, everybody told, and out within the deadline whatever a peer does.

use crate::harness::http::get;
use crate::harness::polling::Polling;
use crate::harness::process::Process;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, closes, code_of, member, within};

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
async fn every_websocket_is_told_that_the_server_goes_away() {
    let mut sidecar = Sidecar::start("").await;
    // One that has never heard a broadcast, one that has, and one that was upgraded.
    let idle = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut heard = RawSocket::join(sidecar.public, &member("ben", &["blue"])).await;
    assert_eq!(heard.ask("1").await["ok"], true);
    let upgraded = Polling::join(sidecar.public, &member("cleo", &["red"])).await.upgrade().await;
    sidecar.stop();
    for socket in [idle, heard, upgraded] {
        assert_eq!(socket.close_code().await, Some(1001));
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
