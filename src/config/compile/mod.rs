//! From raw settings to the policy: everything that types cannot say is checked here, and every fault is collected.

mod audience;
mod auth;
mod bus;
mod decision_log;
mod events;
mod keys;
mod limits;
mod nodejs;
mod publish;
mod redis;
mod relay;
mod replay;
mod revocation;
mod rules;
mod server;
mod tls;
mod type_schema;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::Value;

use super::bus::Bus;
use super::content::{NamedFile, sha256};
use super::files::{bounded, read_some};
use super::key_path::KeyPath;
use super::policy::{Drain, Mode, Policy, RefusalDetail};
use super::problem::{Problem, any_of, closest};
use super::raw::{self, Raw};
use super::values::{self, Fault};

/// What `mode` may be, wherever a check can be tried before it bites.
const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("observe", Mode::Observe), ("off", Mode::Off)];

/// The event with which a client brings a newer token.
pub(crate) const REFRESH: &str = "refresh-token";

/// What compiling needs beside the settings.
pub(super) struct Context<'a> {
    /// The merged settings, which know where each came from.
    pub tree: &'a Value,
    /// The folder that paths of a file are relative to, by origin.
    pub folders: &'a HashMap<String, PathBuf>,
    /// The variables that `secret_env` and `admin_token_env` may name.
    pub environment: &'a HashMap<String, String>,
    /// Whether keys, and issuers, that are not there are not missed.
    pub without_keys: bool,
}

/// The policy, unless something is wrong.
pub(super) struct Compiled {
    pub policy: Option<Policy>,
    /// What is there and cannot be.
    pub problems: Vec<Problem>,
    /// What seems to be missing.
    pub missing: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// The files that the settings name.
    pub files: Vec<NamedFile>,
}

/// Compiles every section, also after one has failed.
pub(super) fn compile(raw: &Raw, context: &Context<'_>) -> Compiled {
    let mut report = Report {
        context,
        problems: Vec::new(),
        missing: Vec::new(),
        warnings: Vec::new(),
        files: Vec::new(),
    };
    let auth = auth::compile(&raw.auth, &mut report);
    let server = server::server(&raw.server, &raw.auth, &mut report);
    let internal = server::internal(&raw.internal, server.as_ref(), &mut report);
    let revocation = revocation::compile(&raw.revocation, &mut report);
    let rooms = auth::rooms(&raw.rooms, &raw.auth.mode, &mut report);
    let limits = limits::compile(&raw.limits, &mut report);
    let relay = relay::compile(&raw.relay, &mut report);
    let refusal_detail = report.choice(
        &KeyPath::of("refusals.detail"),
        &raw.refusals.detail,
        &[("code", RefusalDetail::Code), ("full", RefusalDetail::Full)],
    );
    let mut events = events::compile(&raw.events, &mut report);
    if raw.auth.refresh && raw.events.contains_key(REFRESH) {
        let at = KeyPath::of("events").key(REFRESH);
        report.refuse(&at, "auth.refresh = true takes this name", "give the event another");
    }
    let labels = events.as_mut().map(events::label);
    let rules = rules::compile(&raw.rules, events.as_mut(), raw.auth.mode == "off", &mut report);
    let doors = audience::Doors { mode: &raw.auth.mode, anonymous: raw.rooms.anonymous.as_deref() };
    let audience = audience::compile(&raw.audience, events.as_ref(), &doors, &mut report);
    let admin_token = internal.as_ref().and_then(|internal| internal.admin_token.as_ref());
    let publish = publish::compile(&raw.publish, events.as_ref(), admin_token, &mut report);
    let payload = limits.as_ref().map(|limits| limits.payload);
    let bus = bus::compile(&raw.bus, payload, &mut report);
    let driver = bus.as_ref().map(|bus| &bus.driver);
    let nodejs = nodejs::compile(raw, driver, events.as_ref(), &mut report);
    if let (Some(relay), Some(bus)) = (&relay, &bus) {
        relay::check_store(relay, bus, raw.bus.nodejs.enabled, &mut report);
    }
    let decision_log = decision_log::compile(&raw.decision_log, &mut report);
    let drain = drain(&raw.drain, &mut report);
    let policy = (|| {
        Some(Policy {
            // Known when everything is read.
            hash: Arc::default(),
            effective: None,
            server: server?,
            internal: internal?,
            auth: auth?,
            revocation: revocation?,
            rooms: rooms?,
            limits: limits?,
            relay: relay?,
            refusal_detail: refusal_detail?,
            events: events?,
            rules: rules?,
            audience: audience?,
            labels: labels?,
            publish: publish?,
            bus: Bus { nodejs: nodejs?, ..bus? },
            decision_log: decision_log?,
            watch: raw.reload.watch,
            drain: drain?,
        })
    })();
    let Report { problems, missing, warnings, files, .. } = report;
    Compiled { policy, problems, missing, warnings, files }
}

fn drain(raw: &super::raw::Drain, report: &mut Report<'_>) -> Option<Drain> {
    let at = KeyPath::of("drain");
    let spread = report.take(&at.key("spread"), values::duration(&raw.spread));
    let deadline = report.take(&at.key("deadline"), values::positive_duration(&raw.deadline));
    let (spread, deadline) = (spread?, deadline?);
    if spread > deadline {
        let found = format!("{:?} is longer than drain.deadline, {:?}", raw.spread, raw.deadline);
        report.refuse_beside(
            &at.key("spread"),
            &at.key("deadline"),
            found,
            "write less than the deadline, or raise that",
        );
        return None;
    }
    Some(Drain { spread, deadline })
}

/// Collects faults, each with the origin of the value that is wrong.
struct Report<'a> {
    context: &'a Context<'a>,
    problems: Vec<Problem>,
    missing: Vec<Problem>,
    warnings: Vec<Problem>,
    files: Vec<NamedFile>,
}

impl Report<'_> {
    fn problem(&self, at: &KeyPath, found: impl Into<String>, mend: impl Into<String>) -> Problem {
        Problem {
            origin: at.origin(self.context.tree, super::BUILT_IN),
            key: at.to_string(),
            found: found.into(),
            mend: mend.into(),
            did_you_mean: None,
        }
    }

    /// Something that cannot be.
    fn refuse(&mut self, at: &KeyPath, found: impl Into<String>, mend: impl Into<String>) {
        let problem = self.problem(at, found, mend);
        self.problems.push(problem);
    }

    /// Two settings that cannot be together: said of the first, and of the file that set the first, or else the second.
    fn refuse_beside(
        &mut self,
        at: &KeyPath,
        other: &KeyPath,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let mut problem = self.problem(at, found, mend);
        if problem.origin == super::BUILT_IN {
            problem.origin = other.origin(self.context.tree, super::BUILT_IN);
        }
        self.problems.push(problem);
    }

    /// Something that has to be there and is not.
    fn missing(&mut self, at: &KeyPath, found: impl Into<String>, mend: impl Into<String>) {
        let problem = self.problem(at, found, mend);
        self.missing.push(problem);
    }

    /// Something that can be, but deserves a second look.
    fn warn(&mut self, at: &KeyPath, found: impl Into<String>, mend: impl Into<String>) {
        let problem = self.problem(at, found, mend);
        self.warnings.push(problem);
    }

    /// The value, or its fault reported.
    fn take<T>(&mut self, at: &KeyPath, value: Result<T, Fault>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(fault) => {
                self.refuse(at, fault.found, fault.mend);
                None
            }
        }
    }

    /// The meaning of one of a few words.
    fn choice<T: Copy>(&mut self, at: &KeyPath, word: &str, choices: &[(&str, T)]) -> Option<T> {
        if let Some((_, meaning)) = choices.iter().find(|(choice, _)| *choice == word) {
            return Some(*meaning);
        }
        let words = || choices.iter().map(|(choice, _)| *choice);
        let mut problem = self.problem(at, format!("found {word:?}"), format!("write {}", any_of(words())));
        problem.did_you_mean = closest(word, words());
        self.problems.push(problem);
        None
    }

    /// The folder that a path written at this place is relative to; empty for the working directory.
    fn folder(&self, at: &KeyPath) -> &Path {
        let origin = at.origin(self.context.tree, super::BUILT_IN);
        self.context.folders.get(&origin).map_or(Path::new(""), PathBuf::as_path)
    }

    /// The content of a file that the setting at this place names, of at most so many bytes, and noted as one that the policy
    /// was made of. `is_public` where it holds neither keys nor secrets.
    fn named_file(
        &mut self,
        at: &KeyPath,
        name: &str,
        most: usize,
        is_public: bool,
    ) -> Result<Vec<u8>, String> {
        let path = self.folder(at).join(name);
        let content = read_some(&path);
        let digest = content.as_ref().ok().map(|content| sha256(content));
        let content = bounded(&path, content, most);
        self.files.push(NamedFile { key: at.to_string(), path, digest, is_public });
        content
    }

    fn positive_duration(&mut self, at: &KeyPath, text: &str) -> Option<Duration> {
        self.take(at, values::positive_duration(text))
    }
}
