//! The pipeline: what an event passes through, in a fixed order, in one loop.
//!
//! size and depth → rates of socket, user and address → validation → authorization → the policy's rules → the embedder's
//! own stages, and then, as plain functions, the route and the teams' own rate.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::config::policy::{EventPolicy, Mode, Policy, ReplayPolicy};
use crate::event_id::EventId;
use crate::message::{Event, Topic};
use crate::metrics::EventCounters;
use crate::peer::Peer;
pub use crate::reject::Refused;
use crate::reject::{Code, Reject};
use crate::relay::later::Place;

use super::authorize::Authorize;
use super::now::{Epoch, Now};
use super::rate_limit::{Budget, RateLimit, Remembered, SharedBuckets, TeamLimit};
use super::replay::{self, Mark, Replays};
use super::route;
use super::rules::Rules;
use super::sender::Sender;
use super::size::Size;
use super::tally::Tally;
use super::trace::Trace;
use super::validate::{self, Validate};

/// One step of the pipeline. It may refuse the event or narrow it ([`Event::narrow`]), and does neither wait nor block.
pub trait Stage: Send + Sync + 'static {
    /// A fixed name, under which refusals of this stage are counted.
    fn name(&self) -> &'static str;

    /// Whether it judges who sends rather than what is sent. Then it is not asked of what a backend publishes, which is held to
    /// its publisher's key instead.
    fn judges_sender(&self) -> bool {
        false
    }

    /// Lets the event pass, or says why not.
    fn check<'e>(&self, event: &mut Event<'e>, cx: &Context<'e>) -> Result<(), Reject>;
}

/// What a stage may look at beside the event.
#[derive(Debug)]
pub struct Context<'e> {
    /// Who sends.
    pub peer: &'e Peer,
    /// What is allowed.
    pub policy: &'e Policy,
    /// What logs call the event.
    pub id: EventId,
    /// When.
    pub now: Now,
    pub(super) sender: &'e Sender,
    /// Nanoseconds since the epoch from which rates are counted.
    pub(super) elapsed: u64,
    /// Who wants to know what each stage says; nobody on the event path.
    pub(super) trace: Option<&'e Trace>,
}

/// What refusals are counted under that follow from a publisher's own key.
pub const PUBLISHERS: &str = "publishers";

/// What refusals of messages from Node.js are counted under that come before the pipeline.
pub const NODEJS: &str = "nodejs";

/// Decides what becomes of events by one policy. Shared by all connections.
pub struct Pipeline {
    policy: Arc<Policy>,
    stages: Vec<Arc<dyn Stage>>,
    plugins: Vec<Arc<dyn Stage>>,
    rates: RateLimit,
    team_limit: TeamLimit,
    shared: SharedBuckets,
    /// The first edition of those since which a socket's own rate is the same.
    socket_rate_since: u64,
    pub(super) replays: Arc<Replays>,
    epoch: Epoch,
    tally: Tally,
}

/// An event that may be relayed.
#[derive(Debug, PartialEq)]
pub struct Decision<'e> {
    /// The name that the client sent, as the policy has it.
    pub name: &'e Arc<str>,
    /// The name that members hear.
    pub emit: &'e Arc<str>,
    /// The JSON text to relay: the client's own bytes, unless the policy stripped fields.
    pub payload: Cow<'e, str>,
    /// The teams to relay to: each once, each held by the sender, at least one.
    pub teams: SmallVec<[&'e Arc<str>; 2]>,
    /// Whether the sender hears it too.
    pub echo: bool,
    /// The policy's name or glob that the `type` matched: one of a fixed set, fit for a metric's label.
    pub kind: Option<&'e str>,
    /// What it is about, which decides who of the teams hears it.
    pub topic: Topic<'e>,
    /// What would have refused it, were every check enforced; in the order of the stages. Usually nothing.
    pub observed: Vec<Refused>,
    /// Why it has to wait, and is given to [`Pipeline::wait`] before anything else; `None` where it is to be relayed now.
    pub over: Option<Reject>,
    /// What tells it from its replays, where that is still to be remembered.
    pub(super) mark: Option<Mark>,
    /// The place among the policy's labels under which it is counted.
    pub(super) label: Option<usize>,
}

/// What the policy calls an event that was refused, as far as its stage had read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labels<'e> {
    /// Its name, where the policy has one such.
    pub name: Option<&'e Arc<str>>,
    /// The name or glob that its type matched.
    pub kind: Option<&'e str>,
}

impl Context<'_> {
    /// Names the key by which the present stage lets the event pass, to who wants to know.
    pub(super) fn note<M: Into<Cow<'static, str>>>(&self, rule: &str, message: impl FnOnce() -> M) {
        if let Some(trace) = self.trace {
            trace.note(rule, message());
        }
    }

    /// Notes that this stage would refuse the event if it did more than observe.
    pub(super) fn would_refuse(&self, event: &mut Event<'_>, stage: &'static str, reject: Reject) {
        if let Some(trace) = self.trace {
            trace.observed(&reject);
        }
        event.would_refuse(stage, reject);
    }

    /// Runs one stage under its name.
    fn in_stage<T>(
        &self,
        stage: &'static str,
        check: impl FnOnce() -> Result<T, Reject>,
    ) -> Result<T, Refused> {
        let Some(trace) = self.trace else { return check().map_err(|reject| Refused { reject, stage }) };
        trace.begin(stage);
        let passed = check().map_err(|reject| Refused { reject, stage })?;
        trace.passed();
        Ok(passed)
    }
}

impl Pipeline {
    /// Whether the log may say now that a token was taken on a live socket, or that it was not: each once a second.
    pub fn may_say_refresh(&self, is_taken: bool, now: Now) -> bool {
        self.tally.may_say_refresh(is_taken, self.epoch.nanos(now))
    }

    /// The built-in stages in their fixed order, then `plugins` in theirs. Rates are counted from `now`.
    pub fn new(policy: Arc<Policy>, plugins: Vec<Box<dyn Stage>>, now: Now) -> Self {
        Self::counting(policy, plugins, now, &EventCounters::default())
    }

    /// As [`Pipeline::new`], with what becomes of events counted in `counters`.
    pub fn counting(
        policy: Arc<Policy>,
        plugins: Vec<Box<dyn Stage>>,
        now: Now,
        counters: &EventCounters,
    ) -> Self {
        let plugins = plugins.into_iter().map(Arc::from).collect();
        Self::of(policy, plugins, SharedBuckets::new(), 0, Arc::default(), Epoch::at(now), counters)
    }

    /// The pipeline of another policy that takes this one's place as edition `number`, with the same plugins. What was spent
    /// of rates that are the same stays spent.
    pub fn successor(&self, policy: Arc<Policy>, number: u64, counters: &EventCounters) -> Self {
        let (before, after) = (&self.policy.limits.events, &policy.limits.events);
        let shared = self.shared.successor(before, after);
        let same = before.per_socket.rate == after.per_socket.rate;
        let since = if same { self.socket_rate_since } else { number };
        Self::of(policy, self.plugins.clone(), shared, since, self.replays.clone(), self.epoch, counters)
    }

    fn of(
        policy: Arc<Policy>,
        plugins: Vec<Arc<dyn Stage>>,
        shared: SharedBuckets,
        socket_rate_since: u64,
        replays: Arc<Replays>,
        epoch: Epoch,
        counters: &EventCounters,
    ) -> Self {
        let rates = RateLimit::new(&policy.limits.events);
        let mut stages: Vec<Arc<dyn Stage>> =
            vec![Arc::new(Size), Arc::new(rates.clone()), Arc::new(Validate), Arc::new(Authorize)];
        if !policy.rules.is_empty() {
            stages.push(Arc::new(Rules::new(&policy, &counters.rules)));
        }
        stages.extend(plugins.iter().cloned());
        let team_limit = TeamLimit::new(&policy.limits.events);
        let later = [route::NAME, TeamLimit::NAME, replay::NAME, PUBLISHERS, NODEJS];
        let names = stages.iter().map(|stage| stage.name()).chain(later);
        let tally = Tally::new(&policy, counters, names);
        Pipeline {
            policy,
            stages,
            plugins,
            rates,
            team_limit,
            shared,
            socket_rate_since,
            replays,
            epoch,
            tally,
        }
    }

    /// What it acts on.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What a newly admitted peer sends through. Keep it as long as the socket lives.
    pub fn sender(&self, peer: Arc<Peer>, now: Now) -> Sender {
        let buckets = self.shared.of(&peer, self.epoch.nanos(now));
        Sender::new(peer, buckets, self.policy.limits.events.disconnect_after, self.epoch)
    }

    /// Has a sender that went by edition `before` go by this pipeline, as this peer of the same socket. What it has spent of
    /// rates that are the same stays spent.
    pub fn take_over(&self, sender: &mut Sender, before: u64, peer: Arc<Peer>, now: Now) {
        let buckets = self.shared.of(&peer, self.epoch.nanos(now));
        let changed = self.socket_rate_since > before;
        sender.judged_again(peer, buckets, changed, self.policy.limits.events.disconnect_after);
    }

    /// Decides on one event, given as the text of its Socket.IO packet without prefix: `["name"]` or `["name",argument]`.
    ///
    /// The caller names it by `id`. A refusal is to be told to [`Sender::note_refusal`].
    pub fn decide<'e>(
        &'e self,
        sender: &'e Sender,
        text: &'e str,
        id: EventId,
        now: Now,
    ) -> Result<Decision<'e>, Refused> {
        self.judge(sender, text, id, now, None)
    }

    /// As [`Pipeline::decide`], by the same stages, each of which tells `trace` what it says. For who tries a policy. What has
    /// to wait is charged for, as if no equal one waited.
    pub fn explain<'e>(
        &'e self,
        sender: &'e Sender,
        text: &'e str,
        now: Now,
        trace: &'e Trace,
    ) -> Result<Decision<'e>, Refused> {
        let id = EventId::next();
        let outcome = self.judge(sender, text, id, now, Some(trace)).and_then(|mut decision| {
            self.wait(sender, &mut decision, Place::Free, id, now).map(|_| decision)
        });
        if let Err(refused) = &outcome {
            trace.refused(refused);
        }
        outcome
    }

    fn judge<'e>(
        &'e self,
        sender: &'e Sender,
        text: &'e str,
        id: EventId,
        now: Now,
        trace: Option<&'e Trace>,
    ) -> Result<Decision<'e>, Refused> {
        let peer: &Peer = sender.peer();
        let elapsed = self.epoch.nanos(now);
        let cx = Context { peer, policy: &self.policy, id, now, sender, elapsed, trace };
        let Some(mut event) = Event::split(text) else {
            let refused = self.malformed(&cx);
            self.tally.refused(&refused);
            return Err(refused);
        };
        let decided = self.pass(&mut event, &cx);
        match &decided {
            // It is counted when it is known whether it can wait.
            Ok(Decision { over: Some(_), .. }) => {}
            decided => {
                // Some are refused before validation looks their name up.
                let label =
                    event.label().or_else(|| self.policy.events.get(event.name()).map(|event| event.label));
                self.tally.count(label, decided.as_ref().map(|decision| &*decision.observed), &cx);
            }
        }
        if let Err(refused) = &decided {
            self.tally.refused(refused);
        }
        decided
    }

    /// Decides on an event that a backend publishes into all of its peer's teams: its size and payload, the embedder's
    /// stages, the teams' own rate. What only clients are held to is not asked; whether this backend `may` publish it is.
    pub fn publish<'e>(
        &'e self,
        sender: &'e Sender,
        text: &'e str,
        id: EventId,
        now: Now,
        may: impl FnOnce(&Event<'_>) -> Result<(), Reject>,
    ) -> Result<Decision<'e>, Refused> {
        let (peer, elapsed): (&Peer, _) = (sender.peer(), self.epoch.nanos(now));
        let cx = Context { peer, policy: &self.policy, id, now, sender, elapsed, trace: None };
        let refused = |reject, stage| Refused { reject, stage };
        let no_name = || Reject::new(Code::UnknownEvent, "an event has a plain name");
        let mut event = Event::split(text).ok_or_else(|| refused(no_name(), Validate::NAME))?;
        let decided = (|| {
            for stage in self.stages.iter().filter(|stage| !stage.judges_sender()) {
                stage.check(&mut event, &cx).map_err(|reject| refused(reject, stage.name()))?;
            }
            may(&event).map_err(|reject| refused(reject, PUBLISHERS))?;
            let teams: SmallVec<[usize; 2]> = (0..peer.teams().len()).collect();
            self.for_teams(&mut event, &cx, &teams)
        })();
        let label = event.label().or_else(|| self.policy.events.get(event.name()).map(|event| event.label));
        self.tally.count(label, decided.as_ref().map(|decision| &*decision.observed), &cx);
        if let Err(refused) = &decided {
            self.tally.refused(refused);
        }
        decided
    }

    /// Counts what was refused before it came here.
    pub(crate) fn count_refused(&self, refused: &Refused) {
        self.tally.refused(refused);
    }

    /// Lets an event through all stages.
    fn pass<'e>(&'e self, event: &mut Event<'e>, cx: &Context<'e>) -> Result<Decision<'e>, Refused> {
        for stage in &self.stages {
            cx.in_stage(stage.name(), || stage.check(event, cx))?;
        }
        // Validation has refused events without a policy; this spares a panic, should a stage ever come before it.
        let Some(policy) = event.policy() else {
            return Err(Refused { reject: validate::unknown_event(), stage: Validate::NAME });
        };
        let peer = cx.peer;
        let teams = cx.in_stage(route::NAME, || {
            let route = route::route(peer, &self.policy.rooms, policy, event)?;
            cx.note(route.rule, || names(peer, &route.teams));
            Ok(route.teams)
        })?;
        self.for_teams(event, cx, &teams)
    }

    /// The last checks of an event that goes to these of its peer's teams.
    fn for_teams<'e>(
        &'e self,
        event: &mut Event<'e>,
        cx: &Context<'e>,
        teams: &[usize],
    ) -> Result<Decision<'e>, Refused> {
        // Validation has refused events without a policy; this spares a panic, should a stage ever come before it.
        let Some(policy) = event.policy() else {
            return Err(Refused { reject: validate::unknown_event(), stage: Validate::NAME });
        };
        let peer = cx.peer;
        if event.over().is_none() {
            cx.in_stage(TeamLimit::NAME, || self.team_limit.check(event, cx, teams))?;
        }
        let mark = match replay::guarded(Some(policy)) {
            Some((.., guard)) => cx.in_stage(replay::NAME, || self.once(guard, policy, event, cx, teams))?,
            None => None,
        };
        Ok(Decision {
            name: &policy.name,
            emit: &policy.emit,
            payload: std::mem::take(&mut event.outgoing),
            teams: teams.iter().filter_map(|&team| peer.teams().get(team)).collect(),
            echo: policy.echo,
            kind: event.payload.label,
            topic: Topic {
                kind: event.payload.kind.take().or(policy.typed.as_ref().map(|_| Cow::Borrowed(""))),
                task_id: event.payload.task_id.take(),
            },
            observed: event.take_observed(),
            over: event.take_over(),
            mark,
            label: event.label(),
        })
    }

    /// Lets no event pass twice. One that has to wait is remembered when it is known that it can; what to remember comes back.
    fn once(
        &self,
        guard: &ReplayPolicy,
        policy: &EventPolicy,
        event: &mut Event<'_>,
        cx: &Context<'_>,
        teams: &[usize],
    ) -> Result<Option<Mark>, Reject> {
        let waits = event.over().is_some();
        let marked = self.replays.mark(event, cx).and_then(|mark| match mark {
            Some(mark) if !waits => {
                let held = cx.peer.teams();
                let teams: SmallVec<[&Arc<str>; 2]> =
                    teams.iter().filter_map(|&team| held.get(team)).collect();
                self.replays.remember(policy, &teams, &mark, cx.now.wall)?;
                cx.note(&guard.rule, || "it has not been relayed before");
                Ok(None)
            }
            mark => Ok(mark),
        });
        marked.or_else(|reject| {
            if guard.mode == Mode::Observe {
                cx.would_refuse(event, replay::NAME, reject);
                return Ok(None);
            }
            if !waits {
                self.team_limit.give_back(cx.sender.buckets(), teams);
            }
            Err(reject)
        })
    }

    /// Has an event wait that is over its sender's rates ([`Decision::over`]). Charges for it in advance and says how long
    /// after `now` it may be relayed, unless it takes the time of an equal one.
    ///
    /// # Errors
    /// There is no place for it, its turn would be too far off, or its teams' own rate is used up.
    pub fn wait(
        &self,
        sender: &Sender,
        decision: &mut Decision<'_>,
        place: Place,
        id: EventId,
        now: Now,
    ) -> Result<Duration, Refused> {
        if decision.over.is_none() {
            return Ok(Duration::ZERO);
        }
        let elapsed = self.epoch.nanos(now);
        let time = self.time(sender, decision, place, now);
        let cx = Context { peer: sender.peer(), policy: &self.policy, id, now, sender, elapsed, trace: None };
        self.tally.count(decision.label, time.as_ref().map(|_| &*decision.observed), &cx);
        match (&time, &decision.over) {
            (Err(refused), _) => self.tally.refused(refused),
            (Ok(_), Some(over)) => self.tally.over_rate(over),
            (Ok(_), None) => {}
        }
        time
    }

    fn time(
        &self,
        sender: &Sender,
        decision: &mut Decision<'_>,
        place: Place,
        now: Now,
    ) -> Result<Duration, Refused> {
        let Some(over) = decision.over.clone() else { return Ok(Duration::ZERO) };
        let (buckets, elapsed) = (sender.buckets(), self.epoch.nanos(now));
        let is_too_late = place == Place::Free && !self.rates.is_soon(buckets, elapsed);
        if is_too_late || place == Place::Full {
            return Err(Refused { reject: over, stage: RateLimit::NAME });
        }
        let held = sender.peer().teams();
        let teams: SmallVec<[usize; 2]> =
            decision.teams.iter().filter_map(|&team| held.iter().position(|held| held == team)).collect();
        let observed = &mut decision.observed;
        if place == Place::Free {
            let stage = TeamLimit::NAME;
            let would = |reject| observed.push(Refused { reject, stage });
            let charged = self.team_limit.charge(buckets, &teams, elapsed, would);
            charged.map_err(|reject| Refused { reject, stage })?;
        }
        let policy = self.policy.events.get(&**decision.name);
        if let (Some(mark), Some(policy)) = (&decision.mark, policy)
            && let Err(reject) = self.replays.remember(policy, &decision.teams, mark, now.wall)
        {
            let refused = Refused { reject, stage: replay::NAME };
            if replay::guarded(Some(policy)).is_none_or(|(.., guard)| guard.mode == Mode::Enforce) {
                if place == Place::Free {
                    self.team_limit.give_back(buckets, &teams);
                }
                return Err(refused);
            }
            decision.observed.push(refused);
        }
        Ok(if place == Place::Free { self.rates.take_in_advance(buckets, elapsed) } else { Duration::ZERO })
    }

    /// What the policy calls an event that this stage refused. It reads the event again: refusals are many, and few of
    /// them are written down.
    pub fn labels<'e>(&'e self, text: &'e str, stage: &str) -> Labels<'e> {
        let Some(event) = Event::split(text) else { return Labels::default() };
        let Some(policy) = self.policy.events.get(event.name()) else { return Labels::default() };
        // What refused before, or while, the payload was read, may have done so because nothing should read it.
        let was_read = ![Size.name(), self.rates.name(), Validate::NAME].contains(&stage);
        let kind = was_read.then(|| validate::label(&event, policy)).flatten();
        Labels { name: Some(&policy.name), kind }
    }

    /// Charges the sender's rates for something that is refused before it can be an event, such as a binary packet.
    pub fn charge(&self, sender: &Sender, now: Now) -> Result<(), Refused> {
        self.rates
            .take(sender.buckets(), self.epoch.nanos(now))
            .map_err(|reject| Refused { reject, stage: self.rates.name() })
    }

    /// What is left of the rates that the sender's events count against, at `now`: its socket's, its user's, its address's,
    /// and those of its teams.
    pub fn budget(&self, sender: &Sender, now: Now) -> Vec<Budget> {
        let (peer, buckets, now) = (sender.peer(), sender.buckets(), self.epoch.nanos(now));
        let mut budget = self.rates.budget(buckets, now);
        budget.extend(self.team_limit.budget(peer.teams(), buckets, now));
        budget
    }

    /// Forgets the rates of users, addresses and teams that nobody uses and that have recovered. Call it every few seconds.
    pub fn sweep(&self, now: Now) {
        self.shared.sweep(self.epoch.nanos(now));
        self.replays.sweep(now.wall);
    }

    /// How many events are remembered, so that no replay of them passes; each in each of its teams.
    pub fn replays(&self) -> usize {
        self.replays.len()
    }

    /// How many users, addresses and teams the rate limits remember.
    pub fn remembered(&self) -> Remembered {
        self.shared.remembered()
    }

    /// Text that is no event costs a token as well, or it would be a flood for free.
    #[cold]
    fn malformed(&self, cx: &Context<'_>) -> Refused {
        match self.charge(cx.sender, cx.now) {
            Err(refused) => refused,
            Ok(()) => Refused {
                reject: Reject::new(
                    Code::InvalidPayload,
                    "an event is a JSON array that begins with its plain name",
                ),
                stage: Validate::NAME,
            },
        }
    }
}

/// Where an event goes, in words.
fn names(peer: &Peer, teams: &[usize]) -> String {
    let names: Vec<&str> =
        teams.iter().filter_map(|&team| peer.teams().get(team)).map(|team| &**team).collect();
    format!("it goes to {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::event::fixtures::{World, peer, per_second};
    use crate::event::sender::AfterRefusal;
    use crate::message::TaskId;
    use crate::peer::Standing;

    /// An embedder's stage as it would be written: with the lifetimes left out.
    struct Plugin<F>(F);

    impl<F> Stage for Plugin<F>
    where
        F: Fn(&mut Event<'_>, &Context<'_>) -> Result<(), Reject> + Send + Sync + 'static,
    {
        fn name(&self) -> &'static str {
            "plugin"
        }

        fn check(&self, event: &mut Event<'_>, cx: &Context<'_>) -> Result<(), Reject> {
            (self.0)(event, cx)
        }
    }

    fn plugin<F>(check: F) -> Box<dyn Stage>
    where
        F: Fn(&mut Event<'_>, &Context<'_>) -> Result<(), Reject> + Send + Sync + 'static,
    {
        Box::new(Plugin(check))
    }

    fn two_teams(policy: &mut Policy) {
        policy.rooms.send_to_all_teams = true;
    }

    #[test]
    fn an_event_becomes_a_decision() {
        let (name, emit, team) = ("database-change".into(), "database-changed".into(), "red".into());
        let world = World::new(|_| {});
        let text = r#"["database-change",{"type":"task-updated","taskId":1}]"#;
        let decision = world.decide(text).unwrap();
        let expected = Decision {
            name: &name,
            emit: &emit,
            payload: r#"{"type":"task-updated","taskId":1}"#.into(),
            teams: SmallVec::from_slice(&[&team]),
            echo: true,
            kind: Some("task-updated"),
            topic: Topic { kind: Some("task-updated".into()), task_id: Some(TaskId::Integer("1")) },
            observed: vec![],
            over: None,
            mark: None,
            label: Some(1),
        };
        assert_eq!(decision, expected);
        assert!(matches!(decision.payload, Cow::Borrowed(_)));
    }

    #[test]
    fn a_plugin_stage_refuses() {
        let world = World::with_plugins(
            |_| {},
            vec![plugin(|event, cx| match (event.payload.kind.as_deref(), cx.peer.roles()) {
                (Some("comment-added"), []) => {
                    Err(Reject::new(Code::NotAllowed, "editors only").rule("rules.editors"))
                }
                _ => Ok(()),
            })],
        );
        let refused = world.decide(r#"["database-change",{"type":"comment-added"}]"#).unwrap_err();
        assert_eq!((refused.stage, refused.reject.code), ("plugin", Code::NotAllowed));
        assert!(world.decide(r#"["database-change",{"type":"comment-read"}]"#).is_ok());
    }

    #[test]
    fn a_plugin_stage_sees_only_what_passed_the_others() {
        static SEEN: AtomicUsize = AtomicUsize::new(0);
        let count = plugin(|event, _| {
            assert!(event.policy().is_some());
            SEEN.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let world =
            World::with_plugins(|policy| policy.limits.events.per_socket = per_second(3), vec![count]);
        let mut listener = peer(&["red"]);
        listener.standing = Standing::Anonymous;
        let listener = world.sender(listener);
        let refused = world.pipeline.decide(&listener, r#"["any"]"#, EventId::next(), world.now).unwrap_err();
        assert_eq!(refused.stage, "authorize");
        assert_eq!(world.decide(r#"["any",[[[[[[[[[]]]]]]]]]]"#).unwrap_err().stage, "size");
        assert_eq!(world.decide(r#"["nope"]"#).unwrap_err().stage, "validate");
        assert_eq!(world.decide(r#"["database-change",{}]"#).unwrap_err().stage, "validate");
        assert_eq!(SEEN.load(Ordering::Relaxed), 0);
        assert!(world.decide(r#"["any"]"#).is_ok());
        assert_eq!(world.decide(r#"["any"]"#).unwrap_err().stage, "rate_limit");
        assert_eq!(SEEN.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn plugin_stages_narrow_in_turn_and_never_widen() {
        let narrow = |teams: &'static [&'static str]| {
            plugin(move |event, _| {
                event.narrow(teams.iter().map(|&team| team.into()).collect());
                Ok(())
            })
        };
        let teams = |plugins| {
            let world = World::with_plugins(two_teams, plugins);
            let sender = world.sender(peer(&["red", "blue", "green"]));
            let decision = world.pipeline.decide(&sender, r#"["any"]"#, EventId::next(), world.now);
            decision.map(|decision| decision.teams.iter().map(|team| team.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(teams(vec![]).unwrap(), ["red", "blue", "green"]);
        assert_eq!(teams(vec![narrow(&["blue", "black"])]).unwrap(), ["blue"]);
        assert_eq!(teams(vec![narrow(&["red", "blue"]), narrow(&["blue", "green"])]).unwrap(), ["blue"]);
        let refused = teams(vec![narrow(&["red"]), narrow(&["red", "blue"]), narrow(&["blue"])]).unwrap_err();
        assert_eq!((refused.stage, refused.reject.code), ("route", Code::NoRoom));
    }

    #[test]
    fn malformed_text_costs_a_token() {
        let world = World::new(|policy| policy.limits.events.per_socket = per_second(2));
        for text in [r#"[1]"#, r#"["a\u0062"]"#] {
            let refused = world.decide(text).unwrap_err();
            assert_eq!((refused.stage, refused.reject.code), ("validate", Code::InvalidPayload));
        }
        assert_eq!(world.decide("").unwrap_err().reject.code, Code::RateLimited);
        let later = world.now + Duration::from_millis(500);
        assert!(world.pipeline.charge(&world.sender, later).is_ok());
        assert_eq!(world.pipeline.charge(&world.sender, later).unwrap_err().stage, "rate_limit");
    }

    #[test]
    fn too_many_refusals_close_the_connection() {
        let world = World::new(|policy| policy.limits.events.disconnect_after.refusals = 3);
        let noted: Vec<AfterRefusal> = (0..3).map(|_| world.sender.note_refusal(world.now)).collect();
        assert_eq!(noted, [AfterRefusal::Stay, AfterRefusal::Stay, AfterRefusal::Close]);
        let later = world.now + Duration::from_secs(60);
        assert_eq!(world.sender.note_refusal(later), AfterRefusal::Stay);
    }
}
