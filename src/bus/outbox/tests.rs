use proptest::prelude::*;

use super::*;
use crate::message::Topic;

/// A change to teams that are called by one letter each.
fn change(teams: &str, payload: &str) -> Change {
    let teams: Vec<String> = teams.chars().map(String::from).collect();
    let teams: Vec<&str> = teams.iter().map(String::as_str).collect();
    Change { echo: false, ..Change::sample(&teams, &Topic::default(), payload) }
}

/// A line, and a time that stands still unless a test moves it.
struct Line {
    outbox: Outbox,
    now: Instant,
}

impl Line {
    /// One with room for so many changes to one team with a short payload.
    fn with_room_for(changes: usize) -> Self {
        Line { outbox: Outbox::new(changes * OVERHEAD + OVERHEAD / 2), now: Instant::now() }
    }

    fn put(&mut self, teams: &str, payload: &str) -> usize {
        self.outbox.put(change(teams, payload), SystemTime::UNIX_EPOCH, self.now)
    }

    fn take(&mut self) -> Vec<String> {
        self.outbox.take(self.now).iter().map(|outgoing| written(outgoing)).collect()
    }

    /// The first so many are through, and the others go again.
    fn confirm(&mut self, count: usize) -> Vec<Arc<Outgoing>> {
        self.outbox.settle(&vec![Fate::Through; count.min(self.outbox.flying.len())], false, self.now)
    }

    fn confirm_all(&mut self) {
        self.confirm(usize::MAX);
    }

    fn retry(&mut self) {
        self.confirm(0);
    }
}

/// `PAYLOAD@TEAM1TEAM2`, with a number each.
fn written(outgoing: &Outgoing) -> String {
    let what = match &outgoing.what {
        What::Change(change, _) => &*change.payload,
        What::Missed => "missed",
        What::MissedAnywhere => "missed-anywhere",
    };
    let teams: String = outgoing.teams.iter().map(|(team, number)| format!("{team}{number}")).collect();
    format!("{what}@{teams}")
}

#[test]
fn in_order_nothing_goes_before_what_came_earlier() {
    let mut line = Line::with_room_for(100);
    line.outbox = Outbox::new(1 << 20).in_order();
    ["r", "r", "b"].iter().for_each(|teams| _ = line.put(teams, ""));
    line.take();
    line.outbox.settle(&[Fate::Through, Fate::Again, Fate::Again], false, line.now);
    line.put("y", "");
    assert_eq!(line.take(), ["@r2", "@b1", "@y1"]);
    assert_eq!(line.outbox.dropped(), Some(0));
    line.outbox.settle(&[Fate::Refused], false, line.now);
    assert_eq!(line.outbox.dropped(), None, "somebody is owed a word of it");
    assert_eq!(line.take(), ["@b1", "@y1"]);
    line.confirm_all();
    assert_eq!(line.take(), ["missed@r3"]);
    assert_eq!(line.outbox.dropped(), None, "it is not through");
    line.confirm_all();
    assert_eq!(line.outbox.dropped(), Some(2));
}

#[test]
fn each_team_counts_for_itself() {
    let mut line = Line::with_room_for(100);
    for teams in ["r", "rb", "b", "r"] {
        assert_eq!(line.put(teams, ""), 0);
    }
    // A key holds its teams in order.
    assert_eq!(line.take(), ["@r1", "@b1r2", "@b2", "@r3"]);
}

#[test]
fn what_was_not_confirmed_goes_again_before_what_came_meanwhile() {
    let mut line = Line::with_room_for(100);
    for payload in ["1", "2", "3"] {
        line.put("r", payload);
    }
    assert_eq!(line.take(), ["1@r1", "2@r2", "3@r3"]);
    line.put("r", "4");
    assert_eq!(line.confirm(1).len(), 1);
    line.outbox.let_go();
    assert_eq!(line.take(), ["2@r2", "3@r3", "4@r4"]);
    line.confirm_all();
    assert!(line.outbox.is_empty() && line.outbox.bytes() == 0 && line.take().is_empty());
}

#[test]
fn a_batch_is_bounded() {
    let mut line = Line::with_room_for(10_000);
    for _ in 0..=BATCH {
        line.put("r", "");
    }
    assert_eq!(line.take().len(), BATCH_BYTES / OVERHEAD);
    line.confirm_all();
    assert_eq!(line.take().len(), BATCH + 1 - BATCH_BYTES / OVERHEAD);
    line.confirm_all();
    line.put("r", &"x".repeat(BATCH_BYTES));
    line.put("r", "");
    assert_eq!(line.take().len(), 1, "the first goes whatever it takes up");
}

#[test]
fn too_much_drops_what_has_waited_longest_and_its_teams_are_told() {
    let mut line = Line::with_room_for(2);
    assert_eq!([line.put("r", "1"), line.put("b", "2")], [0, 0]);
    assert_eq!([line.put("b", "3"), line.put("g", "4")], [1, 1]);
    assert_eq!(line.take(), ["3@b2", "4@g1"]);
    line.confirm_all();
    // Numbered as any other, so that nobody hears it twice.
    assert_eq!(line.take(), ["missed@b3", "missed@r2"]);
    assert!(!line.outbox.is_empty());
    line.confirm_all();
    assert!(line.outbox.is_empty() && line.take().is_empty());
}

#[test]
fn what_is_on_its_way_is_not_dropped() {
    let mut line = Line::with_room_for(2);
    line.put("r", "1");
    line.put("r", "2");
    line.take();
    assert_eq!(line.put("r", "3"), 1, "there is no room beside the two");
    line.retry();
    assert_eq!(line.take(), ["1@r1", "2@r2"]);
}

#[test]
fn a_message_that_nothing_takes_is_given_up_and_owed() {
    let mut line = Line::with_room_for(100);
    line.put("r", "1");
    line.put("b", "2");
    line.take();
    line.outbox.settle(&[Fate::Refused, Fate::Through], false, line.now);
    assert_eq!(line.take(), ["missed@r2"]);
    // Nor does anything take that.
    line.outbox.settle(&[Fate::Refused], false, line.now);
    assert!(line.outbox.is_empty() && line.outbox.bytes() == 0);
}

#[test]
fn the_owed_do_not_wait_for_a_line_that_does_not_end() {
    let mut line = Line::with_room_for(2);
    for payload in ["1", "2", "3"] {
        line.put("r", payload);
    }
    assert_eq!(line.take(), ["2@r2", "3@r3"]);
    line.confirm_all();
    line.put("r", "4");
    assert_eq!(line.take(), ["4@r4"]);
    line.now += OWED_FOR;
    line.put("r", "5");
    line.confirm_all();
    assert_eq!(line.take(), ["5@r5", "missed@r6"]);
}

#[test]
fn a_message_that_owes_is_owed_again_if_it_is_dropped() {
    let mut line = Line::with_room_for(1);
    line.put("r", "1");
    line.put("b", "2");
    line.take();
    line.confirm_all();
    assert_eq!(line.take(), ["missed@r2"]);
    line.retry();
    line.put("b", "3");
    assert_eq!(line.take(), ["3@b2"]);
    line.confirm_all();
    assert_eq!(line.take(), ["missed@r3"]);
}

#[test]
fn so_many_that_are_owed_are_not_named() {
    let mut line = Line::with_room_for(1);
    for team in 0..=MOST_OWED as u32 + 1 {
        let team = char::from_u32(0x4e00 + team).unwrap().to_string();
        line.put(&team, "");
    }
    assert!(line.outbox.owed.is_empty());
    line.take();
    line.confirm_all();
    assert_eq!(line.take(), ["missed-anywhere@"]);
    line.confirm_all();
    assert!(line.outbox.is_empty());
}

#[test]
fn forgotten_teams_begin_above_all_that_was_ever_numbered() {
    let mut line = Line::with_room_for(100);
    line.outbox.most_teams = 2;
    for teams in ["r", "r", "r", "b", "g", "r", "b"] {
        line.put(teams, "");
    }
    assert_eq!(line.take(), ["@r1", "@r2", "@r3", "@b1", "@g4", "@r4", "@b5"]);
}

#[test]
fn who_asks_is_told_what_became_of_their_own() {
    let mut line = Line::with_room_for(2);
    let first = line.outbox.latest();
    line.put("r", "1");
    let second = line.outbox.latest();
    assert_eq!(line.outbox.is_through(first, second), None);
    line.take();
    assert_eq!(line.outbox.is_through(first, second), None, "on its way");
    line.confirm_all();
    assert_eq!(line.outbox.is_through(first, second), Some(true));
    for payload in ["2", "3", "4"] {
        line.put("r", payload);
    }
    let third = line.outbox.latest();
    line.take();
    line.confirm_all();
    assert_eq!(line.outbox.is_through(second, third), Some(false), "one was dropped");
    line.put("r", "5");
    let fourth = line.outbox.latest();
    line.take();
    line.confirm_all();
    assert_eq!(line.outbox.is_through(third + 1, fourth), Some(true));
}

#[test]
fn teams_whose_server_is_away_do_not_keep_others_waiting() {
    let mut line = Line::with_room_for(100);
    for (teams, payload) in [("r", "1"), ("b", "2"), ("r", "3")] {
        line.put(teams, payload);
    }
    line.take();
    line.outbox.settle(&[Fate::Again, Fate::Through, Fate::Again], false, line.now);
    for (teams, payload) in [("b", "4"), ("r", "5"), ("rb", "6"), ("b", "7"), ("g", "8")] {
        line.put(teams, payload);
    }
    // What goes to both waits with the one, and what comes after it to the other does too.
    assert_eq!(line.take(), ["4@b2", "8@g1"]);
    line.confirm_all();
    assert!(line.take().is_empty() && line.outbox.is_waiting() && !line.outbox.is_empty());
    assert_eq!(line.outbox.is_through(0, line.outbox.latest()), None);
    line.now = line.outbox.held_until().unwrap();
    assert_eq!(line.take(), ["1@r1", "3@r2", "5@r3", "6@b3r4", "7@b4"]);
    line.confirm_all();
    assert!(line.outbox.is_empty() && line.outbox.bytes() == 0 && line.outbox.held_until().is_none());
}

#[test]
fn where_others_may_go_they_do_not_wait_for_a_whole_batch_that_cannot() {
    let mut line = Line::with_room_for(100);
    line.put("r", "1");
    line.take();
    line.put("r", "2");
    line.put("b", "3");
    line.outbox.settle(&[Fate::Again], true, line.now);
    assert_eq!(line.take(), ["3@b1"]);
    line.confirm_all();
    line.now = line.outbox.held_until().unwrap();
    assert_eq!(line.take(), ["1@r1", "2@r2"]);
}

#[test]
fn what_is_held_back_is_the_first_to_be_dropped() {
    let mut line = Line::with_room_for(3);
    line.put("r", "1");
    line.put("b", "2");
    line.take();
    line.outbox.settle(&[Fate::Again, Fate::Through], false, line.now);
    for payload in ["3", "4", "5"] {
        line.put("b", payload);
    }
    assert_eq!(line.take(), ["3@b2", "4@b3", "5@b4"]);
    line.confirm_all();
    line.outbox.let_go();
    assert_eq!(line.take(), ["missed@r2"]);
}

#[derive(Clone, Debug)]
enum Step {
    Put(&'static str),
    Take,
    Confirm(usize),
    /// Those to one of the teams do not get through.
    Away(&'static str),
    Retry,
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::sample::select(vec!["r", "b", "rb"]).prop_map(Step::Put),
        2 => Just(Step::Take),
        2 => (0_usize..4).prop_map(Step::Confirm),
        2 => prop::sample::select(vec!["r", "b"]).prop_map(Step::Away),
        1 => Just(Step::Retry),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens, each team's numbers go out in order, a number that goes again is the same message, and what was
    /// dropped is owed until a message that says so is confirmed.
    #[test]
    fn nothing_is_swapped_or_forgotten(steps in prop::collection::vec(step(), 0..80)) {
        let mut line = Line::with_room_for(6);
        let mut put = 0;
        let mut seen: HashMap<(Arc<str>, u64), String> = HashMap::new();
        let mut arrived: HashMap<Arc<str>, Vec<(u64, bool)>> = HashMap::new();
        let note = |outgoing: &Outgoing, away: &str, confirmed: &mut HashMap<Arc<str>, Vec<(u64, bool)>>| {
            for (team, number) in outgoing.teams.iter().filter(|(team, _)| **team != *away) {
                let is_missed = matches!(outgoing.what, What::Missed);
                let arrived = confirmed.entry(team.clone()).or_default();
                // It may have been there before.
                if !arrived.contains(&(*number, is_missed)) {
                    arrived.push((*number, is_missed));
                }
            }
        };
        let finish = std::iter::repeat_n([Step::Wait, Step::Take, Step::Confirm(usize::MAX)], 8).flatten();
        for step in steps.into_iter().chain([Step::Retry]).chain(finish) {
            match step {
                Step::Put(teams) => {
                    put += 1;
                    line.put(teams, &put.to_string());
                }
                Step::Take => {
                    let taken = line.outbox.take(line.now);
                    let mut last: HashMap<Arc<str>, u64> = HashMap::new();
                    for outgoing in &taken {
                        for (team, number) in &outgoing.teams {
                            prop_assert!(last.insert(team.clone(), *number).is_none_or(|last| last < *number));
                            let text = written(outgoing);
                            let before = seen.insert((team.clone(), *number), text.clone());
                            prop_assert!(before.is_none_or(|before| before == text));
                        }
                    }
                }
                Step::Confirm(count) => {
                    line.confirm(count).iter().for_each(|outgoing| note(outgoing, "", &mut arrived));
                }
                Step::Away(team) => {
                    let is_to = |outgoing: &Outgoing| outgoing.teams.iter().any(|(name, _)| **name == *team);
                    let fate = |outgoing: &Arc<Outgoing>| if is_to(outgoing) { Fate::Again } else { Fate::Through };
                    let fates: Vec<Fate> = line.outbox.flying.iter().map(fate).collect();
                    // The others' copies are there.
                    line.outbox.flying.iter().for_each(|outgoing| note(outgoing, team, &mut arrived));
                    line.outbox.settle(&fates, false, line.now);
                }
                Step::Retry => line.retry(),
                Step::Wait => line.now += OWED_FOR,
            }
            let weights = line.outbox.all().map(|one| one.weight());
            prop_assert_eq!(line.outbox.bytes(), weights.sum::<usize>());
        }
        prop_assert!(line.outbox.is_empty());
        for (team, numbers) in arrived {
            prop_assert!(numbers.is_sorted_by(|one, other| one.0 < other.0), "{team}: {numbers:?}");
            // Behind every hole there is a message that says so.
            let mut next = 1;
            for (at, (number, _)) in numbers.iter().enumerate() {
                if *number != next {
                    prop_assert!(numbers[at..].iter().any(|(_, is_missed)| *is_missed), "{team}: {numbers:?}");
                }
                next = number + 1;
            }
            prop_assert_eq!(line.outbox.numbers[&team], next - 1, "the end of {} is no hole", team);
        }
    }
}
