use std::time::Duration;

use super::*;
use crate::hears::Hears;
use crate::message::Topic;
use crate::peer::PeerId;
use crate::relay::since::Since;

const HOUR: Duration = Duration::from_secs(3600);

fn bounds(count: usize) -> Option<HistoryBounds> {
    Some(HistoryBounds { count, age: HOUR, bytes: 8 << 20 })
}

fn change(payload: &str, teams: &[&str]) -> Change {
    Change { sender: PeerId::numbered(1), ..Change::sample(teams, &Topic::default(), payload) }
}

fn listening(teams: &[&str]) -> Vec<Listening> {
    teams.iter().map(|&team| Listening { room: team.into(), hears: Hears::default() }).collect()
}

/// A history, and the time in it.
struct Scene {
    history: History,
    now: Instant,
}

impl Scene {
    fn new(bounds: Option<HistoryBounds>) -> Self {
        Scene::of(EventId::next(), bounds)
    }

    /// Of another process, too.
    fn of(epoch: EventId, bounds: Option<HistoryBounds>) -> Self {
        Scene { history: History::new(epoch, bounds), now: Instant::now() }
    }

    fn note(&mut self, payload: &str, teams: &[&str]) -> (Since, Seqs) {
        let change = change(payload, teams);
        (self.heard(change.id), self.tell(&change))
    }

    fn tell(&mut self, change: &Change) -> Seqs {
        self.history.note(change, From::Here(None), SystemTime::now(), self.now)
    }

    /// What a client says that has heard it here.
    fn heard(&self, id: EventId) -> Since {
        let last = Last::Event(Heard { id, on: self.history.run() });
        let written = Since { last, extent: None }.to_string();
        Since::read(&written.into()).unwrap().unwrap()
    }

    fn here(&self) -> Since {
        self.history.here()
    }

    /// The payloads of what was missed, or why nobody can tell.
    fn missed(&mut self, since: &Since, teams: &[&str]) -> Result<Vec<String>, ResyncReason> {
        let frames = self.history.missed(since, &listening(teams), 1 << 20, self.now)?;
        Ok(frames.iter().map(|frame| frame.raw().unwrap().get().to_owned()).collect())
    }
}

#[test]
fn each_team_counts_for_itself() {
    let mut scene = Scene::new(None);
    assert_eq!(scene.note("1", &["red"]).1[..], [1]);
    assert_eq!(scene.note("2", &["red", "blue"]).1[..], [1, 2], "the teams are sorted");
    assert_eq!(scene.note("3", &["blue"]).1[..], [2]);
    assert_eq!(scene.history.size(), (0, 0));
}

#[test]
fn whoever_heard_something_has_heard_all_before_it_in_every_team() {
    let mut scene = Scene::new(bounds(9));
    let (_, _) = scene.note("1", &["blue"]);
    let (since, _) = scene.note("2", &["red"]);
    scene.note("3", &["blue"]);
    scene.note("4", &["red", "blue"]);
    scene.note("5", &["green"]);
    assert_eq!(scene.missed(&since, &["red", "blue"]).unwrap(), ["3", "4"]);
    assert_eq!(scene.missed(&since, &["red"]).unwrap(), ["4"]);
    let here = scene.here();
    assert_eq!(scene.missed(&here, &["red", "blue", "green"]), Ok(vec![]));
}

#[test]
fn the_oldest_of_a_team_goes_first_and_its_place_is_remembered() {
    let mut scene = Scene::new(bounds(2));
    let start = scene.here();
    let (first, _) = scene.note("1", &["red"]);
    scene.note("2", &["red"]);
    assert_eq!(scene.missed(&start, &["red"]).unwrap(), ["1", "2"]);
    scene.note("3", &["red"]);
    assert_eq!(scene.missed(&first, &["red"]).unwrap(), ["2", "3"], "the last that went is still known");
    assert_eq!(scene.missed(&start, &["red"]), Err(ResyncReason::TooOld));
    assert_eq!(scene.missed(&start, &["blue"]), Ok(vec![]), "another team does not suffer for it");
    scene.note("4", &["red"]);
    assert_eq!(scene.missed(&first, &["red"]), Err(ResyncReason::Unknown));
    assert_eq!(scene.history.places.len(), 2);
}

#[test]
fn what_is_old_goes_and_who_missed_nothing_need_not_know() {
    let mut scene = Scene::new(bounds(9));
    let (first, _) = scene.note("1", &["red"]);
    let (second, _) = scene.note("2", &["red"]);
    scene.now += HOUR + Duration::from_secs(1);
    assert_eq!(scene.missed(&second, &["red"]), Ok(vec![]));
    assert_eq!(scene.missed(&first, &["red"]), Err(ResyncReason::Unknown));
    assert_eq!(scene.history.size(), (0, 0));
    assert!(scene.history.kept.is_empty() && scene.history.places.is_empty());
}

#[test]
fn bytes_are_bounded_for_a_team_and_for_all() {
    let mut scene = Scene::new(Some(HistoryBounds { count: 9, age: HOUR, bytes: 2000 }));
    let start = scene.here();
    scene.note(&"1".repeat(900), &["red"]);
    scene.note(&"2".repeat(900), &["red"]);
    assert_eq!(scene.history.size().0, 1);
    scene.note(&"3".repeat(2000), &["red"]);
    assert_eq!(scene.history.size(), (0, 0), "more than all that may be kept");
    assert_eq!(scene.missed(&start, &["red"]), Err(ResyncReason::TooOld));

    let mut scene = Scene::new(Some(HistoryBounds { count: 4096, age: HOUR, bytes: MOST_BYTES }));
    let start = scene.here();
    let large = format!("\"{}\"", "x".repeat(MOST_BYTES / 3));
    scene.note(&large, &["red"]);
    scene.note(&large, &["blue", "red"]);
    scene.note("1", &["green"]);
    scene.note(&large, &["blue"]);
    assert!(scene.history.size().1 <= MOST_BYTES);
    assert_eq!(scene.missed(&start, &["red"]), Err(ResyncReason::TooOld));
    assert_eq!(scene.missed(&start, &["green"]).unwrap(), ["1"]);
}

#[test]
fn another_order_s_places_mean_nothing() {
    let mut scene = Scene::new(bounds(9));
    let other = Scene::new(bounds(9)).here();
    assert_eq!(scene.missed(&other, &["red"]), Err(ResyncReason::Unknown));
    let ahead = Position { place: 1, ..scene.history.position() };
    let ahead = Since { last: Last::Place(ahead), extent: None };
    assert_eq!(scene.missed(&ahead, &["red"]), Err(ResyncReason::Unknown));
    let never = scene.heard(EventId::next());
    assert_eq!(scene.missed(&never, &["red"]), Err(ResyncReason::Unknown));
    assert_eq!(scene.missed(&Since::NOTHING, &["red"]), Err(ResyncReason::NothingHeard));
}

#[test]
fn too_much_is_not_replayed() {
    let mut scene = Scene::new(bounds(MOST_REPLAYED));
    let start = scene.here();
    for _ in 0..MOST_REPLAYED {
        scene.note("1", &["red"]);
    }
    assert_eq!(scene.missed(&start, &["red", "blue"]).unwrap().len(), MOST_REPLAYED);
    let few = scene.history.missed(&start, &listening(&["red"]), 10_000, scene.now);
    assert_eq!(few.map(|frames| frames.len()), Err(ResyncReason::TooMuch));
    scene.note("1", &["blue"]);
    assert_eq!(scene.missed(&start, &["red", "blue"]), Err(ResyncReason::TooMuch));
}

#[test]
fn a_forgotten_team_has_lost_something_and_counts_on() {
    let mut scene = Scene::new(None);
    scene.history.most_teams = 2;
    let start = scene.here();
    scene.note("1", &["red"]);
    scene.note("2", &["red"]);
    scene.note("3", &["blue"]);
    let before = scene.here();
    scene.history.set_bounds(bounds(9));
    assert_eq!(scene.note("4", &["green"]).1[..], [3]);
    assert_eq!(scene.history.teams.len(), 1);
    assert_eq!(scene.missed(&start, &["red"]), Err(ResyncReason::TooOld));
    assert_eq!(scene.missed(&before, &["red", "green"]).unwrap(), ["4"]);
    assert_eq!(scene.note("5", &["red"]).1[..], [3], "no number is given twice");
    assert_eq!(
        scene.missed(&start, &["red"]),
        Err(ResyncReason::TooOld),
        "nor is it forgotten that some was lost"
    );
    assert_eq!(scene.missed(&before, &["red", "green"]).unwrap(), ["4", "5"]);
}

#[test]
fn with_less_to_keep_it_keeps_less() {
    let mut scene = Scene::new(bounds(9));
    let start = scene.here();
    let (first, _) = scene.note("1", &["red"]);
    scene.note("2", &["red", "blue"]);
    scene.history.set_bounds(bounds(1));
    assert_eq!(scene.missed(&first, &["red"]).unwrap(), ["2"]);
    assert_eq!(scene.missed(&start, &["red"]), Err(ResyncReason::TooOld));
    scene.history.set_bounds(None);
    assert_eq!(scene.history.size(), (0, 0));
    assert_eq!(scene.missed(&first, &["blue"]), Err(ResyncReason::Unknown));
}

/// Two nodes of which each tells its own change first, and then hears of the other's.
fn two_orders() -> ([Scene; 2], Change, Change) {
    let epochs = [EventId::next(), EventId::parse("1-1").unwrap()];
    let mut nodes = epochs.map(|epoch| Scene::of(epoch, bounds(9)));
    let (one, mut two) = (change("1", &["red"]), change("2", &["red"]));
    two.id = EventId::parse("1-2").unwrap();
    for (node, order) in nodes.iter_mut().zip([[&one, &two], [&two, &one]]) {
        for change in order {
            node.tell(change);
        }
    }
    (nodes, one, two)
}

#[test]
fn what_was_heard_on_another_node_is_not_looked_up_in_this_one_s_order() {
    let ([mut here, mut there], one, two) = two_orders();
    for id in [one.id, two.id] {
        let (heard_here, heard_there) = (here.heard(id), there.heard(id));
        // Both have both, and each would leave out what the other's client lacks.
        assert_eq!(here.missed(&heard_there, &["red"]), Err(ResyncReason::Unknown));
        assert_eq!(there.missed(&heard_here, &["red"]), Err(ResyncReason::Unknown));
    }
    let (first_here, last_here) = (here.heard(one.id), here.heard(two.id));
    assert_eq!(here.missed(&first_here, &["red"]).unwrap(), ["2"]);
    assert_eq!(here.missed(&last_here, &["red"]), Ok(vec![]));
    let (first_there, last_there) = (there.heard(two.id), there.heard(one.id));
    assert_eq!(there.missed(&first_there, &["red"]).unwrap(), ["1"]);
    assert_eq!(there.missed(&last_there, &["red"]), Ok(vec![]));
    assert_eq!(there.missed(&here.here(), &["red"]), Err(ResyncReason::Unknown));
}

#[test]
fn what_is_told_says_on_which_node_it_is_heard() {
    let ([mut here, mut there], one, _) = two_orders();
    let start = |scene: &Scene| {
        let start = Position { place: 0, ..scene.history.position() };
        Since { last: Last::Place(start), extent: None }
    };
    for (scene, expected) in [
        (&mut here, [one.id.to_string(), format!("1-2@{}", Run::this())]),
        (&mut there, ["1-2".into(), format!("{}@1", one.id)]),
    ] {
        let start = start(scene);
        let frames = scene.history.missed(&start, &listening(&["red"]), 1 << 20, scene.now).unwrap();
        let ids = frames.iter().map(|frame| {
            let meta: serde_json::Value = serde_json::from_str(frame.raw_meta().unwrap().get()).unwrap();
            meta["id"].as_str().unwrap().to_owned()
        });
        assert_eq!(ids.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn whoever_was_here_before_a_gap_cannot_be_told_what_it_missed() {
    let mut scene = Scene::new(bounds(9));
    let (heard, _) = scene.note("1", &["red", "blue"]);
    let (before, red) = (scene.here(), ["red".into()]);
    scene.history.note_gap(&red);
    let after = scene.here();
    assert_ne!(before, after);
    for since in [&heard, &before] {
        assert_eq!(scene.missed(since, &["red"]), Err(ResyncReason::Missed));
        assert_eq!(scene.missed(since, &["red", "blue"]), Err(ResyncReason::Missed));
        assert_eq!(scene.missed(since, &["blue"]), Ok(vec![]), "another team has no gap");
    }
    let (_, seqs) = scene.note("2", &["red"]);
    assert_eq!(seqs[..], [2], "a gap has no number");
    assert_eq!(scene.missed(&after, &["red", "blue"]).unwrap(), ["2"]);
}
