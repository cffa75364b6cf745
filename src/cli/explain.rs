//! `flowgate explain`: what becomes of a client and its event, and which key of which file says so.
//!
//! Works from the files alone: no server is asked, and no address unless `--online` says so.

mod event;
mod json;
mod text;

use std::io::{IsTerminal, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clap::{ArgGroup, Args};
use serde_json::{Map, Value};

use self::event::Event;
pub(super) use self::text::steps;
use super::paint::Paint;
use super::token::{Failure, finish_with, read_token};
use super::{BAD_CONFIGURATION, ConfigPaths, failed};
use crate::config::policy::{AudienceRule, Mode};
use crate::config::{self, Effective};
use crate::event::Now;
use crate::event::rate_limit::Budget;
use crate::trial::{Arrival, Bearer, Handshake, Ruling, Signature, Trial, rules};

/// How long keys are waited for that somebody asked to fetch.
const WAIT_FOR_KEYS: Duration = Duration::from_secs(15);

/// Says what would become of a client and its event, step by step.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("bearer").args(["token_file", "token_env", "claims", "no_token"]))]
pub struct ExplainArgs {
    #[command(flatten)]
    config: ConfigPaths,
    /// The client's token is in this file; without this and the next three it is read from standard input
    #[arg(long, value_name = "PATH")]
    token_file: Option<std::path::PathBuf>,
    /// The client's token is in this environment variable
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
    /// What a token would say, as JSON; it is judged as if an issuer had signed it
    #[arg(long, value_name = "JSON", value_parser = object)]
    claims: Option<Map<String, Value>>,
    /// The client brings no token
    #[arg(long)]
    no_token: bool,
    /// What else stands in the handshake's auth, as JSON, such as '{"team": "design"}'
    #[arg(long, value_name = "JSON", value_parser = object)]
    auth: Option<Map<String, Value>>,
    /// The client's address
    #[arg(long, value_name = "IP", default_value_t = Ipv4Addr::LOCALHOST.into())]
    address: IpAddr,
    /// The event's payload as JSON, or {"name": …, "payload": …}; without an event only the handshake is explained
    #[arg(long, value_name = "JSON", value_parser = event::json)]
    event: Option<String>,
    /// The event's name; by default the policy's only one, or database-change
    #[arg(long, value_name = "NAME")]
    event_name: Option<String>,
    /// When it comes, such as 2026-03-01T12:00:00Z; now when left out
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    at: Option<SystemTime>,
    /// Fetch the keys of issuers with a jwks_url; without this the signatures of their tokens are not checked
    #[arg(long)]
    online: bool,
    /// Print JSON, for tools
    #[arg(long)]
    json: bool,
}

/// Everything that is to be told.
struct Explained<'a> {
    trial: &'a Trial,
    effective: &'a Effective,
    arrival: &'a Arrival,
    now: Now,
    handshake: Handshake,
    event: Option<Sent>,
    /// What is left after it, of a client that came in.
    budget: Vec<Budget>,
}

/// An event, and what became of it.
struct Sent {
    event: Event,
    ruling: Ruling,
}

impl Explained<'_> {
    /// The label of what refuses; `None` where everything is allowed.
    fn code(&self) -> Option<&'static str> {
        let handshake = self.handshake.outcome.as_ref().err();
        let event = self.event.as_ref().and_then(|sent| sent.ruling.outcome.as_ref().err());
        handshake.or(event).map(|denial| denial.code)
    }
}

impl Sent {
    /// The audience rules that are on its type and in this room.
    fn audience<'a>(
        &'a self,
        room: &'a str,
        explained: &'a Explained<'_>,
    ) -> impl Iterator<Item = &'a AudienceRule> {
        let policy = explained.trial.policy();
        let kind = rules::kind(policy, &self.event.name, self.event.payload.as_deref());
        let rules = policy.audience.iter().map(|rule| &**rule);
        rules.filter(move |rule| {
            let on = kind.as_deref().is_some_and(|kind| rule.is_on(kind));
            on && rule.mode != Mode::Off && rule.is_in(room)
        })
    }
}

/// Exit codes: 0 allowed, 1 denied, 2 usage, 78 bad configuration.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    finish_with(runtime.block_on(explain(args)))
}

/// What is to be printed, and the exit code.
async fn explain(args: &ExplainArgs) -> Result<(String, u8), Failure> {
    let bearer = bearer(args)?;
    let with_token = matches!(bearer, Bearer::Token(_));
    let mut sources = args.config.sources();
    // A token needs its keys; everything else can be explained without.
    sources.without_keys = !with_token;
    let loaded = config::load(&sources).map_err(|problems| Failure::new(BAD_CONFIGURATION, problems))?;
    let now = Now { wall: args.at.unwrap_or_else(SystemTime::now), steady: Instant::now() };
    let trial = Trial::new(Arc::new(loaded.policy), now).and_then(|trial| match with_token {
        true => trial.verifying(),
        false => Ok(trial),
    });
    let trial = trial.map_err(|error| Failure::new(BAD_CONFIGURATION, error))?;
    let arrival = Arrival { bearer, auth: args.auth.clone().unwrap_or_default(), address: args.address };
    let handshake = admit(args, &trial, &arrival, now).await;
    let mut explained = Explained {
        trial: &trial,
        effective: &loaded.effective,
        arrival: &arrival,
        now,
        handshake,
        event: None,
        budget: Vec::new(),
    };
    if let Ok(member) = &explained.handshake.outcome {
        explained.event = Event::of(args, &trial).map(|event| {
            let payload = event.payload.as_deref();
            let ruling = trial.send(member, &event.name, payload, [member], now);
            Sent { event, ruling }
        });
        explained.budget = trial.budget(member, now);
    }
    let code = u8::from(explained.code().is_some());
    let text = match args.json {
        true => format!("{:#}", json::of(&explained)),
        false => text::of(&explained, Paint::of_stdout()),
    };
    Ok((text, code))
}

/// Tries again while keys are still being fetched, where somebody asked for that.
async fn admit(args: &ExplainArgs, trial: &Trial, arrival: &Arrival, now: Now) -> Handshake {
    let Some(verifier) = trial.verifier().filter(|_| args.online) else {
        return trial.admit(arrival, now).await;
    };
    let _refreshers = verifier.start();
    let began = Instant::now();
    loop {
        let handshake = trial.admit(arrival, now).await;
        if handshake.signature != Signature::NotChecked || began.elapsed() >= WAIT_FOR_KEYS {
            return handshake;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn bearer(args: &ExplainArgs) -> Result<Bearer, Failure> {
    if let Some(claims) = &args.claims {
        return Ok(Bearer::Claims(claims.clone()));
    }
    let mut input = std::io::stdin();
    let named = args.token_file.is_some() || args.token_env.is_some();
    // Nobody types a token by hand.
    if args.no_token || (!named && input.is_terminal()) {
        return Ok(Bearer::Nothing);
    }
    let path = args.token_file.as_deref().filter(|path| path.as_os_str() != "-");
    let token = read_token(path, args.token_env.as_deref(), &mut input as &mut dyn Read)?;
    match token.trim() {
        "" if !named => Ok(Bearer::Nothing),
        token => Ok(Bearer::Token(token.to_owned())),
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("write a JSON object, such as '{\"sub\": \"ann\"}'".into()),
        // What stands there is not repeated.
        Err(error) => Err(format!("this is not JSON: it fails at column {}", error.column())),
    }
}
