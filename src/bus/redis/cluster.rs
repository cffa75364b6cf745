//! The map of a cluster: drawn, and drawn anew whenever something is not as it says.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::board::Phase;
use super::config::Address;
use super::error::Broken;
use super::events::{Event, Gone};
use super::fleet::Fleet;
use super::link::Link;
use super::map::{Map, Share, shares};
use super::place::{Place, Refresh};
use super::server::Server;
use super::slots::slot;

/// Between two drawings: many commands and channels may notice the same change.
const LEAST_BETWEEN: Duration = Duration::from_millis(100);
/// While a server is away, another one may take over any moment.
const WHILE_AWAY: Duration = Duration::from_secs(1);
/// With nothing amiss. New masters that have slots are noticed by what moves to them; this is for what nobody noticed.
const WHILE_UP: Duration = Duration::from_secs(60);

/// Keeps the map until nobody takes events any more.
pub(super) async fn keep_map(fleet: Arc<Fleet>, refresh: Arc<Refresh>, seeds: Vec<Address>) {
    let mut backoff = Backoff::default();
    let mut knows = None;
    loop {
        match draw(&fleet, knows.take(), &seeds).await {
            Ok(shares) => {
                backoff.reset();
                if fleet.redraw(&shares, &refresh).await.is_err() {
                    return;
                }
                sleep(LEAST_BETWEEN).await;
                let is_up = fleet.shared.board.state().phase == Phase::Up;
                let longest = if is_up { WHILE_UP } else { WHILE_AWAY };
                knows = timeout(longest, refresh.asked()).await.unwrap_or_default();
            }
            Err(why) => {
                fleet.shared.board.note(why);
                sleep(backoff.next()).await;
            }
        }
    }
}

/// Asks one server after the other: who should know, those on the map, those in the settings.
async fn draw(fleet: &Fleet, knows: Option<Address>, seeds: &[Address]) -> Result<Vec<Share>, Arc<str>> {
    let mut asked = HashSet::new();
    let mut trouble: Option<Arc<str>> = None;
    let map = fleet.map.load_full();
    let known = map.servers.iter().filter(|server| server.lane.stands()).map(|server| &server.place.address);
    for address in knows.iter().chain(known).chain(seeds) {
        if !asked.insert(address) {
            continue;
        }
        match ask(fleet, address).await {
            Ok(shares) => return Ok(shares),
            Err(broken) => trouble = Some(format!("{address}: {broken}").into()),
        }
    }
    Err(trouble.unwrap_or_else(|| "no server of the cluster is known".into()))
}

async fn ask(fleet: &Fleet, address: &Address) -> Result<Vec<Share>, Broken> {
    let config = &fleet.shared.config;
    let place = Place { address: address.clone(), database: 0, refresh: None };
    let mut link = Link::open(&place, config).await?;
    let command = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
    let asking = link.ask("CLUSTER SLOTS", &command);
    let answer = timeout(config.response_timeout, asking).await.unwrap_or(Err(Broken::Silent))?;
    match shares(&answer, address) {
        Some(shares) if !shares.is_empty() => Ok(shares),
        _ => Err(Broken::NoMap),
    }
}

impl Fleet {
    /// Takes a new map: connects to servers that are new on it, lets go of those that are not on it, and has every channel
    /// subscribed where it is now.
    async fn redraw(&self, shares: &[Share], refresh: &Arc<Refresh>) -> Result<(), Gone> {
        let old = self.map.load_full();
        let map = Arc::new(Map::of(shares, |address| {
            old.at(address).cloned().unwrap_or_else(|| {
                let place = Place { address: address.clone(), database: 0, refresh: Some(refresh.clone()) };
                Arc::new(Server::start(place, &self.shared))
            })
        }));
        let (moved, channels) = self.change_map(&old, &map);
        // Before they are confirmed where they are now, and after the last word of where they were.
        if !channels.is_empty() {
            self.shared.teller.tell(Event::Interrupted { channels }).await?;
        }
        {
            let wishes = self.wishes.lock();
            for channel in moved.into_iter().filter(|channel| wishes.contains(channel)) {
                if let Some(owner) = map.owner(slot(channel.as_bytes())) {
                    owner.desk.want(channel);
                }
            }
        }
        map.servers.iter().for_each(|server| server.desk.retry());
        self.drawn.send_modify(|drawn| *drawn += 1);
        Ok(())
    }

    /// Changes the map under the wishes: the channels whose owner is another one now, and those of them that had one before.
    fn change_map(&self, old: &Map, new: &Arc<Map>) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        let (mut moved, mut interrupted) = (Vec::new(), Vec::new());
        let wishes = self.wishes.lock();
        for channel in wishes.iter() {
            let slot = slot(channel.as_bytes());
            let (before, after) = (old.owner(slot), new.owner(slot));
            if before.map(|server| &server.place.address) == after.map(|server| &server.place.address) {
                continue;
            }
            if let Some(before) = before {
                before.desk.forget(channel);
                interrupted.push(channel.clone());
            }
            moved.push(channel.clone());
        }
        self.map.store(new.clone());
        (moved, interrupted)
    }
}
