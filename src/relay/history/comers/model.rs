//! Several nodes, one Redis and clients that come and go between them, in any order of steps: whatever happens, a client hears each
//! event once, or is told to fetch everything. The histories, the ids and what is made of the streams are the real ones.

use std::cell::Cell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use super::*;
use crate::config::policy::HistoryBounds;
use crate::event_id::{EventId, Run};
use crate::hears::Hears;
use crate::message::Topic;
use crate::peer::PeerId;
use crate::relay::change::{Change, Key, Teams};
use crate::relay::elsewhere::{Entry, Found, Stamped, Stream, Unknown};
use crate::relay::extent::{Passing, Stamp};

const NODES: usize = 3;
const CLIENTS: usize = 4;
const TEAMS: [&str; 2] = ["blue", "red"];
/// For how long streams are kept where they are lost at all; milliseconds.
const AGE: u64 = 40;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Somebody sends to these teams on a node: a set, as bits.
    Send(usize, usize),
    /// What has waited longest on a node gets through to Redis.
    Publish(usize),
    /// A node hears the next of what was published.
    Deliver(usize),
    /// A client hears the next of what its node has told it.
    Hear(usize),
    /// A client's connection ends, with what it had not heard yet.
    Leave(usize),
    /// A client begins to come in on a node; and whether what is still on its way is waited for.
    Come(usize, usize, bool),
    /// It is seated there.
    Seat(usize),
    /// A node's subscriptions are interrupted.
    Lose(usize),
    /// They stand again.
    Resubscribe(usize),
    /// A node tells its members what they may have missed.
    Settle(usize),
    /// A node's line is too long: what has waited longest is dropped.
    Drop(usize),
    /// A node dies, and another takes its place.
    Kill(usize),
    /// The others find out.
    Notice,
    /// Redis loses everything.
    Flush,
    /// Time goes by.
    Wait(u64),
}

/// What is published: a change, or that something of these teams was dropped.
#[derive(Clone, Debug)]
struct Message {
    origin: Run,
    number: u64,
    teams: Vec<Arc<str>>,
    change: Option<Change>,
}

struct Redis {
    epoch: u32,
    now: u64,
    last: (u64, u64),
    /// What is kept of each stream: so many entries, for so long.
    count: usize,
    age: u64,
    streams: HashMap<Arc<str>, Vec<Entry>>,
    numbers: HashMap<Run, u64>,
}

impl Redis {
    fn stamp(&self) -> Stamp {
        Stamp { epoch: self.epoch, ms: self.last.0, seq: self.last.1 }
    }

    fn append(&mut self, message: &Message) -> Stamp {
        self.last = if self.now > self.last.0 { (self.now, 0) } else { (self.last.0, self.last.1 + 1) };
        let stamp = self.stamp();
        self.forget();
        for team in &message.teams {
            let stream = self.streams.entry(team.clone()).or_default();
            let before = stream.last().map(|entry| entry.stamp);
            let what = message.change.clone().map(|change| Stamped {
                stamp,
                origin: message.origin,
                number: message.number,
                change,
                at: SystemTime::UNIX_EPOCH,
            });
            stream.push(Entry { stamp, before, what });
            let too_many = stream.len().saturating_sub(self.count);
            stream.drain(..too_many);
        }
        self.numbers.insert(message.origin, message.number);
        stamp
    }

    fn forget(&mut self) {
        let (now, age) = (self.now, self.age);
        self.streams.retain(|_, stream| stream.last().is_some_and(|last| last.stamp.ms + age > now));
    }

    fn find(&mut self, extent: Extent, rooms: &[Arc<str>], own: Run) -> Found {
        self.forget();
        let streams = rooms.iter().map(|room| {
            let stream = self.streams.get(room);
            let behind = |entry: &&Entry| !entry.stamp.is_upto(extent.upto);
            let entries = stream.iter().flat_map(|stream| stream.iter().filter(behind).cloned()).collect();
            Stream { exists: stream.is_some(), entries }
        });
        let number = |run: Run| self.numbers.get(&run).copied().unwrap_or(0);
        Found {
            upto: self.stamp(),
            now: self.now,
            age: Duration::from_millis(self.age),
            theirs: number(extent.of),
            own: number(own),
            streams: streams.collect(),
        }
    }
}

struct Node {
    history: History,
    /// The number of the last message that it has put in line.
    number: u64,
    line: VecDeque<Message>,
    /// Teams that are owed a message that something was dropped.
    owes: Vec<Arc<str>>,
    is_subscribed: bool,
    ear: VecDeque<(Stamp, Message)>,
    to_tell: HashSet<Arc<str>>,
}

impl Node {
    fn run(&self) -> Run {
        self.history.run()
    }

    fn doubt(&mut self, teams: &[Arc<str>]) {
        self.history.doubt(teams);
        self.to_tell.extend(teams.iter().cloned());
    }
}

enum Place {
    Away,
    /// At this node, with what was read for it, at a time when so much had been dropped there.
    Coming(usize, Option<Read>),
    In(usize, VecDeque<Frame>),
}

struct Client {
    teams: Vec<Arc<str>>,
    since: String,
    place: Place,
    /// What it has heard since it fetched last.
    heard: HashSet<u64>,
    /// Everything up to this event it has fetched.
    fetched: u64,
    /// The last that it has heard of each origin.
    last: HashMap<Run, u64>,
}

struct World {
    redis: Redis,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    /// What was sent so far, to which teams, by whom.
    sent: Vec<(Vec<Arc<str>>, Run)>,
    runs: u64,
    deaths: bool,
    /// Who has been told to fetch, and how many were told because they did not wait.
    resyncs: usize,
    hasty: usize,
    /// How many events of each team a node has in memory.
    remembered: usize,
    /// Events that were replayed from another node.
    replayed: usize,
}

fn teams(bits: usize) -> Vec<Arc<str>> {
    let chosen = TEAMS.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
    chosen.map(|(_, team)| (*team).into()).collect()
}

fn listening(teams: &[Arc<str>]) -> Vec<Listening> {
    teams.iter().map(|team| Listening { room: team.clone(), hears: Hears::default() }).collect()
}

impl World {
    fn new([count, remembered]: [usize; 2], age: u64) -> Self {
        let redis = Redis {
            epoch: 1,
            now: 1_000_000,
            last: (999_999, 0),
            count,
            age,
            streams: HashMap::new(),
            numbers: HashMap::new(),
        };
        let clients = (0..CLIENTS).map(|client| Client {
            teams: teams([1, 2, 3, 3][client]),
            since: String::new(),
            place: Place::Away,
            heard: HashSet::new(),
            fetched: 0,
            last: HashMap::new(),
        });
        let mut world = World {
            redis,
            nodes: Vec::new(),
            clients: clients.collect(),
            sent: Vec::new(),
            runs: 0,
            deaths: false,
            resyncs: 0,
            hasty: 0,
            remembered,
            replayed: 0,
        };
        for _ in 0..NODES {
            let node = world.node();
            world.nodes.push(node);
        }
        world
    }

    fn node(&mut self) -> Node {
        self.runs += 1;
        let epoch = EventId::parse(&format!("{:x}-0", 0xf00 + self.runs)).unwrap();
        let bounds = HistoryBounds { count: self.remembered, age: Duration::from_secs(3600), bytes: 8 << 20 };
        let mut history = History::new(epoch, Some(bounds));
        // What a node does when it begins to listen.
        history.advance(self.redis.stamp());
        Node {
            history,
            number: 0,
            line: VecDeque::new(),
            owes: Vec::new(),
            is_subscribed: true,
            ear: VecDeque::new(),
            to_tell: HashSet::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send(node, bits) => self.send(node, bits),
            Step::Publish(node) => self.publish(node),
            Step::Deliver(node) => self.deliver(node),
            Step::Hear(client) => self.hear(client),
            Step::Leave(client) => self.clients[client].place = Place::Away,
            Step::Come(client, node, waits) => self.come(client, node, waits),
            Step::Seat(client) => self.seat(client),
            Step::Lose(node) => {
                let node = &mut self.nodes[node];
                node.is_subscribed = false;
                node.ear.clear();
            }
            Step::Resubscribe(node) => {
                let node = &mut self.nodes[node];
                if !node.is_subscribed {
                    node.is_subscribed = true;
                    node.history.note_gap(&teams(3));
                    node.doubt(&teams(3));
                }
            }
            Step::Settle(node) => self.settle(node),
            Step::Drop(node) => {
                let node = &mut self.nodes[node];
                if let Some(message) = node.line.pop_front() {
                    node.owes.extend(message.teams);
                }
            }
            Step::Kill(node) => self.kill(node),
            Step::Notice => self.notice(),
            Step::Flush => {
                self.redis.epoch += 1;
                self.redis.streams.clear();
                self.redis.numbers.clear();
            }
            Step::Wait(ms) => self.redis.now += ms,
        }
    }

    fn send(&mut self, at: usize, bits: usize) {
        let (teams, node) = (teams(bits), &mut self.nodes[at]);
        let (origin, number) = (node.run(), node.number + 1);
        self.sent.push((teams.clone(), origin));
        let payload: Arc<str> = self.sent.len().to_string().into();
        let key = Key::new(&"e".into(), Teams::from_iter(teams.iter().cloned()), &Topic::default(), &payload);
        let change = Change {
            key: Arc::new(key),
            emit: "x".into(),
            id: EventId::parse(&format!("{origin}-{number:x}")).unwrap(),
            payload,
            sender: PeerId::numbered(1),
            actor: None,
            echo: true,
        };
        node.number = number;
        node.line.push_back(Message { origin, number, teams, change: Some(change.clone()) });
        self.tell(at, &change, From::Here(Some(number)));
    }

    fn tell(&mut self, at: usize, change: &Change, from: From) {
        let (now, history) = (SystemTime::UNIX_EPOCH, &mut self.nodes[at].history);
        let seqs = history.note(change, from, now, Instant::now());
        let frames = history.frames(change, &seqs, now);
        for client in &mut self.clients {
            let through = change.key.teams().iter().position(|team| client.teams.contains(team));
            if let (Place::In(node, queue), Some(through)) = (&mut client.place, through)
                && *node == at
            {
                queue.push_back(frames[through].clone());
            }
        }
    }

    fn publish(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.line.is_empty() && !node.owes.is_empty() {
            let teams = std::mem::take(&mut node.owes);
            node.number += 1;
            node.line.push_back(Message { origin: node.run(), number: node.number, teams, change: None });
        }
        let Some(message) = node.line.pop_front() else { return };
        let stamp = self.redis.append(&message);
        for node in self.nodes.iter_mut().filter(|node| node.is_subscribed) {
            node.ear.push_back((stamp, message.clone()));
        }
    }

    fn deliver(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some((stamp, message)) = node.ear.pop_front() else { return };
        let passing = Passing { stamp, is_whole: true };
        match message.change {
            _ if message.origin == node.run() => node.history.pass(passing),
            Some(change) => self.tell(at, &change, From::Elsewhere(Some(passing))),
            None => {
                node.doubt(&message.teams);
                node.history.pass(passing);
            }
        }
    }

    fn hear(&mut self, at: usize) {
        let (client, sent) = (&mut self.clients[at], self.sent.len() as u64);
        let Place::In(_, queue) = &mut client.place else { return };
        let Some(frame) = queue.pop_front() else { return };
        let meta: Value = serde_json::from_str(frame.raw_meta().unwrap().get()).unwrap();
        client.since = meta["id"].as_str().unwrap().to_owned();
        let Ok(event) = frame.raw().unwrap().get().parse::<u64>() else {
            client.fetched = sent;
            client.heard.clear();
            client.last.clear();
            self.resyncs += 1;
            return;
        };
        assert!(client.heard.insert(event), "client {at} heard {event} twice");
        let origin = self.sent[event as usize - 1].1;
        let before = client.last.insert(origin, event);
        assert!(before < Some(event), "client {at} heard {event} after {before:?} of the same node");
    }

    /// What the bus does for it: it reads, unless its own node owes others something, or cannot listen.
    fn come(&mut self, at: usize, to: usize, waits: bool) {
        let (client, node) = (&mut self.clients[at], &mut self.nodes[to]);
        if !matches!(client.place, Place::Away) {
            return;
        }
        let since = Since::read(&client.since.clone().into()).unwrap().unwrap();
        let mut read = None;
        if let Some(extent) = since.extent
            && node.history.place_of(&since, &client.teams).is_err()
            && node.is_subscribed
            && node.owes.is_empty()
            && !node.line.iter().any(|message| message.change.is_none())
        {
            let found = self.redis.find(extent, &client.teams, node.run());
            match found.missed(extent, &client.teams, node.history.latest()) {
                Ok(found) => read = Some(found),
                Err(Unknown::NotYet) if waits => return,
                Err(Unknown::NotYet) => self.hasty += 1,
                Err(Unknown::Never) => {}
            }
        }
        client.place = Place::Coming(to, read);
    }

    fn seat(&mut self, at: usize) {
        let Place::Coming(to, read) = &mut self.clients[at].place else { return };
        let (to, read) = (*to, read.take());
        if let Some(read) = &read {
            // All that was published before the read, also in an epoch before.
            let is_before = |stamp: Stamp| stamp.epoch < read.upto.epoch || stamp.is_upto(read.upto);
            while self.nodes[to].ear.front().is_some_and(|(stamp, _)| is_before(*stamp)) {
                self.deliver(to);
            }
        }
        let (client, node) = (&mut self.clients[at], &mut self.nodes[to]);
        // What was perhaps not heard while it was waited for.
        let read = read.filter(|_| node.is_subscribed);
        let since = Since::read(&client.since.clone().into()).unwrap().unwrap();
        let listening = listening(&client.teams);
        let missed = match &read {
            Some(read) => node.history.missed_elsewhere(read, &listening, 1 << 20),
            None => node.history.missed(&since, &listening, 1 << 20, Instant::now()),
        };
        if read.is_some() {
            self.replayed += missed.as_ref().map_or(0, Vec::len);
        }
        let frames = missed.unwrap_or_else(|_| vec![notice(&node.history)]);
        client.place = Place::In(to, frames.into());
    }

    fn settle(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.to_tell.is_empty() {
            return;
        }
        let told: Vec<_> = node.to_tell.drain().collect();
        node.history.settle(&told);
        let notice = notice(&node.history);
        for client in &mut self.clients {
            if let Place::In(node, queue) = &mut client.place
                && *node == at
                && client.teams.iter().any(|team| told.contains(team))
            {
                queue.push_back(notice.clone());
            }
        }
    }

    fn kill(&mut self, at: usize) {
        self.nodes[at] = self.node();
        self.deaths = true;
        for client in &mut self.clients {
            if matches!(client.place, Place::In(node, _) | Place::Coming(node, _) if node == at) {
                client.place = Place::Away;
            }
        }
    }

    fn notice(&mut self) {
        if std::mem::take(&mut self.deaths) {
            self.redis.epoch += 1;
            self.nodes.iter_mut().for_each(|node| node.doubt(&teams(3)));
        }
    }

    /// Everything gets through, and everybody comes in and hears all there is.
    fn come_to_rest(&mut self) {
        self.notice();
        for node in 0..NODES {
            self.step(Step::Resubscribe(node));
        }
        for client in 0..CLIENTS {
            self.come(client, client % NODES, true);
            self.seat(client);
        }
        for node in 0..NODES {
            while !self.nodes[node].line.is_empty() || !self.nodes[node].owes.is_empty() {
                self.publish(node);
            }
        }
        for node in 0..NODES {
            while !self.nodes[node].ear.is_empty() {
                self.deliver(node);
            }
            self.settle(node);
        }
        for client in 0..CLIENTS {
            // Whoever waited for something that has come now, or never will.
            self.come(client, client % NODES, false);
            self.seat(client);
            while matches!(&self.clients[client].place, Place::In(_, queue) if !queue.is_empty()) {
                self.hear(client);
            }
        }
    }

    fn check(&self) {
        for (at, client) in self.clients.iter().enumerate() {
            assert!(matches!(client.place, Place::In(..)), "client {at} is in");
            for (event, (teams, origin)) in (1..).zip(&self.sent) {
                let is_its = teams.iter().any(|team| client.teams.contains(team));
                let has = event <= client.fetched || client.heard.contains(&event);
                assert!(has || !is_its, "client {at} has missed {event}, of {origin}");
            }
        }
    }
}

fn notice(history: &History) -> Frame {
    let meta = serde_json::json!({ "id": history.here().to_string() });
    Frame::with_meta("x", "\"resync\"", meta.to_string())
}

fn calm() -> impl Strategy<Value = Step> {
    let (node, client) = (0..NODES, 0..CLIENTS);
    prop_oneof![
        6 => (node.clone(), 1..4_usize).prop_map(|(node, teams)| Step::Send(node, teams)),
        7 => node.clone().prop_map(Step::Publish),
        12 => node.clone().prop_map(Step::Deliver),
        14 => client.clone().prop_map(Step::Hear),
        2 => client.clone().prop_map(Step::Leave),
        4 => (client.clone(), node, prop::bool::weighted(0.8))
            .prop_map(|(client, node, waits)| Step::Come(client, node, waits)),
        4 => client.prop_map(Step::Seat),
        1 => (0..3_u64).prop_map(Step::Wait),
    ]
}

fn stormy() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    prop_oneof![
        60 => calm(),
        1 => node.clone().prop_map(Step::Lose),
        2 => node.clone().prop_map(Step::Resubscribe),
        3 => node.clone().prop_map(Step::Settle),
        1 => node.clone().prop_map(Step::Drop),
        1 => node.prop_map(Step::Kill),
        1 => Just(Step::Notice),
        1 => Just(Step::Flush),
        4 => (0..3 * AGE).prop_map(Step::Wait),
    ]
}

fn run(counts: [usize; 2], age: u64, steps: Vec<Step>) -> World {
    let mut world = World::new(counts, age);
    // Everybody has come in once, and has been told to fetch.
    for client in 0..CLIENTS {
        for step in [Step::Come(client, client % NODES, true), Step::Seat(client), Step::Hear(client)] {
            world.step(step);
        }
    }
    steps.into_iter().for_each(|step| world.step(step));
    world.come_to_rest();
    world.check();
    world
}

#[test]
fn each_event_is_heard_once_wherever_its_hearer_goes() {
    let (mut runner, replayed) = (TestRunner::new(ProptestConfig::with_cases(400)), Cell::new(0));
    let steps = prop::collection::vec(calm(), 0..400);
    let outcome = runner.run(&steps, |steps| {
        let world = run([1000; 2], 3_600_000, steps);
        // Whoever had heard nothing, and who did not wait for what was still on its way. Some may be told twice, who left too soon.
        let most = CLIENTS + world.hasty;
        prop_assert!(world.resyncs <= most, "{} were told to fetch, of at most {most}", world.resyncs);
        replayed.set(replayed.get() + world.replayed);
        Ok(())
    });
    outcome.unwrap();
    assert!(replayed.get() > 4000, "{} replayed", replayed.get());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_breaks_each_event_is_heard_once_or_everything_fetched(
        counts in prop::array::uniform2(prop_oneof![Just(1000), 1..9_usize]),
        steps in prop::collection::vec(stormy(), 0..400),
    ) {
        run(counts, AGE, steps);
    }
}
