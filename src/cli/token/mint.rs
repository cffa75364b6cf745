//! `flowgate token mint`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Args};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::signer::signer;
use super::{BAD_CONFIG, Failure, LoadPolicy, USAGE, finish};
use crate::config::key_material::algorithm_named;
use crate::config::policy::{Issuer, Policy};
use crate::name::{ROLES, TEAMS};

/// `flowgate token mint`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("key").args(["secret_env", "secret_file", "private_key_file"]))]
pub struct MintArgs {
    /// Configuration files or folders, for --issuer
    #[arg(long, value_name = "PATH", env = "FLOWGATE_CONFIG", value_delimiter = ':')]
    pub config: Vec<PathBuf>,
    /// The configured issuer whose secret, iss, aud and claim paths are used; the only one need not be named
    #[arg(long, value_name = "NAME", required_unless_present_any = ["key", "config"])]
    pub issuer: Option<String>,
    /// Sign with the secret in this environment variable
    #[arg(long, value_name = "NAME")]
    pub secret_env: Option<String>,
    /// Sign with the secret in this file
    #[arg(long, value_name = "PATH")]
    pub secret_file: Option<PathBuf>,
    /// Sign with the private key (PKCS#8 PEM) in this file
    #[arg(long, value_name = "PATH")]
    pub private_key_file: Option<PathBuf>,
    /// The algorithm, such as HS256 or ES256; the key's usual one when left out
    #[arg(long, value_parser = parse_algorithm)]
    pub algorithm: Option<Algorithm>,
    /// The subject: who the token is for
    #[arg(long)]
    pub sub: String,
    /// A team; may be repeated
    #[arg(long)]
    pub team: Vec<String>,
    /// A role; may be repeated
    #[arg(long)]
    pub role: Vec<String>,
    /// How long the token is valid
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// The iss claim; the configured issuer's when left out
    #[arg(long, value_name = "TEXT")]
    pub issuer_claim: Option<String>,
    /// The aud claim; the configured issuer's first when left out
    #[arg(long, value_name = "TEXT")]
    pub audience: Option<String>,
    /// A further claim, its value in JSON; may be repeated
    #[arg(long, value_name = "NAME=JSON", value_parser = parse_claim)]
    pub claim: Vec<(String, Value)>,
    /// The key's name in the header
    #[arg(long)]
    pub kid: Option<String>,
}

/// Prints a freshly signed token, and nothing else, to standard output.
///
/// Exit codes: 0 printed, 1 could not sign, 2 usage, 78 bad configuration.
pub fn mint(args: &MintArgs, load: LoadPolicy<'_>) -> ExitCode {
    finish(mint_token(args, load, SystemTime::now()))
}

pub(super) fn mint_token(args: &MintArgs, load: LoadPolicy<'_>, now: SystemTime) -> Result<String, Failure> {
    let policy = match (&args.issuer, args.config.is_empty()) {
        (None, true) => None,
        _ => Some(load(&args.config).map_err(|text| Failure::new(BAD_CONFIG, text))?),
    };
    let issuer = match (&args.issuer, &policy) {
        (Some(name), Some(policy)) => Some(issuer_named(name, policy)?),
        // Where there is but one issuer, it need not be named.
        (None, Some(policy)) => match &*policy.auth.issuers {
            [only] => Some(only),
            _ => None,
        },
        (_, None) => None,
    };
    if let Some(policy) = &policy {
        check_lifetime(args, issuer, policy)?;
    }
    let signer = signer(args, issuer)?;
    let claims = claims(args, issuer, policy.as_ref(), now)?;
    signer.token(args.kid.as_deref(), &claims)
}

fn issuer_named<'a>(name: &str, policy: &'a Policy) -> Result<&'a Issuer, Failure> {
    let issuers = &policy.auth.issuers;
    issuers.iter().find(|issuer| *issuer.name == *name).ok_or_else(|| {
        let known: Vec<_> = issuers.iter().map(|issuer| &*issuer.name).collect();
        Failure::new(
            USAGE,
            format!("--issuer {name:?}: the configuration has no such issuer, only: {}", known.join(", ")),
        )
    })
}

/// A token that the server would refuse is not worth having, unless somebody writes its `exp` or `iat` by hand to see that.
fn check_lifetime(args: &MintArgs, issuer: Option<&Issuer>, policy: &Policy) -> Result<(), Failure> {
    if args.claim.iter().any(|(name, _)| name == "exp" || name == "iat") {
        return Ok(());
    }
    let issuers = policy.auth.issuers.iter();
    let (most, whose) = match issuer {
        Some(issuer) => (issuer.max_lifetime, format!("max_lifetime of issuer {:?} is", issuer.name)),
        None => {
            let longest = issuers.map(|issuer| issuer.max_lifetime).max().unwrap_or(policy.auth.max_lifetime);
            (longest, "no issuer's max_lifetime is more than".into())
        }
    };
    if args.ttl <= most {
        return Ok(());
    }
    let most = humantime::format_duration(most);
    Err(Failure::new(
        USAGE,
        format!(
            "--ttl {}: a server with this configuration refuses such a token as token_invalid, since {whose} {most}; \
             write {most} or less, or raise auth.max_lifetime. To have such a token all the same, give its exp with --claim",
            humantime::format_duration(args.ttl)
        ),
    ))
}

fn claims(
    args: &MintArgs,
    issuer: Option<&Issuer>,
    policy: Option<&Policy>,
    now: SystemTime,
) -> Result<Map<String, Value>, Failure> {
    if args.team.len() > TEAMS.most || args.role.len() > ROLES.most {
        return Err(Failure::new(
            USAGE,
            format!("at most {} teams and {} roles are read", TEAMS.most, ROLES.most),
        ));
    }
    let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut claims = Map::new();
    claims.insert("iat".into(), issued.into());
    claims.insert("exp".into(), issued.saturating_add(args.ttl.as_secs()).into());
    let iss = args.issuer_claim.as_ref().or_else(|| issuer.and_then(|issuer| issuer.issuer.as_ref()));
    if let Some(iss) = iss {
        claims.insert("iss".into(), iss.as_str().into());
    }
    let aud = args.audience.as_ref().or_else(|| issuer.and_then(|issuer| issuer.audience.first()));
    if let Some(aud) = aud {
        claims.insert("aud".into(), aud.as_str().into());
    }
    let paths = policy.map(|policy| &policy.auth.claims);
    let path = |configured: Option<&Vec<String>>, usual: &str| {
        configured.cloned().unwrap_or_else(|| vec![usual.to_owned()])
    };
    put(&mut claims, &path(paths.map(|paths| &paths.subject), "sub"), args.sub.as_str().into())?;
    if !args.team.is_empty() {
        put(&mut claims, &path(paths.map(|paths| &paths.teams), "teams"), args.team.clone().into())?;
    }
    if !args.role.is_empty() {
        put(&mut claims, &path(paths.map(|paths| &paths.roles), "roles"), args.role.clone().into())?;
    }
    for (name, value) in &args.claim {
        claims.insert(name.clone(), value.clone());
    }
    Ok(claims)
}

/// Puts a value at a dotted path. A name that is an address keeps its dots: it is put as one literal name, which
/// verification looks for first.
fn put(claims: &mut Map<String, Value>, path: &[String], value: Value) -> Result<(), Failure> {
    let literal = path.join(".");
    let Some((last, parents)) = path.split_last().filter(|_| !literal.contains("://")) else {
        claims.insert(literal, value);
        return Ok(());
    };
    let mut object = claims;
    for parent in parents {
        let below = object.entry(parent.clone()).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(below) = below else {
            return Err(Failure::new(
                BAD_CONFIG,
                format!("auth.claims: the paths {literal:?} and {parent:?} cannot both be in one token"),
            ));
        };
        object = below;
    }
    object.insert(last.clone(), value);
    Ok(())
}

fn parse_algorithm(name: &str) -> Result<Algorithm, String> {
    algorithm_named(name).ok_or_else(|| {
        "write one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
            .into()
    })
}

fn parse_claim(text: &str) -> Result<(String, Value), String> {
    let (name, json) = text.split_once('=').ok_or("write NAME=JSON, such as admin=true or org='\"acme\"'")?;
    let value = serde_json::from_str(json).map_err(|error| {
        format!("the value of {name} is not JSON ({error}); text needs quotes, as in {name}='\"text\"'")
    })?;
    Ok((name.to_owned(), value))
}
