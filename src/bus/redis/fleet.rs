//! All servers together: commands go to whoever has their keys, and are redirected when that has changed.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::config::Address;
use super::error::{Broken, CallError, judged};
use super::lane::Answer;
use super::link::Link;
use super::map::Map;
use super::place::{Place, Refresh, redirected};
use super::server::{Server, Shared};

/// How often a command may be redirected or put off, each time after the map was drawn anew.
const MOST_REDIRECTIONS: usize = 4;

/// The servers, and what is wanted of all of them together.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) shared: Shared,
    pub(super) map: ArcSwap<Map>,
    /// Every channel that is wanted. Also held while the map is changed, so that each wish is on the desk of its owner.
    pub(super) wishes: Mutex<HashSet<Arc<str>>>,
    /// In a cluster, where a new map is asked for.
    pub(super) refresh: Option<Arc<Refresh>>,
    /// Counts the maps that were drawn.
    pub(super) drawn: watch::Sender<u64>,
}

/// A command as it goes over the wire, and the slot that it is about.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) slot: u16,
    pub(super) bytes: Bytes,
}

/// What a cluster's server says instead of an answer.
enum Instead {
    /// The slot is another server's.
    Moved(Option<Address>),
    /// This once, ask that server: the slot is on its way there.
    Ask(Address),
    /// Not now.
    Later,
}

impl Fleet {
    /// One answer for each command. Those of one server are carried out in order, also when they are redirected.
    pub(super) async fn run(&self, commands: Vec<Packed>) -> Vec<Answer> {
        let Some(refresh) = &self.refresh else {
            let map = self.map.load_full();
            let Some(server) = map.servers.first() else { return vec![Err(CallError::Away); commands.len()] };
            return server.lane.ask(commands.into_iter().map(|command| command.bytes).collect()).await;
        };
        let mut answers = vec![Err(CallError::Away); commands.len()];
        let mut left: Vec<usize> = (0..commands.len()).collect();
        for attempt in 0..=MOST_REDIRECTIONS {
            let mut drawn = self.drawn.subscribe();
            let asked = self.ask_owners(&commands, &left).await;
            left.clear();
            for (number, said_by, mut answer) in asked {
                if let Some(Instead::Ask(other)) = instead(&answer, &said_by) {
                    answer = self.ask_once(other, &commands[number].bytes).await;
                }
                match instead(&answer, &said_by) {
                    Some(Instead::Moved(to)) => (refresh.ask(to), left.push(number)).1,
                    Some(Instead::Later | Instead::Ask(_)) => (refresh.ask(None), left.push(number)).1,
                    None => {}
                }
                answers[number] = answer;
            }
            if left.is_empty() || attempt == MOST_REDIRECTIONS {
                break;
            }
            left.sort_unstable();
            let _ = timeout(self.shared.config.response_timeout, drawn.changed()).await;
        }
        answers
    }

    /// Sends the commands of these numbers to the owners of their slots: for each, who answered what. One that nobody owns is
    /// not among them.
    async fn ask_owners(&self, commands: &[Packed], numbers: &[usize]) -> Vec<(usize, Address, Answer)> {
        let map = self.map.load_full();
        let mut shares: Vec<(&Arc<Server>, Vec<usize>)> = Vec::new();
        for number in numbers {
            let Some(owner) = map.owner(commands[*number].slot) else { continue };
            match shares.iter_mut().find(|(server, _)| Arc::ptr_eq(server, owner)) {
                Some((_, share)) => share.push(*number),
                None => shares.push((owner, vec![*number])),
            }
        }
        let asked = shares.iter().map(|(server, share)| {
            server.lane.ask(share.iter().map(|number| commands[*number].bytes.clone()).collect())
        });
        let answers = join_all(asked).await;
        let of_all = shares.iter().zip(answers).flat_map(|((server, share), answers)| {
            let address = &server.place.address;
            share.iter().zip(answers).map(|(number, answer)| (*number, address.clone(), answer))
        });
        of_all.collect()
    }

    /// `ASK` (Redis Cluster specification): a server that takes a slot over answers for it only right after `ASKING`. It may not
    /// be on the map, so it is asked over a connection of its own.
    async fn ask_once(&self, address: Address, command: &Bytes) -> Answer {
        let config = &self.shared.config;
        let place = Place { address, database: 0, refresh: None };
        let Ok(mut link) = Link::open(&place, config).await else { return Err(CallError::Away) };
        let asking = async {
            link.ask("ASKING", &redis::cmd("ASKING")).await?;
            link.ask_packed(command).await
        };
        let answer = timeout(config.response_timeout, asking).await.unwrap_or(Err(Broken::Silent));
        answer.map_err(|_| CallError::Lost).and_then(judged)
    }
}

fn instead(answer: &Answer, said_by: &Address) -> Option<Instead> {
    let Err(CallError::Refused(refusal)) = answer else { return None };
    let to = || redirected(&refusal.detail, said_by);
    match &*refusal.code {
        "MOVED" => Some(Instead::Moved(to())),
        "ASK" => to().map(Instead::Ask),
        "TRYAGAIN" | "CLUSTERDOWN" => Some(Instead::Later),
        _ => None,
    }
}
