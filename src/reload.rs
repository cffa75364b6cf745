//! Reload: another policy in the place of the one in force, whole or not at all.
//!
//! Whoever asks for it ([`watch`], SIGHUP, the internal API), one at a time: the configuration is read again from where it
//! came, checked and compiled. If anything is wrong with it, or it asks for what only a start can give ([`fixed`]), the old
//! one stays and it is said why. Else it is put in force at one moment, for whatever is decided from then on; what lives
//! beside the editions is told; and every live socket is brought up to it.

mod fixed;
pub mod watch;

use std::collections::HashSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use crate::config::content::{Change, Content, Look};
use crate::config::policy::Policy;
use crate::config::{self, BUILT_IN, Loaded, Problem, Problems, Reading, Setting, Sources};
use crate::connect::admission::Denied;
use crate::decision_log::{Kind, LogFile, Outcome, Record, Who};
use crate::edge::caps::Caps;
use crate::edition::{Edition, Reloaded};
use crate::link::session::Sessions;
use crate::metrics::ReloadOutcome;
use crate::namespace::entry::EventPath;
use crate::peer::PeerId;
use crate::seat::{self, Prepared, Seat};

/// Sockets that are judged again in one go; others have something to do too.
const SOCKETS_AT_ONCE: usize = 32;

/// Changes, or problems, that one line of the log names. The answer of the API has them all.
const MOST_NAMED: usize = 20;

/// Who asked for a reload, for the log.
#[derive(Clone, Copy, Debug)]
pub enum Trigger {
    /// A signal.
    Hangup,
    /// A file has changed.
    File,
    /// `POST /api/reload`.
    Api,
    /// The program that this is embedded in.
    Embedder,
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Trigger::Hangup => "SIGHUP",
            Trigger::File => "a changed file",
            Trigger::Api => "the API",
            Trigger::Embedder => "the embedder",
        }
    }
}

/// Where the policy in force came from.
pub struct Origin {
    /// What is read again.
    pub sources: Sources,
    /// What the policy in force was made of.
    pub content: Content,
    /// The files that it names.
    pub files: Vec<PathBuf>,
    /// What stood in all files.
    pub look: Look,
}

/// Takes another policy in.
pub struct Reloader {
    path: Arc<EventPath>,
    sessions: Arc<Sessions>,
    caps: Arc<Caps>,
    sources: Sources,
    /// What the policy in force was made of. Held for the whole of a reload: there is one at a time.
    content: tokio::sync::Mutex<Content>,
    seen: Mutex<Seen>,
}

/// What the files were when they were read last.
struct Seen {
    look: Look,
    named: Vec<PathBuf>,
}

impl Reloader {
    /// Reads again what `origin` says, for these.
    pub fn new(path: Arc<EventPath>, sessions: Arc<Sessions>, caps: Arc<Caps>, origin: Origin) -> Arc<Self> {
        let Origin { sources, content, files, look } = origin;
        let seen = Mutex::new(Seen { look, named: files });
        Arc::new(Reloader { path, sessions, caps, sources, content: content.into(), seen })
    }

    /// Reads the configuration again and puts it in force, if it is another and nothing is wrong with it. It is in force for
    /// every live socket when this returns.
    pub async fn reload(&self, trigger: Trigger) -> Reloaded {
        let mut content = self.content.lock().await;
        let reloaded = self.try_reload(&mut content, trigger).await;
        drop(content);
        self.tell(&reloaded, trigger);
        reloaded
    }

    async fn try_reload(&self, content: &mut Content, trigger: Trigger) -> Reloaded {
        let before = self.path.current.policy().hash.clone();
        let refused = |problems: Problems| Reloaded::Refused { policy: before.clone(), problems: problems.0 };
        let loaded = match self.read_again().await {
            Ok(loaded) => loaded,
            Err(problems) => return refused(problems),
        };
        let Loaded { policy, content: next, warnings, .. } = loaded;
        let changes = next.changes_since(content);
        if changes.is_empty() {
            return Reloaded::Unchanged { policy: before };
        }
        let after = policy.hash.clone();
        match self.adopt(policy, &changes, trigger).await {
            Ok((sockets, closed)) => {
                *content = next;
                Reloaded::Applied { before, after, changes, warnings, sockets, closed }
            }
            Err(problems) => refused(problems),
        }
    }

    /// Reads from where the policy came.
    async fn read_again(&self) -> Result<Loaded, Problems> {
        let sources = self.sources.clone();
        let read = spawn_blocking(move || config::read(&sources));
        let Reading { result, files, look } = read.await.map_err(|_| going_down())?;
        *self.seen.lock() = Seen { look, named: files };
        result
    }

    /// Puts a policy in force, or leaves everything as it is. Returns how many sockets were judged again, and how many of them
    /// may not stay.
    async fn adopt(
        &self,
        policy: Policy,
        changes: &[Change],
        trigger: Trigger,
    ) -> Result<(usize, usize), Problems> {
        let before = self.path.current.get();
        let origin_of = |key: &str| origin_of(key, &policy, &before.policy);
        let problems = fixed::problems(changes, origin_of);
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let file = self.open_log(&before.policy, &policy).await?;
        let verifier = before.admission.verifier().successor(&policy.auth);
        let verifier = verifier.map_err(|error| {
            let problem = about("auth.issuers", error.to_string(), "mend it");
            Problems(vec![Problem { origin: origin_of("auth.issuers"), ..problem }])
        })?;
        let refreshers = verifier.go_on(&before.refreshers);
        // Whoever comes in the next moment must not be turned away because the keys are still on their way.
        let without = verifier.first_keys(&before.refreshers).await;
        if !without.is_empty() {
            let problem = |issuer: &Arc<str>| {
                let key = format!("auth.issuers[name={issuer:?}].jwks_url");
                let found = "no keys could be fetched there; the log says why".into();
                Problem { origin: origin_of(&key), ..about(&key, found, "mend it, or try again") }
            };
            return Err(Problems(without.iter().map(problem).collect()));
        }
        let (metrics, policy) = (&self.path.metrics, Arc::new(policy));
        let number = before.number + 1;
        let next = Arc::new(Edition {
            number,
            since: SystemTime::now(),
            wanted_by: trigger.as_str(),
            admission: before.admission.successor(policy.clone(), verifier, &metrics.audience),
            pipeline: before.pipeline.successor(policy.clone(), number, &metrics.events),
            refreshers,
            policy: policy.clone(),
        });
        let prepared = self.prepare(&next).await;
        self.caps.set(&policy.limits.connections);
        let current = self.path.current.clone();
        // Not in a task of the runtime: it waits for events, and they for it.
        let sessions = self.sessions.clone();
        let gone =
            spawn_blocking(move || current.replace(next.clone(), || follow(prepared, &sessions, &next)));
        let (judged, gone) = gone.await.map_err(|_| going_down())?;
        if let Some(file) = file {
            self.path.log.switch(file);
        }
        if policy.relay.coalesce != before.policy.relay.coalesce {
            self.path.coalescer.set(policy.relay.coalesce).await;
        }
        if policy.relay != before.policy.relay {
            self.path.chronicle.set(&policy.relay);
        }
        metrics.policy_in_force(&before.policy.hash, &policy.hash, SystemTime::now());
        gone.iter().for_each(|(seat, denied)| seat.send_away(denied));
        Ok((judged, gone.len()))
    }

    /// The decision log's file, if it is to be another one; in it `None` where there is to be none.
    async fn open_log(&self, before: &Policy, after: &Policy) -> Result<Option<Option<LogFile>>, Problems> {
        if before.decision_log == after.decision_log {
            return Ok(None);
        }
        let Some(settings) = after.decision_log.clone() else { return Ok(Some(None)) };
        let log = self.path.log.clone();
        let opened = spawn_blocking(move || log.open(&settings)).await.map_err(|_| going_down())?;
        opened.map(|file| Some(Some(file))).map_err(|problem| Problems(vec![problem]))
    }

    /// Every live socket as it is by this edition.
    async fn prepare(&self, next: &Edition) -> Vec<Prepared> {
        let sessions = self.sessions.snapshot();
        let mut prepared = Vec::with_capacity(sessions.len());
        for sessions in sessions.chunks(SOCKETS_AT_ONCE) {
            let seats = sessions.iter().filter_map(|session| seat::of(session));
            prepared.extend(seats.map(|seat| seat.prepare(next)));
            tokio::task::yield_now().await;
        }
        prepared
    }

    /// Says what came of it: in metrics, log and decision log.
    fn tell(&self, reloaded: &Reloaded, trigger: Trigger) {
        let metrics = &self.path.metrics;
        let trigger = trigger.as_str();
        match reloaded {
            Reloaded::Applied { before, after, changes, warnings, sockets, closed } => {
                metrics.reloaded(ReloadOutcome::Applied);
                let what = named(changes);
                tracing::info!(trigger, %before, policy = %after, sockets, closed, "the policy has changed: {what}");
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                self.record(Outcome::Accepted, after, what);
            }
            Reloaded::Unchanged { policy } => {
                metrics.reloaded(ReloadOutcome::Unchanged);
                tracing::info!(trigger, %policy, "the policy is the same as before");
            }
            Reloaded::Refused { policy, problems } => {
                metrics.reloaded(ReloadOutcome::Refused);
                tracing::error!(trigger, %policy, "the configuration is not used, and the old policy stays");
                problems.iter().take(MOST_NAMED).for_each(|problem| tracing::error!("{problem}"));
                if let Some(more) = problems.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
                    tracing::error!("and {more} more problems; `flowgate check` says them all");
                }
                self.record(Outcome::Refused, policy, named(problems));
            }
        }
    }

    fn record(&self, outcome: Outcome, policy: &Arc<str>, why: String) {
        self.path.log.write(Record {
            outcome: Some(outcome),
            policy: Some(policy.clone()),
            why: Some(why.into()),
            ..Record::new(Kind::Reload, Who::Nobody, SystemTime::now())
        });
    }
}

/// Brings everybody to this edition, those too who have come since the others were prepared. Returns how many they are, and who
/// may not stay.
fn follow(prepared: Vec<Prepared>, sessions: &Sessions, next: &Edition) -> (usize, Vec<(Arc<Seat>, Denied)>) {
    let known: HashSet<PeerId> = prepared.iter().map(Prepared::id).collect();
    let late = sessions.snapshot().into_iter().filter_map(|session| seat::of(&session));
    let late: Vec<Arc<Seat>> = late.filter(|seat| !known.contains(&seat.member().id())).collect();
    let judged = prepared.len() + late.len();
    let late = late.into_iter().map(|seat| {
        let outcome = seat.follow();
        (seat, outcome)
    });
    let followed = prepared.into_iter().map(|prepared| prepared.follow(next)).chain(late);
    (judged, followed.filter_map(|(seat, outcome)| Some((seat, outcome.err()?))).collect())
}

/// The first few of these, and how many more there are.
fn named(all: &[impl std::fmt::Display]) -> String {
    let mut text = String::new();
    for (at, one) in all.iter().take(MOST_NAMED).enumerate() {
        // Writing to a text does not fail.
        let _ = write!(text, "{}{one}", if at == 0 { "" } else { ", " });
    }
    if all.len() > MOST_NAMED {
        let _ = write!(text, " and {} more", all.len() - MOST_NAMED);
    }
    text
}

/// Where a key is set: the file, variable or flag. What the files do not set any more is what the old policy had from one.
fn origin_of(key: &str, after: &Policy, before: &Policy) -> String {
    let set_in = |policy: &Policy| {
        let origin = Setting::origins(&policy.effective.as_ref()?.behind(key));
        (!origin.is_empty() && origin != BUILT_IN).then_some(origin)
    };
    set_in(after).or_else(|| set_in(before)).unwrap_or_else(|| "reload".into())
}

fn about(key: &str, found: String, mend: &str) -> Problem {
    Problem { origin: "reload".into(), key: key.into(), found, mend: mend.into(), did_you_mean: None }
}

/// The runtime ends, and its tasks with it.
fn going_down() -> Problems {
    Problems(vec![about("", "the process is going down".into(), "")])
}
