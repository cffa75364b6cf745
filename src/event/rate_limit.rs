//! Rates: token buckets for a socket, its user, its address and, once the route is known, its teams.

mod bucket;
mod registry;

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;

use crate::config::policy::{EventLimit, EventLimits, Mode, OnLimit, Rate};
use crate::message::Event;
use crate::peer::Peer;
use crate::reject::{Code, Reject};

use self::bucket::Bucket;
use self::registry::Registry;
use super::pipeline::{Context, Stage};

/// How many users, addresses or teams are remembered each. Three times the connections that a process serves by default,
/// and about 8 MB at worst for each of the three.
const REMEMBERED: usize = 1 << 16;

/// How many times its rate, and its burst, a socket may go over its sender's rates with what is still looked at so that it
/// can wait (`limits.events.on_limit`). What is beyond that is refused before it is read: who floods gets no more work done.
const LOOKED_AT: u32 = 4;

/// The longest that something over a rate may have to wait; what would wait longer is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The bits of an IPv6 address that name one customer's network; the rest is theirs to vary.
const IPV6_NETWORK: u32 = 64;

/// Refuses a sender whose socket, user or address has used up its rate, in this order.
///
/// A token taken from an earlier bucket stays taken when a later one refuses.
#[derive(Clone)]
pub struct RateLimit {
    socket: Limit,
    user: Limit,
    address: Limit,
    /// How much over the first two is looked at, where that may wait.
    looked_at: Option<Quota>,
}

impl RateLimit {
    /// The stage's name.
    pub(super) const NAME: &'static str = "rate_limit";

    /// Takes the rates of `limits.events`.
    pub fn new(limits: &EventLimits) -> Self {
        RateLimit {
            socket: Limit::new(limits.per_socket, "limits.events.per_socket"),
            user: Limit::new(limits.per_user, "limits.events.per_user"),
            address: Limit::new(limits.per_address, "limits.events.per_address"),
            looked_at: (limits.on_limit == OnLimit::Coalesce).then(|| looked_at(limits.per_socket.rate)),
        }
    }

    /// The two whose events are the sender's own.
    fn own<'a>(&'a self, buckets: &'a Buckets) -> impl Iterator<Item = (&'a Limit, &'a Bucket)> + Clone {
        let user = buckets.user.as_deref().map(|user| (&self.user, user));
        std::iter::once((&self.socket, &buckets.socket)).chain(user)
    }

    /// The limits that a sender's events count against, with its buckets, in their order.
    fn each<'a>(&'a self, buckets: &'a Buckets) -> impl Iterator<Item = (&'a Limit, &'a Bucket)> {
        self.own(buckets).chain([(&self.address, &*buckets.address)])
    }

    /// Takes a token from each of the sender's buckets; `now` in nanoseconds since the epoch.
    pub(super) fn take(&self, buckets: &Buckets, now: u64) -> Result<(), Reject> {
        for (limit, bucket) in self.each(buckets) {
            limit.take(bucket, now).or_else(|reject| limit.judge(reject, drop))?;
        }
        Ok(())
    }

    /// Whether an event that its sender's own rates refuse is looked at all the same, because it may wait. For how long is
    /// known later, since one whose equal waits already waits no longer than that.
    fn may_wait(&self, buckets: &Buckets, now: u64) -> bool {
        self.looked_at.is_some_and(|quota| buckets.looked_at.take(quota, now).is_ok())
    }

    /// Whether there is a token of each of the sender's own rates soon enough.
    pub(super) fn is_soon(&self, buckets: &Buckets, now: u64) -> bool {
        self.own(buckets).all(|(limit, bucket)| limit.wait(bucket, now) <= LONGEST_WAIT)
    }

    /// Takes the next token of each in advance. Returns how long after `now` there is one of all.
    pub(super) fn take_in_advance(&self, buckets: &Buckets, now: u64) -> Duration {
        let waits = self.own(buckets).map(|(limit, bucket)| limit.take_in_advance(bucket, now));
        waits.max().unwrap_or_default()
    }

    /// What is left for the sender of these buckets.
    pub(super) fn budget(&self, buckets: &Buckets, now: u64) -> Vec<Budget> {
        let each = self.each(buckets).filter(|(limit, _)| limit.mode != Mode::Off);
        each.map(|(limit, bucket)| limit.budget(bucket, None, now)).collect()
    }
}

impl Stage for RateLimit {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn judges_sender(&self) -> bool {
        true
    }

    fn check<'e>(&self, event: &mut Event<'e>, cx: &Context<'e>) -> Result<(), Reject> {
        let buckets = cx.sender.buckets();
        for (at, (limit, bucket)) in self.own(buckets).enumerate() {
            let Err(reject) = self.pass(limit, bucket, event, cx) else { continue };
            if !self.may_wait(buckets, cx.elapsed) {
                return Err(reject);
            }
            // What waits is charged for when it is known that it does.
            self.own(buckets).take(at).for_each(|(limit, bucket)| limit.give_back(bucket));
            cx.note(limit.rule, || "over the rate, so it waits and is folded into a later equal one");
            event.set_over(reject);
            break;
        }
        self.pass(&self.address, &buckets.address, event, cx)
    }
}

impl RateLimit {
    /// Has one limit judge an event.
    fn pass(
        &self,
        limit: &Limit,
        bucket: &Bucket,
        event: &mut Event<'_>,
        cx: &Context<'_>,
    ) -> Result<(), Reject> {
        match limit.take(bucket, cx.elapsed) {
            Ok(()) => cx.note(limit.rule, || limit.passed()),
            Err(reject) => limit.judge(reject, |reject| cx.would_refuse(event, Self::NAME, reject))?,
        }
        Ok(())
    }
}

fn looked_at(rate: Rate) -> Quota {
    let times = |count: std::num::NonZeroU32| {
        count.saturating_mul(std::num::NonZeroU32::MIN.saturating_add(LOOKED_AT - 1))
    };
    bucket::quota(Rate { count: times(rate.count), per: rate.per, burst: times(rate.burst) })
}

/// The teams' own limit, which counts events into each team, whoever sends them.
pub(super) struct TeamLimit(Limit);

impl TeamLimit {
    /// What refusals of this limit are counted under.
    pub const NAME: &'static str = "team_limit";

    /// Takes the rate of `limits.events`.
    pub fn new(limits: &EventLimits) -> Self {
        TeamLimit(Limit::new(limits.per_team, "limits.events.per_team"))
    }

    /// Takes a token from every team of `teams`, which are places in the peer's list, or from none.
    pub fn check<'e>(&self, event: &mut Event<'e>, cx: &Context<'e>, teams: &[usize]) -> Result<(), Reject> {
        match self.take(cx.sender.buckets(), teams, cx.elapsed) {
            Ok(()) => cx.note(self.0.rule, || self.0.passed()),
            Err(reject) => self.0.judge(reject, |reject| cx.would_refuse(event, Self::NAME, reject))?,
        }
        Ok(())
    }

    /// The same for an event that is to wait.
    pub fn charge(
        &self,
        buckets: &Buckets,
        teams: &[usize],
        now: u64,
        observed: impl FnOnce(Reject),
    ) -> Result<(), Reject> {
        self.take(buckets, teams, now).or_else(|reject| self.0.judge(reject, observed))
    }

    /// Undoes what [`TeamLimit::check`] or [`TeamLimit::charge`] took, for an event that is not relayed after all.
    pub fn give_back(&self, buckets: &Buckets, teams: &[usize]) {
        teams.iter().filter_map(|&team| buckets.teams.get(team)).for_each(|bucket| self.0.give_back(bucket));
    }

    fn take(&self, buckets: &Buckets, teams: &[usize], now: u64) -> Result<(), Reject> {
        let buckets = || teams.iter().filter_map(|&team| buckets.teams.get(team));
        for (taken, bucket) in buckets().enumerate() {
            if let Err(reject) = self.0.take(bucket, now) {
                buckets().take(taken).for_each(|bucket| self.0.give_back(bucket));
                return Err(reject);
            }
        }
        Ok(())
    }

    /// What is left for each of these teams, whose buckets are the sender's.
    pub fn budget(&self, teams: &[Arc<str>], buckets: &Buckets, now: u64) -> Vec<Budget> {
        let each = teams.iter().zip(&buckets.teams).filter(|_| self.0.mode != Mode::Off);
        each.map(|(team, bucket)| self.0.budget(bucket, Some(team), now)).collect()
    }
}

/// What is left of one rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The key that sets the rate.
    pub rule: &'static str,
    /// The team whose rate it is, where it is a team's.
    pub team: Option<Arc<str>>,
    /// Events that may come at once.
    pub left: u32,
    /// Events that may come at once when nothing has been used up.
    pub burst: u32,
}

/// One rate and the key under which the configuration sets it.
#[derive(Clone)]
struct Limit {
    quota: Quota,
    rule: &'static str,
    mode: Mode,
}

impl Limit {
    fn new(limit: EventLimit, rule: &'static str) -> Self {
        Limit { quota: bucket::quota(limit.rate), rule, mode: limit.mode }
    }

    fn take(&self, bucket: &Bucket, now: u64) -> Result<(), Reject> {
        match self.mode {
            Mode::Off => Ok(()),
            _ => bucket.take(self.quota, now).map_err(|wait| self.refusal(wait)),
        }
    }

    /// Why an event passes it, in words.
    fn passed(&self) -> &'static str {
        if self.mode == Mode::Off { "it is off" } else { "within the rate" }
    }

    /// What follows from being over it.
    #[cold]
    fn judge(&self, reject: Reject, observed: impl FnOnce(Reject)) -> Result<(), Reject> {
        if self.mode == Mode::Enforce {
            return Err(reject);
        }
        observed(reject);
        Ok(())
    }

    /// How long after `now` an event could pass it.
    fn wait(&self, bucket: &Bucket, now: u64) -> Duration {
        if self.mode == Mode::Enforce { bucket.wait(self.quota, now) } else { Duration::ZERO }
    }

    /// Takes its next token in advance. Returns how long after `now` that is.
    fn take_in_advance(&self, bucket: &Bucket, now: u64) -> Duration {
        match self.mode {
            Mode::Enforce => bucket.take_in_advance(self.quota, now),
            // What is over it passes.
            Mode::Observe => bucket.take(self.quota, now).map_or(Duration::ZERO, |()| Duration::ZERO),
            Mode::Off => Duration::ZERO,
        }
    }

    /// Undoes [`Limit::take`].
    fn give_back(&self, bucket: &Bucket) {
        if self.mode != Mode::Off {
            bucket.give_back(self.quota);
        }
    }

    fn budget(&self, bucket: &Bucket, team: Option<&Arc<str>>, now: u64) -> Budget {
        let burst = self.quota.burst_size().get();
        Budget { rule: self.rule, team: team.cloned(), left: bucket.left(self.quota, now), burst }
    }

    #[cold]
    fn refusal(&self, wait: Duration) -> Reject {
        Reject::new(Code::RateLimited, "too many events; send again after the given time")
            .rule(self.rule)
            .retry_after(wait)
    }
}

/// One sender's buckets: its own, and those it shares, found once so that an event looks nothing up.
pub(super) struct Buckets {
    socket: Bucket,
    /// Peers without a subject have none.
    user: Option<Arc<Bucket>>,
    address: Arc<Bucket>,
    /// In the order of the peer's teams.
    teams: Box<[Arc<Bucket>]>,
    /// What is over the sender's own rates and looked at all the same.
    looked_at: Bucket,
}

impl Buckets {
    /// Takes the shared ones from `other`, and its own too where its rate has `changed`.
    pub fn take_over(&mut self, other: Buckets, changed: bool) {
        let Buckets { socket, user, address, teams, looked_at } = other;
        (self.user, self.address, self.teams) = (user, address, teams);
        if changed {
            (self.socket, self.looked_at) = (socket, looked_at);
        }
    }
}

/// The buckets that senders share.
pub(super) struct SharedBuckets {
    users: Arc<Registry<Arc<str>>>,
    addresses: Arc<Registry<IpAddr>>,
    teams: Arc<Registry<Arc<str>>>,
}

/// How many shared buckets are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// For users, by subject.
    pub users: usize,
    /// For client addresses (IPv6: networks of 64 bits).
    pub addresses: usize,
    /// For teams.
    pub teams: usize,
}

impl SharedBuckets {
    /// None yet.
    pub fn new() -> Self {
        SharedBuckets { users: registry(), addresses: registry(), teams: registry() }
    }

    /// Those that hold when other limits take the place of `before`. What was spent of a rate that is the same stays spent;
    /// of another rate nothing is, since what a bucket holds means nothing under it.
    pub fn successor(&self, before: &EventLimits, after: &EventLimits) -> Self {
        let same = |limit: fn(&EventLimits) -> EventLimit| limit(before).rate == limit(after).rate;
        SharedBuckets {
            users: kept(&self.users, same(|limits| limits.per_user)),
            addresses: kept(&self.addresses, same(|limits| limits.per_address)),
            teams: kept(&self.teams, same(|limits| limits.per_team)),
        }
    }

    /// The buckets of `peer`, with a new one for its socket.
    pub fn of(&self, peer: &Peer, now: u64) -> Buckets {
        Buckets {
            socket: Bucket::default(),
            user: peer.subject.as_ref().map(|subject| self.users.get(subject, now)),
            address: self.addresses.get(&network(peer.address), now),
            teams: peer.teams.iter().map(|team| self.teams.get(team, now)).collect(),
            looked_at: Bucket::default(),
        }
    }

    /// Forgets what nobody uses and what has filled again.
    pub fn sweep(&self, now: u64) {
        self.users.sweep(now);
        self.addresses.sweep(now);
        self.teams.sweep(now);
    }

    /// How many there are.
    pub fn remembered(&self) -> Remembered {
        Remembered { users: self.users.len(), addresses: self.addresses.len(), teams: self.teams.len() }
    }
}

fn registry<K: Clone + Eq + Hash>() -> Arc<Registry<K>> {
    Arc::new(Registry::new(REMEMBERED))
}

fn kept<K: Clone + Eq + Hash>(registry: &Arc<Registry<K>>, keep: bool) -> Arc<Registry<K>> {
    if keep { registry.clone() } else { self::registry() }
}

/// What counts as one client address: an IPv4 address, also when written as IPv6, or an IPv6 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> IPV6_NETWORK << IPV6_NETWORK)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::fixtures::{World, peer, per_second};
    use crate::event::trace::Trace;
    use crate::event::{Decision, EventId, Now, Sender};
    use crate::relay::later::Place;

    /// What one event at `now` meets: nothing, or the rule that refused it and the wait in milliseconds.
    fn send(world: &World, sender: &Sender, now: Now) -> Option<(String, u128)> {
        let refused = world.pipeline.decide(sender, r#"["any"]"#, EventId::next(), now).err()?;
        assert_eq!(refused.reject.code, Code::RateLimited);
        Some((refused.reject.rule.unwrap().to_string(), refused.reject.retry_after.unwrap().as_millis()))
    }

    fn from(subject: Option<&str>, address: &str) -> Peer {
        let mut peer = peer(&["red"]);
        peer.subject = subject.map(Into::into);
        peer.address = address.parse().unwrap();
        peer
    }

    #[test]
    fn each_socket_has_its_rate() {
        let world = World::new(|policy| policy.limits.events.per_socket = per_second(2));
        let other = world.sender(peer(&["red"]));
        assert_eq!(send(&world, &world.sender, world.now), None);
        assert_eq!(send(&world, &world.sender, world.now), None);
        let rule = "limits.events.per_socket".to_owned();
        assert_eq!(send(&world, &world.sender, world.now), Some((rule, 500)));
        assert_eq!(send(&world, &other, world.now), None);
        assert_eq!(send(&world, &world.sender, world.now + Duration::from_millis(500)), None);
    }

    #[test]
    fn sockets_of_one_user_share_a_rate() {
        let world = World::new(|policy| policy.limits.events.per_user = per_second(2));
        let senders =
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| world.sender(from(Some("ada"), address)));
        let refused = senders.map(|sender| send(&world, &sender, world.now));
        assert_eq!(refused, [None, None, Some(("limits.events.per_user".into(), 500))]);
        let bob = world.sender(from(Some("bob"), "192.0.2.1"));
        assert_eq!(send(&world, &bob, world.now), None);
    }

    #[test]
    fn peers_without_a_subject_have_no_user_rate() {
        let world = World::new(|policy| policy.limits.events.per_user = per_second(1));
        for _ in 0..3 {
            let mut nobody = from(None, "192.0.2.1");
            nobody.standing = crate::peer::Standing::Open;
            assert_eq!(send(&world, &world.sender(nobody), world.now), None);
        }
    }

    #[test]
    fn sockets_of_one_address_share_a_rate() {
        let world = World::new(|policy| policy.limits.events.per_address = per_second(1));
        let rule = || Some(("limits.events.per_address".to_owned(), 1000));
        for (first, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:1:2:3", "2001:db8:0:1::1"),
        ] {
            let outcome = [first, same, other]
                .map(|address| send(&world, &world.sender(from(None, address)), world.now));
            assert_eq!(outcome, [None, rule(), None], "{first}");
        }
    }

    #[test]
    fn a_refusal_by_the_socket_spends_nothing_of_the_user() {
        let world = World::new(|policy| {
            policy.limits.events.per_socket = per_second(1);
            policy.limits.events.per_user = per_second(2);
        });
        for _ in 0..10 {
            send(&world, &world.sender, world.now);
        }
        assert_eq!(send(&world, &world.sender(from(Some("ada"), "192.0.2.9")), world.now), None);
    }

    #[test]
    fn reconnecting_does_not_renew_a_budget() {
        let world = World::new(|policy| policy.limits.events.per_user = per_second(1));
        for attempt in 0..5 {
            let sender = world.sender(from(Some("eve"), &format!("192.0.2.{attempt}")));
            assert_eq!(send(&world, &sender, world.now).is_none(), attempt == 0);
            drop(sender);
            world.pipeline.sweep(world.now);
        }
        let later = world.now + Duration::from_secs(1);
        assert_eq!(world.pipeline.remembered().users, 2);
        world.pipeline.sweep(later);
        // The world's own sender still holds one of each.
        assert_eq!(world.pipeline.remembered(), Remembered { users: 1, addresses: 1, teams: 1 });
        assert_eq!(send(&world, &world.sender(from(Some("eve"), "192.0.2.1")), later), None);
    }

    #[test]
    fn another_policy_keeps_what_was_spent_of_the_same_rates() {
        let limits = |user: u32, socket: u32| {
            move |policy: &mut crate::config::policy::Policy| {
                policy.limits.events.per_user = per_second(user);
                policy.limits.events.per_socket = per_second(socket);
            }
        };
        let World { pipeline, mut sender, now } = World::new(limits(1, 5));
        let rule = |pipeline: &crate::event::Pipeline, sender: &Sender| {
            let refused = pipeline.decide(sender, r#"["any"]"#, EventId::next(), now).err()?;
            Some(refused.reject.rule.unwrap().to_string())
        };
        let (user, socket) =
            (Some("limits.events.per_user".to_owned()), Some("limits.events.per_socket".to_owned()));
        assert_eq!([(); 2].map(|()| rule(&pipeline, &sender)), [None, user.clone()]);
        let next = |before: &crate::event::Pipeline, number, edit| {
            let policy = Arc::new(crate::event::fixtures::policy(edit));
            before.successor(policy, number, &crate::metrics::EventCounters::default())
        };
        let follow = |pipeline: &crate::event::Pipeline, sender: &mut Sender, before| {
            let peer = sender.peer().clone();
            pipeline.take_over(sender, before, peer, now);
        };
        // The user's rate is the same and stays spent; the socket's is another and begins full.
        let second = next(&pipeline, 2, limits(1, 1));
        follow(&second, &mut sender, 1);
        assert_eq!([(); 2].map(|()| rule(&second, &sender)), [user.clone(), socket.clone()]);
        let third = next(&second, 3, limits(2, 1));
        follow(&third, &mut sender, 2);
        assert_eq!(rule(&third, &sender), socket);
        // Who skips an edition has a new socket's budget too, if the rate was another in between.
        let fourth = next(&third, 4, limits(2, 1));
        let mut late = fourth.sender(Arc::new(peer(&["red"])), now);
        assert_eq!([(); 2].map(|()| rule(&fourth, &late)), [None, socket.clone()]);
        let (fifth, sixth) = (next(&fourth, 5, limits(2, 3)), next(&fourth, 6, limits(2, 1)));
        let after_fifth = next(&fifth, 6, limits(2, 1));
        follow(&sixth, &mut late, 4);
        assert_eq!(rule(&sixth, &late), socket);
        follow(&after_fifth, &mut late, 4);
        assert_eq!(rule(&after_fifth, &late), None);
    }

    /// One token at once for each socket, another one every second, and more may wait.
    fn patient(count: u32) -> World {
        World::new(|policy| {
            policy.limits.events.per_socket = per_second(count);
            policy.limits.events.on_limit = OnLimit::Coalesce;
        })
    }

    #[test]
    fn what_is_over_the_rate_takes_tokens_in_advance() {
        let world = patient(1);
        let second = Duration::from_secs(1);
        let decide = |now| world.pipeline.decide(&world.sender, r#"["any"]"#, EventId::next(), now).unwrap();
        let wait = |place, now| {
            let mut decision = decide(now);
            assert!(decision.over.is_some());
            world.pipeline.wait(&world.sender, &mut decision, place, EventId::next(), now)
        };
        assert!(decide(world.now).over.is_none());
        assert_eq!(wait(Place::Free, world.now), Ok(second));
        assert_eq!(wait(Place::Taken, world.now), Ok(Duration::ZERO), "its equal has paid");
        assert_eq!(wait(Place::Free, world.now), Ok(2 * second));
        let refused = wait(Place::Full, world.now).unwrap_err();
        assert_eq!((refused.reject.code, refused.stage), (Code::RateLimited, RateLimit::NAME));
        // Whoever comes when the last of them is due still comes after it.
        let later = world.now + 2 * second;
        assert_eq!(wait(Place::Free, later), Ok(second));
        assert!(decide(later + 2 * second).over.is_none());
    }

    #[test]
    fn nothing_waits_too_long_and_what_does_not_wait_costs_nothing() {
        let world = patient(1);
        let wait = |now| {
            let mut decision =
                world.pipeline.decide(&world.sender, r#"["any"]"#, EventId::next(), now).ok()?;
            world.pipeline.wait(&world.sender, &mut decision, Place::Free, EventId::next(), now).ok()
        };
        let mut now = world.now;
        let mut last = Duration::ZERO;
        // Four are looked at in each second, of which one is paid for.
        for _ in 0..8 {
            for _ in 0..4 {
                last = wait(now).unwrap_or(last);
            }
            now = now + Duration::from_secs(1);
        }
        assert!(last <= LONGEST_WAIT && last + Duration::from_secs(2) > LONGEST_WAIT, "{last:?}");
        // What was refused has taken no token: after the last of them there is one.
        let free = now + LONGEST_WAIT;
        assert!(
            world.pipeline.decide(&world.sender, r#"["any"]"#, EventId::next(), free).unwrap().over.is_none()
        );
    }

    #[test]
    fn what_is_over_is_looked_at_so_often_only_and_counts_for_the_address() {
        let world = patient(1);
        let outcomes: Vec<_> = (0..8)
            .map(|_| {
                world
                    .decide(r#"["any"]"#)
                    .map(|decision| decision.over.is_some())
                    .map_err(|refused| refused.stage)
            })
            .collect();
        let over = [
            Ok(false),
            Ok(true),
            Ok(true),
            Ok(true),
            Ok(true),
            Err("rate_limit"),
            Err("rate_limit"),
            Err("rate_limit"),
        ];
        assert_eq!(outcomes, over);
        let world = World::new(|policy| {
            policy.limits.events.per_socket = per_second(1);
            policy.limits.events.per_address = per_second(2);
            policy.limits.events.on_limit = OnLimit::Coalesce;
        });
        let over = [(); 3].map(|()| world.decide(r#"["any"]"#).ok().map(|decision| decision.over.is_some()));
        assert_eq!(over, [Some(false), Some(true), None]);
    }

    #[test]
    fn who_asks_is_told_that_it_would_wait_or_why_it_cannot() {
        let world = patient(1);
        let explain = || {
            let trace = Trace::default();
            let outcome = world.pipeline.explain(&world.sender, r#"["any"]"#, world.now, &trace);
            let over = outcome.map(|decision| decision.over.is_some()).map_err(|refused| refused.stage);
            (over, trace.into_steps().iter().any(|step| step.message.contains("it waits")))
        };
        assert_eq!([(); 2].map(|()| explain()), [(Ok(false), false), (Ok(true), true)]);
        let world = World::new(|policy| {
            policy.limits.events.per_socket = per_second(1);
            policy.limits.events.per_socket.rate.per = 2 * LONGEST_WAIT;
            policy.limits.events.on_limit = OnLimit::Coalesce;
        });
        let trace = Trace::default();
        world.decide(r#"["any"]"#).unwrap();
        let refused = world.pipeline.explain(&world.sender, r#"["any"]"#, world.now, &trace).unwrap_err();
        assert_eq!((refused.stage, refused.reject.code), (RateLimit::NAME, Code::RateLimited));
    }

    #[test]
    fn a_user_over_its_rate_is_not_charged_for_its_socket_before_it_waits() {
        let world = World::new(|policy| {
            policy.limits.events.per_socket = per_second(2);
            policy.limits.events.per_user = per_second(1);
            policy.limits.events.on_limit = OnLimit::Coalesce;
        });
        for _ in 0..3 {
            world.decide(r#"["any"]"#).unwrap();
        }
        let left = world.pipeline.budget(&world.sender, world.now);
        assert_eq!(left.iter().map(|rate| rate.left).collect::<Vec<_>>()[..2], [1, 0]);
    }

    #[test]
    fn what_waits_counts_for_its_teams() {
        let world = World::new(|policy| {
            policy.limits.events.per_socket = per_second(1);
            policy.limits.events.per_team = per_second(2);
            policy.limits.events.on_limit = OnLimit::Coalesce;
        });
        assert!(world.decide(r#"["any"]"#).unwrap().over.is_none());
        let [mut one, mut two] = [(); 2].map(|()| world.decide(r#"["any"]"#).unwrap());
        let wait = |decision: &mut Decision<'_>| {
            world.pipeline.wait(&world.sender, decision, Place::Free, EventId::next(), world.now)
        };
        assert!(wait(&mut one).is_ok());
        assert_eq!(wait(&mut two).unwrap_err().stage, TeamLimit::NAME);
    }

    #[test]
    fn several_teams_are_charged_all_or_none() {
        let world = World::new(|policy| {
            policy.rooms.send_to_all_teams = true;
            policy.limits.events.per_team = per_second(2);
        });
        let [red, blue, both] =
            [&["red"][..], &["blue"], &["red", "blue"]].map(|teams| world.sender(peer(teams)));
        let refused = Some(("limits.events.per_team".to_owned(), 500));
        assert_eq!(send(&world, &blue, world.now), None);
        assert_eq!(send(&world, &blue, world.now), None);
        for _ in 0..5 {
            assert_eq!(send(&world, &both, world.now), refused);
        }
        // Red was charged for none of them.
        assert_eq!(send(&world, &red, world.now), None);
        assert_eq!(send(&world, &red, world.now), None);
        assert_eq!(send(&world, &red, world.now), refused);
    }
}
