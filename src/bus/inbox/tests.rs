use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const A: Origin = Origin(1);
const B: Origin = Origin(2);

/// Teams are called by one letter each, followed by the number: `r1b2`.
fn numbered(text: &str) -> Vec<Numbered<'static>> {
    let letters: Vec<char> = text.chars().collect();
    letters
        .chunks(2)
        .map(|pair| Numbered(pair[0].to_string().into(), pair[1].to_digit(10).unwrap().into()))
        .collect()
}

fn listening(teams: &str) -> Inbox {
    let mut inbox = Inbox::default();
    teams.chars().for_each(|team| inbox.listen(&team.to_string().into()));
    inbox
}

/// Who hears, who has heard, and whether there is a gap; `-` where it passes by.
fn take(inbox: &mut Inbox, origin: Origin, via: &str, teams: &str) -> String {
    let Some(verdict) = inbox.take(origin, via, &numbered(teams)) else { return "-".into() };
    let gap = if verdict.is_gap { "!" } else { "" };
    let heard =
        if verdict.heard.is_empty() { String::new() } else { format!(" not {}", verdict.heard.concat()) };
    format!("{}{heard}{gap}", verdict.hear.concat())
}

#[test]
fn in_one_server_the_first_copy_is_for_all_of_its_teams() {
    let mut inbox = Inbox::new(true);
    ["r", "b"].iter().for_each(|team| inbox.listen(&(*team).into()));
    assert_eq!(take(&mut inbox, A, "r", "r5b2"), "rb", "nothing older can come");
    assert_eq!(take(&mut inbox, A, "b", "r5b2"), "-");
    inbox.listen(&"b".into());
    assert_eq!(take(&mut inbox, A, "r", "r6b4"), "rb");
    assert_eq!(take(&mut inbox, A, "b", "r6b4"), "-");
    // What is missing is noticed on the channel on which it is missing.
    assert_eq!(take(&mut inbox, A, "r", "r7b6"), "r");
    assert_eq!(take(&mut inbox, A, "b", "r7b6"), "b not r!");
    // In a Cluster it may be on its way.
    let mut inbox = listening("rb");
    assert_eq!(take(&mut inbox, A, "r", "r5b2"), "r");
    assert_eq!(take(&mut inbox, A, "b", "r5b2"), "b not r");
}

#[test]
fn what_came_before_passes_by_and_what_is_left_out_is_noticed() {
    let mut inbox = listening("r");
    // The first there is of an origin may have any number.
    assert_eq!(take(&mut inbox, A, "r", "r5"), "r");
    assert_eq!(take(&mut inbox, B, "r", "r1"), "r");
    assert_eq!(take(&mut inbox, A, "r", "r5"), "-");
    assert_eq!(take(&mut inbox, A, "r", "r4"), "-");
    assert_eq!(take(&mut inbox, A, "r", "r6"), "r");
    assert_eq!(take(&mut inbox, A, "r", "r8"), "r!");
    assert_eq!(take(&mut inbox, A, "r", "r7"), "-", "its team is told to fetch everything");
    assert_eq!(take(&mut inbox, B, "r", "r2"), "r");
}

#[test]
fn after_the_highest_number_there_is_none() {
    let mut inbox = listening("rb");
    let last = Numbered("r".into(), u64::MAX);
    assert_eq!(inbox.take(A, "r", std::slice::from_ref(&last)).unwrap().hear.concat(), "r");
    assert_eq!(take(&mut inbox, A, "b", "r5b1"), "b");
    assert_eq!(take(&mut inbox, A, "r", "r5b1"), "-");
}

#[test]
fn a_change_to_several_teams_is_heard_with_its_first_copy() {
    let mut inbox = listening("rb");
    take(&mut inbox, A, "r", "r1");
    take(&mut inbox, A, "b", "b1");
    assert_eq!(take(&mut inbox, A, "r", "r2b2g1"), "rb");
    assert_eq!(take(&mut inbox, A, "b", "r2b2g1"), "-");
    assert_eq!(take(&mut inbox, A, "g", "r2b2g1"), "-", "nobody listens there");
    assert_eq!(take(&mut inbox, A, "b", "b3"), "b");
}

#[test]
fn a_team_for_which_older_ones_are_on_their_way_waits_for_its_own_copy() {
    let mut inbox = listening("rb");
    take(&mut inbox, A, "r", "r1");
    take(&mut inbox, A, "b", "b1");
    assert_eq!(take(&mut inbox, A, "r", "r2b3"), "r");
    assert_eq!(take(&mut inbox, A, "b", "b2"), "b");
    assert_eq!(take(&mut inbox, A, "b", "r2b3"), "b not r");
    // So does one of which nothing has come yet: it may be the second.
    assert_eq!(take(&mut inbox, B, "r", "r1b2"), "r");
    assert_eq!(take(&mut inbox, B, "b", "b1"), "b");
    assert_eq!(take(&mut inbox, B, "b", "r1b2"), "b not r");
}

#[test]
fn after_an_interruption_nothing_is_missed_twice_and_nothing_heard_twice() {
    let mut inbox = listening("r");
    take(&mut inbox, A, "r", "r1");
    inbox.listen(&"r".into());
    assert_eq!(take(&mut inbox, A, "r", "r1"), "-");
    // That something may be missing is said already.
    assert_eq!(take(&mut inbox, A, "r", "r3"), "r");
    assert_eq!(take(&mut inbox, A, "r", "r5"), "r!");
    inbox.ignore("r");
    assert_eq!((take(&mut inbox, A, "r", "r6"), inbox.len()), ("-".into(), 0));
}

#[test]
fn origins_are_forgotten_and_bounded() {
    let mut inbox = listening("rb");
    for origin in 0..=MOST_ORIGINS as u64 {
        assert_eq!(take(&mut inbox, Origin(origin), "r", "r1"), "r");
    }
    assert_eq!(inbox.len(), MOST_ORIGINS);
    assert_eq!(take(&mut inbox, Origin(MOST_ORIGINS as u64), "r", "r1"), "-");
    take(&mut inbox, A, "b", "b1");
    inbox.retain(|origin| origin == A);
    assert_eq!(inbox.len(), 2);
}

const TEAMS: [&str; 3] = ["r", "b", "g"];
const ORIGINS: usize = 2;

/// One message, as its origin numbered it.
#[derive(Clone, Debug)]
struct Sent {
    place: usize,
    teams: Vec<Numbered<'static>>,
}

impl Sent {
    fn number(&self, team: usize) -> Option<u64> {
        self.teams.iter().find(|numbered| numbered.0 == TEAMS[team]).map(|numbered| numbered.1)
    }
}

/// An origin, and what is on its way from it: for each team's channel the lanes of all connections that it has had.
#[derive(Default)]
struct Node {
    sent: Vec<Sent>,
    numbers: [u64; 3],
    lanes: [Vec<VecDeque<Sent>>; 3],
    /// What Redis has had of each channel, counted in messages sent.
    through: [usize; 3],
}

impl Node {
    fn publish(&mut self, teams: u8) {
        let mut numbered = Vec::new();
        for (team, name) in TEAMS.iter().enumerate().filter(|(team, _)| teams & 1 << team != 0) {
            self.numbers[team] += 1;
            numbered.push(Numbered((*name).into(), self.numbers[team]));
        }
        let sent = Sent { place: self.sent.len(), teams: numbered };
        self.sent.push(sent.clone());
        for (team, lanes) in self.lanes.iter_mut().enumerate() {
            if lanes.is_empty() {
                lanes.push(VecDeque::new());
            }
            if sent.number(team).is_some() {
                lanes.last_mut().unwrap().push_back(sent.clone());
            }
        }
    }

    /// Sends again what was not confirmed, and some that was, on a new connection. What the old ones carry still arrives.
    fn resend(&mut self, back: usize) {
        let confirmed = self.through.iter().min().copied().unwrap_or_default();
        for (team, lanes) in self.lanes.iter_mut().enumerate() {
            let again = self.sent[confirmed.saturating_sub(back)..].iter();
            lanes.push(again.filter(|sent| sent.number(team).is_some()).cloned().collect());
        }
    }

    /// The next message of one lane, which Redis has had now.
    fn pop(&mut self, team: usize, lane: usize) -> Option<Sent> {
        let lanes = &mut self.lanes[team];
        let lane = lane % lanes.len().max(1);
        let sent = lanes.get_mut(lane)?.pop_front()?;
        // Up to the next one to that team.
        let next = self.sent[sent.place + 1..].iter().find(|later| later.number(team).is_some());
        self.through[team] = self.through[team].max(next.map_or(self.sent.len(), |next| next.place));
        Some(sent)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish { origin: usize, teams: u8 },
    Arrive { origin: usize, team: usize, lane: usize },
    Lose { origin: usize, team: usize, lane: usize },
    Resend { origin: usize, back: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let lane = || (0..ORIGINS, 0..TEAMS.len(), 0_usize..4);
    prop_oneof![
        6 => (0..ORIGINS, 1_u8..8).prop_map(|(origin, teams)| Step::Publish { origin, teams }),
        8 => lane().prop_map(|(origin, team, lane)| Step::Arrive { origin, team, lane }),
        1 => lane().prop_map(|(origin, team, lane)| Step::Lose { origin, team, lane }),
        1 => (0..ORIGINS, 0_usize..4).prop_map(|(origin, back)| Step::Resend { origin, back }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Channels that do not wait for each other, connections whose last words come late, messages sent again, and lost ones:
    /// whoever is in any of the teams hears nothing twice, and each team hears each origin in order. What is lost is noticed
    /// with the next message, and where nothing is everything is heard.
    #[test]
    fn everything_is_heard_once_or_noticed_to_be_missing(steps in prop::collection::vec(step(), 0..120), may_lose: bool) {
        let mut inbox = listening("rbg");
        let mut nodes: [Node; ORIGINS] = Default::default();
        // Who is in the teams of these bits has heard these, of each origin.
        let mut heard: [[Vec<usize>; 8]; ORIGINS] = Default::default();
        let mut gaps = [[0_usize; 3]; ORIGINS];
        let rest = (0..ORIGINS).flat_map(|origin| {
            let team = move |team| (0..16).flat_map(move |lane| std::iter::repeat_n(Step::Arrive { origin, team, lane }, 80));
            (0..TEAMS.len()).flat_map(team)
        });
        for step in steps.into_iter().chain(rest) {
            let (origin, team, sent) = match step {
                Step::Publish { origin, teams } => {
                    nodes[origin].publish(teams);
                    continue;
                }
                Step::Resend { origin, back } => {
                    if nodes[origin].lanes[0].len() < 16 {
                        nodes[origin].resend(back);
                    }
                    continue;
                }
                Step::Lose { origin, team, lane } => {
                    if may_lose {
                        nodes[origin].pop(team, lane);
                    }
                    continue;
                }
                Step::Arrive { origin, team, lane } => (origin, team, nodes[origin].pop(team, lane)),
            };
            let Some(sent) = sent else { continue };
            let Some(verdict) = inbox.take(Origin(origin as u64), TEAMS[team], &sent.teams) else { continue };
            gaps[origin][team] += usize::from(verdict.is_gap);
            let bits = |teams: &Teams| {
                let bit = |name: &Arc<str>| 1 << TEAMS.iter().position(|team| **team == **name).unwrap();
                teams.iter().map(bit).sum::<usize>()
            };
            let (hear, has_heard) = (bits(&verdict.hear), bits(&verdict.heard));
            for (member, heard) in heard[origin].iter_mut().enumerate() {
                if member & hear != 0 && member & has_heard == 0 {
                    prop_assert!(!heard.contains(&sent.place), "heard twice by {member:b}: {sent:?}");
                    heard.push(sent.place);
                }
            }
        }
        for (origin, node) in nodes.iter().enumerate() {
            for (team, gaps) in gaps[origin].iter().enumerate() {
                let of_team = &heard[origin][1 << team];
                prop_assert!(of_team.is_sorted_by(|one, other| one < other), "{of_team:?}");
                let range = of_team.first().zip(of_team.last());
                let is_missing = |sent: &Sent| {
                    let within = range.is_some_and(|(first, last)| (first..=last).contains(&&sent.place));
                    within && sent.number(team).is_some() && !of_team.contains(&sent.place)
                };
                prop_assert_eq!(node.sent.iter().any(is_missing), *gaps > 0);
            }
            if !may_lose {
                for (member, heard) in heard[origin].iter().enumerate() {
                    let is_for = |sent: &&Sent| (0..3).any(|team| member & 1 << team != 0 && sent.number(team).is_some());
                    prop_assert_eq!(heard.len(), node.sent.iter().filter(is_for).count());
                }
            }
        }
    }
}
