//! How many lines about refusals one connection, and one address, may have in a second.
//!
//! One atomic integer each, so that the refusals of a flood take no lock, allocate nothing and touch nobody else's.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::peer::AddressKey;

/// Lines about refusals that one connection may have in a second. A client that errs has some; whoever has more says the
/// same thing again and again.
pub const MOST_PER_CONNECTION: u32 = 20;

/// Lines about refusals that all connections of one client address may have in a second, and those that come and go.
pub const MOST_PER_ADDRESS: u32 = 200;

/// Lines about HTTP requests that were turned away, which one client address may have in a second: they cost whoever sends them
/// next to nothing. They are counted apart, so that they take no line from what was refused to connections.
pub const MOST_HANDSHAKES_PER_ADDRESS: u32 = 20;

/// Such lines of all addresses together.
pub const MOST_HANDSHAKES: u32 = 200;

/// Addresses are counted in so many slots; those that fall into one share what it may.
const SLOTS: usize = 1024;

/// What was spent in the current second.
#[derive(Debug, Default)]
pub struct Allowance {
    /// The second, in the upper half, and how often it was asked in it.
    state: AtomicU64,
}

/// What became of one question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// One line more. In the second before it, which is over, so many had not been allowed.
    Allowed {
        /// Not allowed before, and not said yet.
        before: u32,
    },
    /// None more in this second.
    Exceeded,
}

impl Allowance {
    /// Asks for a line in this second, of which there are `most`.
    pub(super) fn spend(&self, second: u32, most: u32) -> Spent {
        let next = |state: u64| match split(state) {
            (of, count) if of == second => join(second, count.saturating_add(1)),
            _ => join(second, 1),
        };
        let before = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| Some(next(state)));
        // The closure always gives a value.
        let (of, count) = split(before.unwrap_or_else(|state| state));
        match of == second {
            true if count >= most => Spent::Exceeded,
            true => Spent::Allowed { before: 0 },
            false => Spent::Allowed { before: count.saturating_sub(most) },
        }
    }

    /// How many lines were not allowed to a connection in a second that is over by now, if nobody has said so yet.
    pub fn settle(&self, second: u32) -> u32 {
        let over = |state: u64| {
            let (of, count) = split(state);
            (of != second && count > MOST_PER_CONNECTION).then(|| join(of, 0))
        };
        let before = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, over);
        before.map_or(0, |state| split(state).1 - MOST_PER_CONNECTION)
    }
}

fn split(state: u64) -> (u32, u32) {
    ((state >> 32) as u32, state as u32)
}

fn join(second: u32, count: u32) -> u64 {
    u64::from(second) << 32 | u64::from(count)
}

/// The allowances of all client addresses.
pub(super) struct Addresses {
    slots: Box<[Allowance]>,
    /// So that nobody can choose an address that shares another's slot.
    hasher: RandomState,
    /// Lines that each may have in a second.
    most: u32,
    suppressed: AtomicU32,
}

impl Addresses {
    /// Nothing is spent of so many lines a second.
    pub fn new(most: u32) -> Self {
        Addresses {
            slots: (0..SLOTS).map(|_| Allowance::default()).collect(),
            hasher: RandomState::new(),
            most,
            suppressed: AtomicU32::new(0),
        }
    }

    /// Asks for one line about this address.
    pub fn spend(&self, address: IpAddr, second: u32) -> bool {
        let slot = self.hasher.hash_one(AddressKey::from(address)) as usize % SLOTS;
        let may = self.slots[slot].spend(second, self.most) != Spent::Exceeded;
        if !may {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// How many lines were not allowed since this was asked last.
    pub fn take_suppressed(&self) -> u32 {
        self.suppressed.swap(0, Ordering::Relaxed)
    }
}

/// The allowances of requests that were turned away before there was a connection's own.
pub(super) struct Handshakes {
    addresses: Addresses,
    all: Allowance,
    suppressed: AtomicU32,
}

impl Handshakes {
    /// Nothing is spent.
    pub fn new() -> Self {
        Handshakes {
            addresses: Addresses::new(MOST_HANDSHAKES_PER_ADDRESS),
            all: Allowance::default(),
            suppressed: AtomicU32::new(0),
        }
    }

    /// Asks for one line about a request of this address.
    pub fn spend(&self, address: IpAddr, second: u32) -> bool {
        if !self.addresses.spend(address, second) {
            return false;
        }
        let may = self.all.spend(second, MOST_HANDSHAKES) != Spent::Exceeded;
        if !may {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// How many lines were not allowed since this was asked last.
    pub fn take_suppressed(&self) -> u32 {
        self.addresses.take_suppressed().saturating_add(self.suppressed.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(allowance: &Allowance, second: u32, times: u32) -> usize {
        (0..times).filter(|_| allowance.spend(second, MOST_PER_CONNECTION) != Spent::Exceeded).count()
    }

    #[test]
    fn a_second_has_so_many_lines_and_the_next_one_says_what_was_left_out() {
        let allowance = Allowance::default();
        assert_eq!(asked(&allowance, 7, 1000), MOST_PER_CONNECTION as usize);
        assert_eq!(allowance.settle(7), 0, "the second is not over");
        assert_eq!(
            allowance.spend(8, MOST_PER_CONNECTION),
            Spent::Allowed { before: 1000 - MOST_PER_CONNECTION }
        );
        assert_eq!(asked(&allowance, 8, 1000), MOST_PER_CONNECTION as usize - 1);
        assert_eq!(allowance.settle(9), 1001 - MOST_PER_CONNECTION);
        assert_eq!(allowance.settle(9), 0, "it was said");
        assert_eq!(allowance.spend(10, MOST_PER_CONNECTION), Spent::Allowed { before: 0 });
    }

    #[test]
    fn a_second_that_was_kept_to_says_nothing() {
        let allowance = Allowance::default();
        assert_eq!(asked(&allowance, 0, MOST_PER_CONNECTION), MOST_PER_CONNECTION as usize);
        assert_eq!(allowance.settle(1), 0);
        assert_eq!(allowance.spend(1, MOST_PER_CONNECTION), Spent::Allowed { before: 0 });
    }

    #[test]
    fn an_address_has_its_own_and_what_is_left_out_is_counted_once() {
        let addresses = Addresses::new(MOST_PER_ADDRESS);
        let flooder = IpAddr::from([192, 0, 2, 1]);
        let allowed = (0..1000).filter(|_| addresses.spend(flooder, 1)).count();
        assert_eq!(allowed, MOST_PER_ADDRESS as usize);
        assert_eq!(addresses.take_suppressed(), 1000 - MOST_PER_ADDRESS);
        assert_eq!(addresses.take_suppressed(), 0);
        // At most one of so few others shares its slot.
        let others = (2..12).filter(|last| addresses.spend(IpAddr::from([192, 0, 2, *last]), 1)).count();
        assert!(others >= 8, "{others}");
        assert!(addresses.spend(flooder, 2));
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let addresses = Addresses::new(MOST_PER_ADDRESS);
        let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let allowed = (0..1000).filter(|last| addresses.spend(address(*last), 1)).count();
        assert_eq!(allowed, MOST_PER_ADDRESS as usize);
    }

    #[test]
    fn requests_that_were_turned_away_are_few_of_one_address_and_of_all() {
        let handshakes = Handshakes::new();
        let of = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, last, 0, 0, 0, 1]);
        let asked = |last, times, second| (0..times).filter(|_| handshakes.spend(of(last), second)).count();
        assert_eq!(asked(0, 1000, 1), MOST_HANDSHAKES_PER_ADDRESS as usize);
        assert_eq!(handshakes.take_suppressed(), 1000 - MOST_HANDSHAKES_PER_ADDRESS);
        let others: usize = (1..1000).map(|last| asked(last, 1, 1)).sum();
        assert_eq!(others, (MOST_HANDSHAKES - MOST_HANDSHAKES_PER_ADDRESS) as usize);
        assert_eq!(handshakes.take_suppressed() as usize, 999 - others);
        assert_eq!(asked(0, 1, 2), 1);
    }
}
