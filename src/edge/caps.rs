//! How many sessions there may be, and how fast new ones may come: in total and by client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::{Mutex, RwLock};

use crate::config::policy::{ConnectionLimits, Rate};
use crate::peer::AddressKey;
use crate::reject::Code;

/// A cap has no time at which it ends; a client that was turned away by one comes back after this long.
const CAP_RETRY: Duration = Duration::from_secs(5);

/// Those who are turned away in one moment are told to come back over this many seconds, since `Retry-After` has no
/// fractions: told the same, they would make the same crowd again.
const RETRY_SPREAD: u8 = 4;

/// Addresses whose handshake rate is remembered. Above it the whole process's rate is what holds: an attacker with this
/// many addresses is not held by a limit per address.
const MAX_TRACKED_ADDRESSES: usize = 100_000;

/// Why a handshake is turned away, to come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnedAway {
    /// [`Code::TooManyRequests`] or [`Code::Full`].
    pub code: Code,
    /// For `Retry-After`.
    pub retry_after: Duration,
}

/// TCP connections for each session that may be: a client that upgrades has two requests and its WebSocket open at once.
const CONNECTIONS_PER_SESSION: u32 = 3;

/// The caps of one process.
pub struct Caps {
    rates: RwLock<Rates>,
    sessions: Arc<Places>,
    connections: Arc<Places>,
    /// Connections that the process can have open.
    most: u32,
}

/// How fast new sessions may come, and what was spent of that.
struct Rates {
    limits: (Rate, Rate),
    total: DefaultDirectRateLimiter,
    per_ip: DefaultKeyedRateLimiter<AddressKey>,
}

impl Rates {
    fn new(limits: &ConnectionLimits) -> Self {
        Rates {
            limits: (limits.handshakes_total, limits.handshakes_per_ip),
            total: RateLimiter::direct(quota(limits.handshakes_total)),
            per_ip: RateLimiter::keyed(quota(limits.handshakes_per_ip)),
        }
    }
}

/// Places, in total and for each address.
#[derive(Default)]
struct Places(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// How many there are, in total and for one address.
    most: (u32, u32),
    total: u32,
    by_address: HashMap<AddressKey, u32>,
}

/// One place; dropping it frees it.
pub struct Slot {
    places: Arc<Places>,
    address: AddressKey,
}

impl Caps {
    /// All places free. `descriptors` is how many connections the process can have open, where that is limited: the one
    /// after them is turned away like any that is too many, instead of failing in the kernel for everybody.
    pub fn new(limits: &ConnectionLimits, descriptors: Option<u64>) -> Arc<Self> {
        let most = descriptors.map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX));
        let rates = RwLock::new(Rates::new(limits));
        let caps = Caps { rates, sessions: Arc::default(), connections: Arc::default(), most };
        caps.set_places(limits);
        Arc::new(caps)
    }

    /// From now on these limits hold. Whoever has a place keeps it, above the new caps too; what was spent of rates that are
    /// the same stays spent.
    pub fn set(&self, limits: &ConnectionLimits) {
        self.set_places(limits);
        if self.rates.read().limits != (limits.handshakes_total, limits.handshakes_per_ip) {
            *self.rates.write() = Rates::new(limits);
        }
    }

    fn set_places(&self, limits: &ConnectionLimits) {
        let connections = |sessions: u32| sessions.saturating_mul(CONNECTIONS_PER_SESSION);
        self.sessions.0.lock().most = (limits.total, limits.per_ip);
        let total = connections(limits.total).min(self.most);
        self.connections.0.lock().most = (total, connections(limits.per_ip));
    }

    /// Takes a place for a new session from `address`, or says when to come back.
    ///
    /// The address's own rate is asked first: a client that is over it must not use up the process's. A trusted proxy
    /// that does not say whom it speaks for has neither rate nor cap of its own (`is_proxy`): it may be everybody.
    pub fn take(&self, address: IpAddr, is_proxy: bool) -> Result<Slot, TurnedAway> {
        let address = AddressKey::from(address);
        let rates = self.rates.read();
        if !is_proxy && rates.per_ip.len() < MAX_TRACKED_ADDRESSES {
            rates.per_ip.check_key(&address).map_err(too_fast)?;
        }
        let slot = self.sessions.take(address, is_proxy);
        let slot = slot.map_err(|code| TurnedAway { code, retry_after: CAP_RETRY + jitter() })?;
        rates.total.check().map_err(too_fast)?;
        Ok(slot)
    }

    /// Takes a place for a TCP connection from `address`; `None` when there are too many of them, whatever they carry.
    pub fn connection(&self, address: IpAddr, is_proxy: bool) -> Option<Slot> {
        self.connections.take(AddressKey::from(address), is_proxy).ok()
    }

    /// Open TCP connections.
    pub fn open_connections(&self) -> u32 {
        self.connections.0.lock().total
    }

    /// Addresses that hold a connection or a session.
    pub fn addresses(&self) -> usize {
        self.connections.0.lock().by_address.len().max(self.sessions.0.lock().by_address.len())
    }

    /// Forgets addresses whose rate has recovered.
    pub fn sweep(&self) {
        let rates = self.rates.read();
        rates.per_ip.retain_recent();
        rates.per_ip.shrink_to_fit();
    }
}

impl Places {
    fn take(self: &Arc<Self>, address: AddressKey, is_proxy: bool) -> Result<Slot, Code> {
        let mut held = self.0.lock();
        let (total, per_ip) = held.most;
        if !is_proxy && held.by_address.get(&address).is_some_and(|count| *count >= per_ip) {
            return Err(Code::TooManyRequests);
        }
        if held.total >= total {
            return Err(Code::Full);
        }
        held.total += 1;
        *held.by_address.entry(address).or_default() += 1;
        Ok(Slot { places: self.clone(), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.places.0.lock();
        held.total = held.total.saturating_sub(1);
        if let Some(count) = held.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.by_address.remove(&self.address);
            }
        }
    }
}

fn too_fast(until: governor::NotUntil<<DefaultClock as Clock>::Instant>) -> TurnedAway {
    TurnedAway {
        code: Code::TooManyRequests,
        retry_after: until.wait_time_from(DefaultClock::default().now()) + jitter(),
    }
}

/// What a time to come back is varied by: whole seconds, less than [`RETRY_SPREAD`].
pub(super) fn jitter() -> Duration {
    let mut random = [0_u8; 1];
    // Without randomness it is just not varied.
    let _ = getrandom::fill(&mut random);
    Duration::from_secs(u64::from(random[0] % RETRY_SPREAD))
}

/// The same bucket in governor's terms: `burst` cells, one more every `per / count`.
fn quota(rate: Rate) -> Quota {
    let refill = rate.per / rate.count.get();
    Quota::with_period(refill.max(Duration::from_nanos(1)))
        .unwrap_or(Quota::per_second(NonZeroU32::MIN))
        .allow_burst(rate.burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(total: u32, per_ip: u32, rate: u32) -> Arc<Caps> {
        caps_of(total, per_ip, rate, None)
    }

    fn caps_of(total: u32, per_ip: u32, rate: u32, descriptors: Option<u64>) -> Arc<Caps> {
        let rate = Rate {
            count: NonZeroU32::new(rate).unwrap(),
            per: Duration::from_secs(3600),
            burst: NonZeroU32::new(rate).unwrap(),
        };
        let limits = ConnectionLimits {
            total,
            per_ip,
            per_user: 1,
            handshakes_per_ip: rate,
            handshakes_total: Rate { per: Duration::from_secs(1), ..rate },
        };
        Caps::new(&limits, descriptors)
    }

    fn code(result: Result<Slot, TurnedAway>) -> Option<Code> {
        result.err().map(|turned_away| turned_away.code)
    }

    #[test]
    fn places_are_freed_by_drop() {
        let caps = caps(2, 2, 100);
        let (a, b) = ([1, 1, 1, 1].into(), [2, 2, 2, 2].into());
        let first = caps.take(a, false).unwrap();
        let _second = caps.take(b, false).unwrap();
        assert_eq!(code(caps.take(a, false)), Some(Code::Full));
        drop(first);
        assert_eq!(code(caps.take(a, false)), None);
        assert_eq!(caps.sessions.0.lock().total, 1);
    }

    #[test]
    fn one_address_is_held_to_its_own_cap_and_rate() {
        let caps = caps(100, 2, 3);
        let (a, b): (IpAddr, IpAddr) = ([1, 1, 1, 1].into(), [2, 2, 2, 2].into());
        let held = [caps.take(a, false).unwrap(), caps.take(a, false).unwrap()];
        assert_eq!(code(caps.take(a, false)), Some(Code::TooManyRequests));
        drop(held);
        let late = caps.take(a, false).map(drop).unwrap_err();
        assert_eq!(late.code, Code::TooManyRequests);
        assert!(late.retry_after > Duration::from_secs(60));
        assert_eq!(code(caps.take(b, false)), None);
    }

    #[test]
    fn a_proxy_is_held_by_the_totals_only() {
        let caps = caps(2, 1, 100);
        let proxy: IpAddr = [10, 0, 0, 1].into();
        let _held = [caps.take(proxy, true).unwrap(), caps.take(proxy, true).unwrap()];
        assert_eq!(code(caps.take(proxy, true)), Some(Code::Full));
    }

    #[test]
    fn connections_are_capped_whatever_they_carry() {
        let caps = caps(100, 1, 100);
        let a: IpAddr = [1, 1, 1, 1].into();
        let held: Vec<_> = (0..CONNECTIONS_PER_SESSION).map(|_| caps.connection(a, false).unwrap()).collect();
        assert!(caps.connection(a, false).is_none());
        assert!(caps.connection(a, true).is_some());
        drop(held);
        assert!(caps.connection(a, false).is_some());
    }

    #[test]
    fn connections_end_with_the_descriptors() {
        let caps = caps_of(100, 100, 100, Some(2));
        let connect = |last| caps.connection([1, 1, 1, last].into(), false);
        let held = [connect(1).unwrap(), connect(2).unwrap()];
        assert!(connect(3).is_none());
        assert_eq!((caps.open_connections(), caps.addresses()), (2, 2));
        drop(held);
        assert_eq!((caps.open_connections(), caps.addresses()), (0, 0));
    }

    #[test]
    fn ipv6_counts_by_network() {
        let caps = caps(100, 1, 100);
        let _held = caps.take("2001:db8::1".parse().unwrap(), false).unwrap();
        assert_eq!(code(caps.take("2001:db8::2".parse().unwrap(), false)), Some(Code::TooManyRequests));
        assert_eq!(code(caps.take("2001:db8:0:1::1".parse().unwrap(), false)), None);
    }
}
