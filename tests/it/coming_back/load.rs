//! Clients that come and go while others send: each hears every event exactly once and in order, or is told to fetch all anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{NOTICE, REPLAYED, apart, join, resyncs, sends};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{LOOK_AGAIN, Sidecar, member, within};

const SENDERS: usize = 4;
const EVENTS_OF_EACH: usize = 250;
const ALL: u64 = (SENDERS * EVENTS_OF_EACH) as u64;

enum Client {
    WebSocket(RawSocket),
    Polling(Polling),
}

impl Client {
    /// Comes back, every third time on a connection that polls.
    async fn back(sidecar: &Sidecar, since: &str, round: usize) -> Self {
        let mut auth = member("ann", &["red", "blue"]);
        auth["since"] = since.into();
        if round % 3 == 2 {
            Client::Polling(Polling::join(sidecar.public, &auth).await)
        } else {
            Client::WebSocket(RawSocket::join(sidecar.public, &auth).await)
        }
    }

    async fn packet(&mut self) -> String {
        let packet = match self {
            Client::WebSocket(socket) => socket.packet().await,
            Client::Polling(polling) => polling.packet().await,
        };
        packet.expect("an event rather than the end")
    }
}

/// What one client has come to.
#[derive(Debug, Default)]
struct Account {
    heard: u64,
    notices: u64,
    rounds: usize,
}

/// Comes and goes until it has heard the last event. Whatever it hears must be the next.
async fn come_and_go(
    sidecar: Arc<Sidecar>,
    number: usize,
    has_come: tokio::sync::oneshot::Sender<()>,
) -> Account {
    let (mut since, mut last, mut account) = (String::new(), 0, Account::default());
    let mut has_come = Some(has_come);
    loop {
        let mut client = Client::back(&sidecar, &since, account.rounds + number).await;
        account.rounds += 1;
        let stays = 1 + (account.rounds * 7 + number * 13) % 40;
        for _ in 0..stays {
            let (payload, meta) = apart(&client.packet().await).expect("an event");
            since = meta["id"].as_str().unwrap().to_owned();
            if let Some(has_come) = has_come.take() {
                has_come.send(()).unwrap();
            }
            if payload == NOTICE {
                account.notices += 1;
                // It fetches everything, of which the next event says where that ends.
                last = 0;
                continue;
            }
            let seq = meta["seq"].as_u64().unwrap();
            assert!(last == 0 || seq == last + 1, "client {number} heard {seq} after {last}");
            last = seq;
            account.heard += 1;
            if seq >= ALL {
                return account;
            }
        }
        drop(client);
        // Away for a moment.
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// All send, each client comes and goes; what each has come to.
async fn run(count: usize) -> (Arc<Sidecar>, Vec<Account>) {
    let settings = format!(
        "[relay]\nmeta = true\n[relay.history]\ncount = {count}\nage = \"1h\"\nbytes = \"8MiB\"\n[rooms]\nmulti_team = \"all\"\n"
    );
    let sidecar = Arc::new(Sidecar::start(&settings).await);
    let (mut clients, mut come) = (Vec::new(), Vec::new());
    for number in 0..4 {
        let (has_come, comes) = tokio::sync::oneshot::channel();
        clients.push(tokio::spawn(come_and_go(sidecar.clone(), number, has_come)));
        come.push(comes);
    }
    for comes in come {
        within("a client", comes).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            let (sidecar, done) = (sidecar.clone(), done.clone());
            tokio::spawn(async move {
                let mut sender = join(&sidecar, &format!("sender-{number}"), &["red", "blue"]).await;
                let mut event = 0;
                // One goes on until the last client has heard something after all that count: of those it may have been told
                // by a notice.
                while event < EVENTS_OF_EACH || number == 0 && !done.load(Ordering::Relaxed) {
                    sends(&mut sender, &[&format!("[{number},{event}]")]).await;
                    event += 1;
                }
            })
        })
        .collect();
    let mut accounts = Vec::new();
    for client in clients {
        accounts.push(within("a client's last event", client).await);
    }
    done.store(true, Ordering::Relaxed);
    for sender in senders {
        within("a sender", sender).await.unwrap();
    }
    let accounts = accounts.into_iter().map(Result::unwrap).collect();
    (sidecar, accounts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_all_of_it_kept_each_event_is_heard_exactly_once() {
    let (sidecar, accounts) = run(4096).await;
    for account in &accounts {
        // Told once that it has heard nothing yet, before the first was sent.
        assert_eq!((account.heard, account.notices), (ALL, 1), "{account:?}");
        assert!(account.rounds > 10, "{account:?}");
    }
    assert!(sidecar.metric(REPLAYED).await > 0.0);
    println!("{} events, replayed {}, {accounts:?}", ALL, sidecar.metric(REPLAYED).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_little_of_it_kept_whoever_missed_something_is_told() {
    let (sidecar, accounts) = run(3).await;
    for account in &accounts {
        assert!(account.heard <= ALL && account.notices >= 1, "{account:?}");
        assert!(account.heard == ALL || account.notices > 1, "{account:?}");
    }
    let mut told = 0.0;
    for reason in ["nothing_heard", "unknown", "too_old"] {
        told += sidecar.metric(&resyncs(reason)).await;
    }
    assert_eq!(told, accounts.iter().map(|account| account.notices as f64).sum::<f64>());
    println!("{} events, replayed {}, {accounts:?}", ALL, sidecar.metric(REPLAYED).await);
}
