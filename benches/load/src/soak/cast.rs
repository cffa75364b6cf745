//! Who the honest are: their teams, addresses, transports and habits.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::session::Transport;

/// Teams of [`SMALL_MEMBERS`].
pub const SMALL_TEAMS: usize = 20;
const SMALL_MEMBERS: usize = 10;
/// The team that is large.
pub const LARGE_TEAM: usize = SMALL_TEAMS;
const LARGE_MEMBERS: usize = 200;
/// The team that is busy, which those who stop reading join.
pub const BUSY_TEAM: usize = SMALL_TEAMS + 1;
const BUSY_MEMBERS: usize = 12;
/// Teams with honest members.
pub const HONEST_TEAMS: usize = SMALL_TEAMS + 2;

/// Members of the large team who share an address, as an office does.
const OFFICE: usize = 20;

/// How long an honest client stays between two absences, and how long it is away, on average.
#[derive(Debug, Clone, Copy)]
pub struct Absences {
    /// Time connected.
    pub stay: Duration,
    /// Time away.
    pub away: Duration,
}

/// One honest client.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its user name.
    pub user: String,
    /// Its team.
    pub team: usize,
    /// Where it connects from.
    pub from: Ipv4Addr,
    /// How it speaks.
    pub transport: Transport,
    /// The mean time between two of its events.
    pub pace: Duration,
    /// Bytes of its events' note.
    pub padding: usize,
    /// Whether it goes away and returns.
    pub absences: Option<Absences>,
    /// How long its tokens are good, if they expire while it is there. It takes part in the mix only.
    pub lifetime: Option<Duration>,
}

impl Role {
    /// Whether it is there whenever the mix rests.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.lifetime.is_none()
    }
}

/// All of the honest.
#[must_use]
pub fn honest() -> Vec<Role> {
    let small = (0..SMALL_TEAMS).flat_map(|team| (0..=SMALL_MEMBERS).map(move |member| small(team, member)));
    let large = (0..LARGE_MEMBERS + LARGE_MEMBERS / 40).map(large);
    let busy = (0..BUSY_MEMBERS).map(busy);
    small.chain(large).chain(busy).collect()
}

/// A member of a small team; the one past its last is the one whose tokens expire.
fn small(team: usize, member: usize) -> Role {
    let transport = match member % 5 {
        3 => Transport::Polling,
        4 => Transport::Upgrade,
        _ => Transport::WebSocket,
    };
    Role {
        user: format!("small-{team}-{member}"),
        team,
        from: Ipv4Addr::new(127, 1, 0, octet(team + 1)),
        // The one whose tokens expire differs in transport from team to team.
        transport: if member == SMALL_MEMBERS { transport_of(team) } else { transport },
        pace: Duration::from_secs(4),
        padding: 40,
        absences: (member % 4 == 3).then_some(Absences { stay: seconds(9), away: seconds(2) }),
        lifetime: (member == SMALL_MEMBERS).then_some(seconds(6)),
    }
}

fn large(member: usize) -> Role {
    Role {
        user: format!("large-{member}"),
        team: LARGE_TEAM,
        from: Ipv4Addr::new(127, 1, 1, octet(member / OFFICE + 1)),
        transport: if member % 10 == 9 { transport_of(member / 10) } else { Transport::WebSocket },
        pace: Duration::from_secs(25),
        padding: 120,
        absences: (member % 8 == 7).then_some(Absences { stay: seconds(20), away: seconds(3) }),
        lifetime: (member >= LARGE_MEMBERS).then_some(seconds(8)),
    }
}

fn busy(member: usize) -> Role {
    Role {
        user: format!("busy-{member}"),
        team: BUSY_TEAM,
        from: Ipv4Addr::new(127, 1, 2, 1),
        // None polls: on a machine that does other work, a client may pause for longer than this team takes to fill a queue.
        transport: Transport::WebSocket,
        pace: Duration::from_millis(330),
        padding: 1500,
        absences: (member % 6 == 5).then_some(Absences { stay: seconds(12), away: seconds(1) }),
        lifetime: None,
    }
}

fn transport_of(number: usize) -> Transport {
    [Transport::WebSocket, Transport::Polling, Transport::Upgrade][number % 3]
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn octet(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_habit_is_played_and_no_user_twice() {
        let cast = honest();
        let users: std::collections::BTreeSet<_> = cast.iter().map(|role| &role.user).collect();
        assert_eq!(users.len(), cast.len());
        assert!(cast.iter().all(|role| role.team < HONEST_TEAMS));
        for transport in [Transport::WebSocket, Transport::Polling, Transport::Upgrade] {
            let plays = |role: &&Role| role.transport == transport;
            assert!(cast.iter().filter(plays).any(|role| role.absences.is_none() && role.is_lasting()));
            assert!(cast.iter().filter(plays).any(|role| role.absences.is_some()), "{transport:?}");
            assert!(cast.iter().filter(plays).any(|role| !role.is_lasting()), "{transport:?}");
        }
        assert_eq!(cast.iter().filter(|role| role.is_lasting()).count(), 20 * 10 + 200 + 12);
    }
}
