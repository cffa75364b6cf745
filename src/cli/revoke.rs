//! `flowgate revoke`: has a running flowgate revoke tokens, list what is revoked, or undo it.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{ArgGroup, Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::api::{Api, ApiArgs, ApiError};
use super::{failed, holds_token};
use crate::revocation::{LONGEST_REASON, RevocationId};

/// As many as the API shows at once.
const PAGE: usize = 1000;

/// Arguments of `flowgate revoke`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct RevokeArgs {
    #[command(subcommand)]
    command: Option<RevokeCommand>,
    #[command(flatten)]
    wanted: WantedArgs,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Subcommand, Debug)]
enum RevokeCommand {
    /// Print all revocations that hold, the oldest first
    List(ListArgs),
    /// Undo one: such tokens are honoured again
    Undo(UndoArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args, Debug)]
struct UndoArgs {
    /// Its id, as `revoke` and `revoke list` print it
    #[arg(value_parser = parse_id)]
    id: RevocationId,
    #[command(flatten)]
    api: ApiArgs,
}

/// Which tokens.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("whose").args(["token_id", "subject", "team"]))]
#[command(group = ArgGroup::new("wanted").args(["token_id", "subject", "team", "issued_before"]).multiple(true).required(true))]
struct WantedArgs {
    /// The token with this id (jti)
    #[arg(long, value_name = "ID", value_parser = parse_token_id, conflicts_with = "issued_before")]
    token_id: Option<String>,
    /// The tokens of this subject that were issued so far
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// The tokens that hold this team and were issued so far
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    /// Tokens issued before this moment, of everybody or of the subject or team: `now`, or as in 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    issued_before: Option<String>,
    /// Only tokens of the issuer that has this name in the configuration
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// How long it holds, such as 30d; a subject or team is then shut out with whatever token
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_term, requires = "whose")]
    term: Option<String>,
    /// Why, for whoever reads the list
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: Option<String>,
}

fn parse_id(text: &str) -> Result<RevocationId, String> {
    RevocationId::parse(text)
        .ok_or_else(|| "write the 16 digits that `flowgate revoke list` shows first on a line".into())
}

fn parse_token_id(text: &str) -> Result<String, String> {
    match holds_token(text) {
        true => Err("that is a whole token; its id is the jti that `flowgate token verify` shows".into()),
        false => Ok(text.into()),
    }
}

fn parse_time(text: &str) -> Result<String, String> {
    match text == "now" || OffsetDateTime::parse(text, &Rfc3339).is_ok() {
        true => Ok(text.into()),
        false => Err("write `now`, or a time such as 2026-03-01T12:00:00Z".into()),
    }
}

fn parse_term(text: &str) -> Result<String, String> {
    match humantime::parse_duration(text) {
        Ok(_) => Ok(text.into()),
        Err(_) => Err("write a duration such as 90m or 30d".into()),
    }
}

fn parse_reason(text: &str) -> Result<String, String> {
    match text.len() > LONGEST_REASON || text.chars().any(char::is_control) {
        true => Err(format!("write one line of at most {LONGEST_REASON} bytes")),
        false => Ok(text.into()),
    }
}

/// Exit codes: 0 done, 1 not done, 2 usage.
pub fn run(args: &RevokeArgs) -> ExitCode {
    let api = match &args.command {
        None => &args.api,
        Some(RevokeCommand::List(list)) => &list.api,
        Some(RevokeCommand::Undo(undo)) => &undo.api,
    };
    let json = api.json;
    let api = match api.open() {
        Ok(api) => api,
        Err(code) => return code,
    };
    let done = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Into::into);
    let done = done.and_then(|runtime| {
        runtime.block_on(async {
            match &args.command {
                None => revoke(&args.wanted, &api, json).await,
                Some(RevokeCommand::List(_)) => list(&api, json).await,
                Some(RevokeCommand::Undo(UndoArgs { id, .. })) => undo(*id, &api, json).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn revoke(wanted: &WantedArgs, api: &Api, json: bool) -> anyhow::Result<()> {
    let texts = [
        ("tokenId", &wanted.token_id),
        ("subject", &wanted.subject),
        ("team", &wanted.team),
        ("issuedBefore", &wanted.issued_before),
        ("issuer", &wanted.issuer),
        ("for", &wanted.term),
        ("reason", &wanted.reason),
    ];
    let said = texts.iter().filter_map(|(key, text)| Some((key.to_string(), Value::from(text.as_deref()?))));
    let body = Value::Object(said.collect::<Map<_, _>>());
    let answer = api.ask(Method::POST, "/api/revocations", Some(&body)).await.map_err(not_done)?;
    if json {
        return print(&answer);
    }
    for one in list_in(&answer) {
        writeln!(io::stdout(), "revoked {}", line(one))?;
    }
    let closed = answer["closed"].as_u64().unwrap_or_default();
    writeln!(io::stdout(), "closed {closed} live {}", if closed == 1 { "socket" } else { "sockets" })?;
    warn(&answer);
    Ok(())
}

/// Page by page, so that it does not matter how many there are.
async fn list(api: &Api, json: bool) -> anyhow::Result<()> {
    let mut after = String::new();
    loop {
        let target = format!("/api/revocations?limit={PAGE}{after}");
        let page = api.ask(Method::GET, &target, None).await.map_err(not_listed)?;
        for one in list_in(&page) {
            match json {
                true => print(one)?,
                false => writeln!(io::stdout(), "{}", line(one))?,
            }
        }
        // What is no id would not be one in an address either.
        let next = page["next"].as_str().and_then(RevocationId::parse);
        match next {
            Some(next) => after = format!("&after={next}"),
            None => {
                warn(&page);
                return Ok(());
            }
        }
    }
}

async fn undo(id: RevocationId, api: &Api, json: bool) -> anyhow::Result<()> {
    api.ask(Method::DELETE, &format!("/api/revocations/{id}"), None).await.map_err(not_done)?;
    match json {
        true => print(&serde_json::json!({ "undone": id })),
        false => Ok(writeln!(io::stdout(), "undone {id}")?),
    }
}

/// As one line.
fn print(json: &Value) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{json}")?)
}

fn list_in(answer: &Value) -> &[Value] {
    answer["revocations"].as_array().map_or(&[], |list| list)
}

/// Tools find it in the JSON.
fn warn(answer: &Value) {
    if let Some(warning) = answer["warning"].as_str() {
        eprintln!("warning: {warning}");
    }
}

/// One revocation for people. Names from outside are quoted and escaped.
fn line(one: &Value) -> String {
    let text = |key: &str| one[key].as_str();
    let named = [("token", "tokenId"), ("subject", "subject"), ("team", "team")]
        .into_iter()
        .find_map(|(word, key)| text(key).map(|name| format!("{word} {name:?}")));
    let mut line = format!("{}  {}", text("id").unwrap_or("?"), named.unwrap_or_else(|| "everyone".into()));
    if let Some(issuer) = text("issuer") {
        line.push_str(&format!(" of issuer {issuer:?}"));
    }
    if let Some(before) = text("issuedBefore") {
        line.push_str(&format!(", issued before {before}"));
    }
    if let Some(until) = text("until") {
        line.push_str(&format!(", until {until}"));
    }
    if let Some(reason) = text("reason") {
        line.push_str(&format!(": {reason:?}"));
    }
    line
}

/// What it means that a change was not answered as it should have been.
fn not_done(error: ApiError) -> anyhow::Error {
    match error {
        ApiError::NotThere(..) => anyhow!(
            "{error}. Nothing was done: it is the running flowgate that revokes and undoes. Start it, or say where its \
             internal port is with --internal, and run this again"
        ),
        ApiError::NotInternal(..) | ApiError::Plain(..) => anyhow!("{error}. Nothing was done"),
        ApiError::Lost(..) => {
            anyhow!("{error}. It may have been done all the same: see `flowgate revoke list`")
        }
        ApiError::Declined { .. } => anyhow!("{error}"),
    }
}

fn not_listed(error: ApiError) -> anyhow::Error {
    match error {
        ApiError::NotThere(..) => {
            anyhow!("{error}. Start it, or say where its internal port is with --internal")
        }
        _ => anyhow!("{error}"),
    }
}
