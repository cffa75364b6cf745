//! The scripts of the history that all nodes keep, in a real Redis.

use std::sync::Arc;
use std::time::Duration;

use flowgate::bus::streams::{Append, Streams, found, stamped, ticked};
use flowgate::config::policy::HistoryBounds;
use flowgate::event_id::Run;
use flowgate::relay::elsewhere::{Found, Unknown};
use flowgate::relay::extent::{Extent, Stamp};
use redis::Value;

use crate::redis::Redis;

const BOUNDS: HistoryBounds = HistoryBounds { count: 100, age: Duration::from_secs(600), bytes: 1 << 20 };

/// A Redis that knows the scripts, and somebody who listens to every team.
struct Scene {
    redis: Redis,
    connection: redis::Connection,
    streams: Streams,
    bounds: HistoryBounds,
}

fn run(number: u64) -> Run {
    Run::parse(&format!("{number:x}")).unwrap()
}

impl Scene {
    fn start() -> Self {
        let redis = Redis::start(&[]);
        let mut connection = redis.connect();
        Streams::load().iter().for_each(|load| load.exec(&mut connection).unwrap());
        Scene { redis, connection, streams: Streams::new("fg"), bounds: BOUNDS }
    }

    fn append(
        &mut self,
        origin: u64,
        number: u64,
        after: u64,
        teams: &[&str],
        text: &str,
    ) -> Result<i64, String> {
        let copies: Vec<(Arc<str>, Arc<str>, Vec<u8>)> =
            teams.iter().map(|team| ((*team).into(), format!("c:{team}").into(), text.into())).collect();
        let append = Append { origin: run(origin), number, after, copies: &copies };
        let command = self.streams.append(&append, &self.bounds);
        command.query(&mut self.connection).map_err(|error| error.code().unwrap_or_default().to_owned())
    }

    fn tick(&mut self, ends: Option<u32>) -> Stamp {
        let answer: Value = self.streams.tick(ends, &self.bounds).query(&mut self.connection).unwrap();
        ticked(&answer).unwrap()
    }

    fn find(&mut self, upto: Stamp, teams: &[&str]) -> Option<Found> {
        let extent = Extent { upto, of: run(1), own: 0 };
        let teams: Vec<Arc<str>> = teams.iter().map(|team| (*team).into()).collect();
        let read = self.streams.read(&extent, &teams, run(2), 10_000);
        let answer: Value = read.query(&mut self.connection).unwrap();
        found(&answer, &extent, &teams, |_, _, _, _, _| None)
    }

    /// The messages in a team's stream.
    fn kept(&mut self, team: &str) -> Vec<String> {
        let key = format!("fg:h:{{{team}}}");
        let entries: Vec<(String, Vec<String>)> =
            redis::cmd("XRANGE").arg(key).arg("-").arg("+").query(&mut self.connection).unwrap();
        entries.into_iter().map(|(_, mut fields)| fields.pop().unwrap()).collect()
    }
}

#[test]
fn a_message_is_kept_and_published_once_with_one_stamp_for_all_of_its_teams() {
    let mut scene = Scene::start();
    let mut ear = scene.redis.connect();
    let mut ear = ear.as_pubsub();
    ear.psubscribe("c:*").unwrap();
    assert_eq!(scene.append(1, 7, 0, &["red", "blue"], "one"), Ok(1));
    assert_eq!(scene.append(1, 7, 0, &["red", "blue"], "one"), Ok(0), "it was handed over before");
    assert_eq!(scene.append(1, 9, 7, &["red"], "two"), Ok(1));
    let mut heard = || {
        let message = ear.get_message().unwrap();
        let (stamp, text) = stamped(&message.get_payload_bytes().to_vec().into());
        (message.get_channel_name().to_owned(), stamp.unwrap(), String::from_utf8(text.to_vec()).unwrap())
    };
    let all = [heard(), heard(), heard()];
    let told: Vec<_> = all.iter().map(|(channel, _, text)| (&**channel, &**text)).collect();
    assert_eq!(told, [("c:red", "one"), ("c:blue", "one"), ("c:red", "two")]);
    assert!(all[0].1 == all[1].1 && all[1].1 < all[2].1);
    assert_eq!(
        (scene.kept("red"), scene.kept("blue")),
        (vec!["one".into(), "two".into()], vec!["one".to_owned()])
    );
    // And both say which was before them.
    let before = Stamp { ms: all[0].1.ms - 1, ..all[0].1 };
    let found = scene.find(before, &["red", "blue", "green"]).unwrap();
    assert_eq!((found.upto, found.theirs, found.own, found.age), (all[2].1, 9, 0, BOUNDS.age));
    let chain: Vec<Vec<_>> = (found.streams.iter())
        .map(|stream| stream.entries.iter().map(|entry| (entry.before, entry.stamp)).collect())
        .collect();
    assert_eq!(chain, [vec![(None, all[0].1), (Some(all[0].1), all[2].1)], vec![(None, all[0].1)], vec![]]);
    assert_eq!(found.streams.iter().map(|stream| stream.exists).collect::<Vec<_>>(), [true, true, false]);
    let found = scene.find(all[0].1, &["red", "blue"]).unwrap();
    assert_eq!(found.streams.iter().map(|stream| stream.entries.len()).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn nothing_goes_before_one_that_failed() {
    let mut scene = Scene::start();
    assert_eq!(scene.append(1, 1, 0, &["red"], "one"), Ok(1));
    assert_eq!(scene.append(1, 3, 2, &["red"], "three"), Err("ORDER".into()));
    assert_eq!(scene.append(2, 3, 2, &["red"], "another's"), Err("ORDER".into()));
    assert_eq!(scene.append(1, 2, 1, &["red"], "two"), Ok(1));
    assert_eq!(scene.append(1, 3, 2, &["red"], "three"), Ok(1));
    assert_eq!(scene.kept("red"), ["one", "two", "three"]);
}

#[test]
fn each_stream_is_bounded_in_number_bytes_and_age() {
    let mut scene = Scene::start();
    let start = scene.tick(None);
    for number in 1..=5 {
        scene.bounds.count = 3;
        scene.append(1, number, 0, &["red"], &number.to_string()).unwrap();
        scene.bounds = HistoryBounds { bytes: 25, ..BOUNDS };
        scene.append(2, number, 0, &["blue"], &number.to_string().repeat(10)).unwrap();
    }
    assert_eq!(scene.kept("red"), ["3", "4", "5"]);
    assert_eq!(scene.kept("blue"), ["4444444444", "5555555555"]);
    scene.append(2, 6, 0, &["blue"], &"6".repeat(90)).unwrap();
    assert_eq!(scene.kept("blue").len(), 1, "one alone stays, so that the next can name it");
    for team in ["red", "blue"] {
        let found = scene.find(start, &[team]).unwrap();
        let extent = Extent { upto: start, of: run(1), own: 0 };
        assert_eq!(found.missed(extent, &[team.into()], 0).unwrap_err(), Unknown::Never, "{team}");
    }
    scene.bounds = HistoryBounds { age: Duration::from_millis(1), ..BOUNDS };
    while scene.redis.ask::<u64>("EXISTS fg:h:{red} fg:h:{blue}") > 0 {
        scene.append(1, 99, 0, &["red"], "short-lived").unwrap_or_default();
        scene.append(2, 99, 0, &["blue"], "short-lived").unwrap_or_default();
    }
    let found = scene.find(start, &["red"]).unwrap();
    assert_eq!(
        (found.age, found.streams[0].exists),
        (Duration::from_millis(1), false),
        "the least of all that was asked"
    );
}

#[test]
fn an_epoch_ends_when_something_may_have_been_lost() {
    let mut scene = Scene::start();
    let first = scene.tick(None);
    scene.append(1, 1, 0, &["red"], "one").unwrap();
    assert_eq!(scene.tick(Some(first.epoch + 1)).epoch, first.epoch, "that one had ended before");
    let second = scene.tick(Some(first.epoch));
    assert_ne!(second.epoch, first.epoch);
    assert!(scene.find(first, &["red"]).is_none());
    assert!(scene.find(second, &["red"]).unwrap().streams[0].entries.is_empty());
    scene.append(1, 2, 0, &["red"], "two").unwrap();
    assert_eq!(scene.kept("red"), ["two"], "what is of another epoch goes");
    let () = scene.redis.ask("FLUSHALL");
    assert!(scene.find(second, &["red"]).is_none());
    let third = scene.tick(None);
    assert!(third.epoch != second.epoch && third.ms >= second.ms);
    // Another run of the same Redis, which has kept what it had.
    let () = scene.redis.ask("HSET fg:clock run 0");
    assert!(scene.find(third, &["red"]).is_none());
    scene.append(1, 3, 0, &["red"], "three").unwrap();
    assert_ne!(scene.tick(None).epoch, third.epoch);
}

#[test]
fn without_memory_it_is_published_and_what_was_kept_is_void() {
    let mut scene = Scene::start();
    scene.append(1, 1, 0, &["red"], "one").unwrap();
    let stamp = scene.tick(None);
    let mut ear = scene.redis.connect();
    let mut ear = ear.as_pubsub();
    ear.psubscribe("c:*").unwrap();
    let () = scene.redis.ask("CONFIG SET maxmemory 1");
    assert_eq!(scene.append(1, 2, 1, &["red"], "two"), Ok(1));
    let message: Vec<u8> = ear.get_message().unwrap().get_payload().unwrap();
    assert_eq!(stamped(&message.into()), (None, "two".into()));
    let () = scene.redis.ask("CONFIG SET maxmemory 0");
    assert!(scene.find(stamp, &["red"]).is_none());
    assert_eq!(scene.append(1, 3, 0, &["red"], "three"), Ok(1));
    assert_eq!(scene.kept("red"), ["three"]);
}
