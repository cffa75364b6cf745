//! The log as a whole: what it takes, what it leaves out, and that nobody waits for it.

use std::fs;
use std::path::Path;
use std::sync::mpsc::Receiver;

use serde_json::Value;

use super::*;
use crate::metrics::DroppedLine::{Queue, Suppressed, Unwritable};

fn settings(path: &Path, sample: f64) -> Settings {
    Settings { path: path.to_owned(), origin: "test.toml".into(), sample, max_bytes: 1 << 20, keep: 2 }
}

fn switched_on(path: &Path, sample: f64) -> DecisionLog {
    DecisionLog::new(Some(&settings(path, sample)), Arc::default()).unwrap()
}

/// A log whose writer is stuck: nobody takes anything out of its queue.
fn stuck() -> (DecisionLog, Receiver<Message>) {
    let log = DecisionLog::off(Arc::default());
    let (queue, records) = sync_channel(QUEUE);
    let running = Running { queue, orders: Arc::default() };
    assert!(log.running.set(running).is_ok());
    log.file_share.store(1, Ordering::Relaxed);
    log.count_in();
    (log, records)
}

fn record(count: u64) -> Record {
    Record { count: Some(count), ..Record::new(Kind::Event, Who::Nobody, SystemTime::now()) }
}

fn dropped(log: &DecisionLog, reason: DroppedLine) -> u64 {
    let name = format!("flowgate_decision_log_dropped_total{{reason=\"{}\"}} ", reason.as_str());
    let text = log.metrics.render().unwrap();
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// The lines' `count`, which tells records apart.
fn counts(path: &Path) -> Vec<u64> {
    lines(path).iter().map(|line| line["count"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn everything_written_is_on_disk_when_it_has_finished_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = switched_on(&path, 0.0);
    (0..1000).for_each(|at| log.write(record(at)));
    log.finish().await;
    assert_eq!(counts(&path), (0..1000).collect::<Vec<_>>());
    assert_eq!(log.metrics.decision_lines.get(), 1000);
    // What comes later is not awaited, nor does anybody fail over it.
    log.write(record(1000));
    log.finish().await;
    assert_eq!(lines(&path).len(), 1000);
}

#[test]
fn whoever_lets_go_of_it_leaves_nothing_unwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = switched_on(&path, 0.0);
    (0..10).for_each(|at| log.write(record(at)));
    let orders = log.running.get().unwrap().orders.clone();
    drop(log);
    // The writer had the other one, and lets go of it when it ends.
    while Arc::strong_count(&orders) > 1 {
        std::thread::yield_now();
    }
    assert_eq!(counts(&path), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_stuck_writer_holds_nobody_up_and_what_it_misses_is_counted() {
    let (log, records) = stuck();
    (0..QUEUE as u64 + 500).for_each(|at| log.write(record(at)));
    assert_eq!(dropped(&log, Queue), 500);
    assert_eq!(records.try_iter().count(), QUEUE);
    log.write(record(0));
    assert_eq!(dropped(&log, Queue), 500);
}

#[tokio::test]
async fn what_was_missed_stands_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = switched_on(&path, 0.0);
    log.running.get().unwrap().orders.missed(7);
    log.write(record(1));
    log.finish().await;
    let lines = lines(&path);
    assert_eq!((lines[0]["kind"].as_str(), lines.len()), (Some("event"), 2));
    assert_eq!(
        (&lines[1]["kind"], &lines[1]["code"], &lines[1]["count"]),
        (&"dropped".into(), &"queue".into(), &7.into())
    );
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_is_counted_and_written_again_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    let path = inner.join("log");
    fs::create_dir(&inner).unwrap();
    let log = switched_on(&path, 0.0);
    fs::remove_dir_all(&inner).unwrap();
    (0..5).for_each(|at| log.write(record(at)));
    while dropped(&log, Unwritable) < 5 {
        tokio::task::yield_now().await;
    }
    fs::create_dir(&inner).unwrap();
    log.write(record(5));
    log.finish().await;
    let lines = lines(&path);
    assert_eq!((lines[0]["kind"].as_str(), lines[0]["code"].as_str()), (Some("dropped"), Some("unwritable")));
    assert_eq!(counts(&path), [5, 5]);
    assert_eq!((dropped(&log, Unwritable), log.metrics.decision_lines.get()), (5, 1));
}

#[tokio::test]
async fn it_is_switched_to_another_file_and_off() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let log = switched_on(&one, 0.0);
    log.write(record(1));
    log.switch(Some(log.open(&settings(&two, 1.0)).unwrap()));
    assert!(log.samples(EventId::next()));
    log.write(record(2));
    log.switch(None);
    assert!(!log.is_on() && !log.samples(EventId::next()));
    log.write(record(3));
    log.finish().await;
    assert_eq!((counts(&one), counts(&two)), (vec![1], vec![2]));
}

#[test]
fn a_log_that_is_off_takes_nothing_and_has_no_thread() {
    let log = DecisionLog::new(None, Arc::default()).unwrap();
    log.write(record(1));
    let (allowance, address) = (Allowance::default(), [192, 0, 2, 1].into());
    assert!(!log.may_refuse(&allowance, PeerId::next(), address, Instant::now()));
    assert!(log.running.get().is_none());
}

#[test]
fn the_share_that_is_sampled_is_the_one_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for (sample, least, most) in
        [(0.0, 0, 0), (0.01, 700, 1300), (0.5, 49_000, 51_000), (1.0, 100_000, 100_000)]
    {
        let log = switched_on(&folder.path().join("log"), sample);
        let sampled = (0..100_000).filter(|_| log.samples(EventId::next())).count();
        assert!((least..=most).contains(&sampled), "{sampled} of {sample}");
    }
}

#[test]
fn a_flood_of_one_connection_is_one_line_a_second_and_leaves_room_for_others() {
    let (log, records) = stuck();
    let (flooder, honest) = (Allowance::default(), Allowance::default());
    let (address, now) = ([192, 0, 2, 1].into(), log.began);
    let asked = |allowance: &Allowance, id, times: usize, now| {
        (0..times).filter(|_| log.may_refuse(allowance, id, address, now)).count()
    };
    let (id, other) = (PeerId::next(), PeerId::next());
    assert_eq!(asked(&flooder, id, 300_000, now), MOST_PER_CONNECTION as usize);
    assert_eq!(asked(&honest, other, 3, now), 3);
    log.settle(&flooder, id, now);
    assert_eq!(records.try_iter().count(), 0, "the second is not over");
    let later = now + Duration::from_secs(1);
    log.settle(&flooder, id, later);
    log.settle(&honest, other, later);
    let said: Vec<_> = records.try_iter().collect();
    let [Message::Record(said)] = &said[..] else { panic!("{}", said.len()) };
    let (kind, count) = (said.kind, said.count);
    assert_eq!((kind, count), (Kind::Suppressed, Some(300_000 - u64::from(MOST_PER_CONNECTION))));
    assert!(matches!(said.who, Who::Connection(named) if named == id));
    assert_eq!(dropped(&log, Suppressed), 300_000 - u64::from(MOST_PER_CONNECTION));
    // The end of a connection says the rest.
    assert_eq!(asked(&flooder, id, 100, later), MOST_PER_CONNECTION as usize);
    log.settle_last(&flooder, id);
    assert_eq!(records.try_iter().count(), 1);
}

#[test]
fn an_address_has_its_share_however_many_connections_it_makes() {
    let (log, records) = stuck();
    let (address, now) = ([192, 0, 2, 1].into(), log.began);
    let one = || log.may_refuse(&Allowance::default(), PeerId::next(), address, now);
    assert_eq!((0..1000).filter(|_| one()).count(), allowance::MOST_PER_ADDRESS as usize);
    assert!(!one());
    log.settle_addresses();
    log.settle_addresses();
    let said: Vec<_> = records.try_iter().collect();
    let [Message::Record(said)] = &said[..] else { panic!("{}", said.len()) };
    assert_eq!((said.kind, said.count), (Kind::Suppressed, Some(801)));
}

#[test]
fn a_close_names_its_reason_once() {
    let (log, records) = stuck();
    let who = || Who::Nobody;
    for reason in CloseReason::ALL {
        log.closed(*reason, who);
    }
    let said: Vec<_> = records
        .try_iter()
        .map(|message| match message {
            Message::Record(record) => (record.code.unwrap(), record.rule.map(|rule| rule.to_string())),
            Message::Look => panic!(),
        })
        .collect();
    assert!(said.contains(&("refusals", Some("limits.events.disconnect_after".into()))), "{said:?}");
    assert!(said.contains(&("token_expired", None)), "{said:?}");
    for silent in ["client", "user_cap", "keys_unavailable"] {
        assert!(said.iter().all(|(reason, _)| *reason != silent), "{silent}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_a_fault_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/such/log");
    let Err(problems) = DecisionLog::new(Some(&settings(&path, 0.0)), Arc::default()) else { panic!() };
    let said = problems.to_string();
    let expected = format!("test.toml: decision_log.path: cannot write {}: No such file", path.display());
    assert!(said.starts_with(&expected), "{said}");
}

#[tokio::test]
async fn whoever_looks_on_sees_lines_without_a_file_and_nobody_pays_when_they_have_left() {
    let log = Arc::new(DecisionLog::off(Arc::default()));
    let mut onlooker = log.look_on();
    let mut another = log.look_on();
    assert!(log.is_on() && !log.samples(EventId::next()));
    log.write(record(7));
    for line in [onlooker.next().await, another.next().await] {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["kind"], &line["count"]), (&"event".into(), &7.into()));
    }
    let (allowance, address) = (Allowance::default(), [192, 0, 2, 1].into());
    assert!(log.may_refuse(&allowance, PeerId::next(), address, Instant::now()));
    assert!(log.running.get().is_none(), "no thread");
    drop(onlooker);
    assert!(log.is_on());
    drop(another);
    assert!(!log.is_on());
}

#[tokio::test]
async fn whoever_looks_on_is_told_how_much_was_left_out_and_the_file_has_it_all() {
    const MANY: u64 = 1000;
    let (log, records) = stuck();
    let log = Arc::new(log);
    let mut onlooker = log.look_on();
    (0..MANY).for_each(|at| log.write(record(at)));
    let first = onlooker.next().await;
    assert!(first.contains("\"count\":0}"), "{first}");
    // However many seconds that took, what was shown and what was not come to all of it.
    let mut shown = 1;
    while let Ok(_line) = tokio::time::timeout(Duration::from_millis(1), onlooker.next()).await {
        shown += 1;
    }
    assert_eq!(shown + onlooker.skipped(), MANY);
    assert!(shown <= 2 * u64::from(MOST_SHOWN), "{shown}");
    assert_eq!(onlooker.skipped(), 0, "it was said");
    assert_eq!(records.try_iter().count() as u64, MANY);
    drop(onlooker);
    assert!(log.is_on(), "the file is still written");
}
