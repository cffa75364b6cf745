//! The books of the honest: what each of them sent, and what each of them must have heard.
//!
//! A *stream* is what one member sends over one connection, numbered from zero. Its events are acknowledged in order. A listener must hear, of
//! every stream of its team, each event that was sent after the listener was admitted and was acknowledged as accepted:
//! once, in order, and nothing of other teams. Of what was sent before it was admitted it may hear an end without gaps.

use std::collections::{BTreeSet, HashMap};

/// Faults that are told in words; further ones are only counted.
const TOLD: usize = 20;

/// What went wrong for an honest client. All zero, or the run has failed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Faults {
    /// Deliveries that never came.
    pub lost: u64,
    /// Deliveries that came again.
    pub duplicated: u64,
    /// Deliveries that came after a later one of the same sender.
    pub reordered: u64,
    /// Deliveries of another team's events.
    pub misrouted: u64,
    /// Deliveries that are no event anybody sent, or not the bytes that were sent.
    pub altered: u64,
    /// Honest events that were refused.
    pub refused: u64,
    /// Acknowledgements that came before the sender's own copy, out of order, or for nothing.
    pub bad_acks: u64,
    /// Events whose acknowledgement never came.
    pub unanswered: u64,
    /// Connections of honest clients that ended though nobody should have ended them.
    pub disconnects: u64,
    /// The first of them, in words.
    pub told: Vec<String>,
}

impl Faults {
    /// Whether there are none.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Notes a fault's circumstances.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.told.len() < TOLD {
            self.told.push(what());
        }
    }
}

/// One sender's numbering over one connection.
#[derive(Debug, Default)]
struct Stream {
    /// Events sent; the next one's number.
    sent: u64,
    /// Events acknowledged, accepted or not.
    answered: u64,
    /// The numbers of those that were refused: nobody hears them.
    refused: BTreeSet<u64>,
}

/// Names a stream of a team.
pub type StreamId = usize;

/// The books of all teams.
#[derive(Debug, Default)]
pub struct Books {
    teams: Vec<Vec<Stream>>,
    /// What went wrong so far.
    pub faults: Faults,
    /// Events sent.
    pub sent: u64,
    /// Deliveries of them that were checked.
    pub heard: u64,
    /// Acknowledgements collected.
    pub answered: u64,
}

/// What one admitted member has heard.
#[derive(Debug)]
pub struct Listener {
    name: String,
    team: usize,
    /// How much of each stream had been sent when it was admitted; streams that began later are not in here.
    floors: Vec<u64>,
    heard: HashMap<StreamId, Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The number that comes next.
    next: u64,
    /// Numbers that were skipped.
    skipped: BTreeSet<u64>,
}

/// How much of each stream of a team is owed to its listeners.
#[derive(Debug, Clone)]
pub struct Due(Vec<u64>);

impl Books {
    /// Empty books for `teams` teams, numbered from zero.
    #[must_use]
    pub fn new(teams: usize) -> Self {
        Self { teams: (0..teams).map(|_| Vec::new()).collect(), ..Self::default() }
    }

    /// A new connection of a member of `team` that will send.
    pub fn open_stream(&mut self, team: usize) -> StreamId {
        self.teams[team].push(Stream::default());
        self.teams[team].len() - 1
    }

    /// Enters an event that is about to be sent, and returns its number.
    pub fn send(&mut self, team: usize, stream: StreamId) -> u64 {
        let stream = &mut self.teams[team][stream];
        stream.sent += 1;
        self.sent += 1;
        stream.sent - 1
    }

    /// Enters an acknowledgement that `listener`, who sent the event, collected.
    pub fn answer(&mut self, listener: &Listener, stream: StreamId, number: u64, accepted: bool) {
        let book = &mut self.teams[listener.team][stream];
        let own = listener.heard.get(&stream).map_or(0, |heard| heard.next);
        if number != book.answered || number >= book.sent || (accepted && own <= number) {
            self.faults.bad_acks += 1;
            let (answered, sent) = (book.answered, book.sent);
            self.faults.tell(|| {
                format!(
                    "{} collected an ack for event {number}, having {answered} acks, {own} echoes and {sent} events sent",
                    listener.name
                )
            });
        }
        book.answered = book.answered.max(number + 1).min(book.sent);
        if accepted {
            self.answered += 1;
        } else {
            book.refused.insert(number);
            self.faults.refused += 1;
        }
    }

    /// A member was admitted to `team` just now.
    #[must_use]
    pub fn enter(&self, team: usize, name: String) -> Listener {
        let floors = self.teams[team].iter().map(|stream| stream.sent).collect();
        Listener { name, team, floors, heard: HashMap::new() }
    }

    /// Enters a delivery: event `number` of `stream` of `team`.
    pub fn hear(&mut self, listener: &mut Listener, team: usize, stream: StreamId, number: u64) {
        let name = &listener.name;
        if team != listener.team {
            self.faults.misrouted += 1;
            self.faults.tell(|| format!("{name} heard an event of team {team}"));
            return;
        }
        if self.teams[team].get(stream).is_none_or(|stream| number >= stream.sent) {
            self.faults.altered += 1;
            self.faults.tell(|| format!("{name} heard event {number} of stream {stream}, which nobody sent"));
            return;
        }
        self.heard += 1;
        let heard = listener.heard.entry(stream).or_insert_with(|| {
            // An end of what was sent before it was admitted may be heard; what was sent since must be.
            let floor = listener.floors.get(stream).copied().unwrap_or(0);
            Heard { next: number.min(floor), skipped: BTreeSet::new() }
        });
        if number >= heard.next {
            heard.skipped.extend(heard.next..number);
            heard.next = number + 1;
        } else if heard.skipped.remove(&number) {
            self.faults.reordered += 1;
            let next = heard.next;
            self.faults
                .tell(|| format!("{name} heard event {number} of stream {stream} after event {}", next - 1));
        } else {
            self.faults.duplicated += 1;
            self.faults.tell(|| format!("{name} heard event {number} of stream {stream} again"));
        }
    }

    /// What `listener` must have heard by the time that everything under way has arrived.
    #[must_use]
    pub fn due(&self, listener: &Listener) -> Due {
        Due(self.teams[listener.team].iter().map(|stream| stream.answered).collect())
    }

    /// How many deliveries of what is `due` have not come.
    #[must_use]
    pub fn missing(&self, listener: &Listener, due: &Due) -> u64 {
        self.missing_by_stream(listener, due).map(|(_, count)| count).sum()
    }

    fn missing_by_stream(&self, listener: &Listener, due: &Due) -> impl Iterator<Item = (StreamId, u64)> {
        let heard_of = |stream: StreamId| match listener.heard.get(&stream) {
            Some(heard) => (heard.next, Some(&heard.skipped)),
            None => (listener.floors.get(stream).copied().unwrap_or(0), None),
        };
        let book = &self.teams[listener.team];
        due.0.iter().enumerate().filter_map(move |(stream, &answered)| {
            let (next, skipped) = heard_of(stream);
            let refused = &book[stream].refused;
            let tail = (next..answered).filter(|number| !refused.contains(number)).count();
            let gaps = skipped.map_or(0, |skipped| skipped.difference(refused).count());
            (tail + gaps > 0).then_some((stream, (tail + gaps) as u64))
        })
    }

    /// The listener is gone, and had the time to hear all that was `due`. Where that cannot be told, because its connection was ended
    /// for it, `due` is `None`, and only gaps count.
    pub fn leave(&mut self, listener: &Listener, due: Option<&Due>) {
        let nothing = Due(vec![0; self.teams[listener.team].len()]);
        let missing: Vec<_> = self.missing_by_stream(listener, due.unwrap_or(&nothing)).collect();
        for (stream, count) in missing {
            self.faults.lost += count;
            let name = &listener.name;
            self.faults.tell(|| format!("{name} lost {count} events of stream {stream}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One team with one stream of which `sent` events were sent and acknowledged, heard by its own sender.
    fn books(sent: u64) -> (Books, StreamId) {
        let mut books = Books::new(2);
        let stream = books.open_stream(0);
        let mut sender = books.enter(0, "sender".into());
        for _ in 0..sent {
            let number = books.send(0, stream);
            books.hear(&mut sender, 0, stream, number);
            books.answer(&sender, stream, number, true);
        }
        (books, stream)
    }

    /// The faults after a listener that was admitted first has heard `order` of ten events, and left.
    fn after(order: &[u64]) -> Faults {
        let mut books = Books::new(2);
        let mut listener = books.enter(0, "listener".into());
        let stream = books.open_stream(0);
        let mut sender = books.enter(0, "sender".into());
        for _ in 0..10 {
            let number = books.send(0, stream);
            books.hear(&mut sender, 0, stream, number);
            books.answer(&sender, stream, number, true);
        }
        for &number in order {
            books.hear(&mut listener, 0, stream, number);
        }
        let due = books.due(&listener);
        books.leave(&listener, Some(&due));
        Faults { told: Vec::new(), ..books.faults }
    }

    #[test]
    fn all_in_order_is_clean() {
        assert!(after(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).is_clean());
    }

    #[test]
    fn what_never_comes_is_lost_wherever_it_is_missing() {
        for order in
            [&[1, 2, 3, 4, 5, 6, 7, 8, 9][..], &[0, 1, 2, 4, 5, 6, 7, 8, 9], &[0, 1, 2, 3, 4, 5, 6, 7, 8]]
        {
            assert_eq!(after(order), Faults { lost: 1, ..Faults::default() }, "{order:?}");
        }
        assert_eq!(after(&[]), Faults { lost: 10, ..Faults::default() });
    }

    #[test]
    fn what_comes_late_is_reordered_and_what_comes_again_is_a_duplicate() {
        let swapped = after(&[0, 2, 1, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(swapped, Faults { reordered: 1, ..Faults::default() });
        let twice = after(&[0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
        assert_eq!(twice, Faults { duplicated: 2, ..Faults::default() });
    }

    #[test]
    fn strangers_are_told_apart() {
        let (mut books, stream) = books(3);
        let mut elsewhere = books.enter(1, "elsewhere".into());
        books.hear(&mut elsewhere, 0, stream, 1);
        assert_eq!((books.faults.misrouted, books.faults.altered), (1, 0));
        let mut here = books.enter(0, "here".into());
        books.hear(&mut here, 0, stream, 3);
        books.hear(&mut here, 0, stream + 1, 0);
        assert_eq!((books.faults.misrouted, books.faults.altered), (1, 2));
    }

    #[test]
    fn who_comes_later_may_hear_the_end_of_what_was_under_way_but_without_gaps() {
        for (order, lost) in [(&[][..], 0), (&[3, 4], 0), (&[4], 0), (&[2, 4], 1), (&[6], 1), (&[5, 6], 0)] {
            let (mut books, stream) = books(5);
            let mut late = books.enter(0, "late".into());
            for _ in 0..2 {
                let _ = books.send(0, stream);
            }
            for &number in order {
                books.hear(&mut late, 0, stream, number);
            }
            let due = books.due(&late);
            books.leave(&late, Some(&due));
            assert_eq!(books.faults.lost, lost, "{order:?}");
        }
    }

    #[test]
    fn an_ending_connection_excuses_the_tail_but_no_gap() {
        let (mut books, stream) = books(0);
        let mut listener = books.enter(0, "listener".into());
        let mut sender = books.enter(0, "sender".into());
        for _ in 0..4 {
            let number = books.send(0, stream);
            books.hear(&mut sender, 0, stream, number);
            books.answer(&sender, stream, number, true);
        }
        books.hear(&mut listener, 0, stream, 0);
        books.hear(&mut listener, 0, stream, 2);
        books.leave(&listener, None);
        assert_eq!(books.faults.lost, 1);
    }

    #[test]
    fn refused_events_are_owed_to_nobody() {
        let (mut books, stream) = books(0);
        let listener = books.enter(0, "listener".into());
        let sender = books.enter(0, "sender".into());
        let number = books.send(0, stream);
        books.answer(&sender, stream, number, false);
        assert_eq!(books.missing(&listener, &books.due(&listener)), 0);
        assert_eq!((books.faults.refused, books.faults.bad_acks), (1, 0));
    }

    #[test]
    fn an_ack_before_its_echo_or_out_of_turn_is_a_fault() {
        let (mut books, stream) = books(1);
        let mut sender = books.enter(0, "sender".into());
        let (first, second) = (books.send(0, stream), books.send(0, stream));
        books.answer(&sender, stream, first, true);
        assert_eq!(books.faults.bad_acks, 1, "before the echo");
        books.hear(&mut sender, 0, stream, first);
        books.hear(&mut sender, 0, stream, second);
        books.answer(&sender, stream, second, true);
        assert_eq!(books.faults.bad_acks, 1);
        books.answer(&sender, stream, second, true);
        assert_eq!(books.faults.bad_acks, 2, "again");
    }
}
