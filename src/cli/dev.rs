//! What `flowgate serve --dev` prints: where the playground is, tokens, and a client to paste.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use crate::config::DEV_ISSUER;
use crate::internal::playground::{Mint, Who};
use crate::server::Server;

/// A day's work. The key is gone when the process is, so a longer one would gain nothing.
const TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Two users of one team, and one of another.
const USERS: &[(&str, &str)] = &[("ann", "design"), ("ben", "design"), ("cleo", "ops")];

/// What holds for one run and no longer.
pub struct ThrowAway {
    /// An HS256 secret.
    pub secret: String,
    /// What opens the internal port's API.
    pub admin_token: String,
}

impl ThrowAway {
    /// A fresh one of each.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn make() -> anyhow::Result<Self> {
        Ok(ThrowAway { secret: random()?, admin_token: random()? })
    }

    /// What signs tokens for the playground.
    pub fn mint(&self) -> Mint {
        let secret = self.secret.clone();
        Box::new(move |who| mint(who, &secret).ok())
    }

    /// Where the playground is, tokens and a snippet that works when pasted, and the admin token where it is the one that
    /// counts.
    ///
    /// # Errors
    /// A token cannot be signed.
    pub fn welcome(&self, server: &Server, path: &str, with_admin_token: bool) -> anyhow::Result<String> {
        let tokens = USERS
            .iter()
            .map(|(user, team)| Ok((*user, *team, mint(&member(user, team), &self.secret)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut text = String::new();
        if let Some(playground) = server.playground_url() {
            writeln!(text, "\n  ➜  Open the playground: {playground}")?;
        }
        writeln!(text, "\nDevelopment mode: a throw-away key, pages of this machine admitted.\n")?;
        for (user, team, token) in &tokens {
            writeln!(text, "{user} of team {team}, for 12 hours:\n{token}\n")?;
        }
        if with_admin_token {
            writeln!(text, "The admin token of the internal port, until this ends:\n{}\n", self.admin_token)?;
        }
        let url = server.url();
        let token = tokens.first().map(|(_, _, token)| token.as_str()).unwrap_or_default();
        write!(
            text,
            r#"Paste this into client.mjs, then: npm install socket.io-client && node client.mjs

import {{ io }} from "socket.io-client";
const socket = io("{url}", {{ path: "{path}", auth: {{ token: "{token}" }} }});
socket.on("connect", () => {{
  const change = {{ type: "task-updated", taskId: 7, timestamp: Date.now() }};
  socket.emit("database-change", change, (answer) => console.log("answer", answer));
}});
socket.on("database-changed", (change) => console.log("changed", change));
socket.on("connect_error", (error) => console.log("refused", error.message));

Run it twice, the second time with ben's token, and both hear each other; cleo hears neither.
"#
        )?;
        Ok(text)
    }
}

/// 32 random bytes in hexadecimal.
fn random() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("cannot make a throw-away key: {error}"))?;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// An editor of one team.
fn member(user: &str, team: &str) -> Who {
    Who { user: user.into(), teams: vec![team.into()], roles: vec!["editor".into()] }
}

fn mint(who: &Who, secret: &str) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({
        "iss": DEV_ISSUER,
        "sub": who.user,
        "teams": who.teams,
        "roles": who.roles,
        "iat": now,
        "exp": now + TOKEN_LIFETIME.as_secs(),
    });
    Ok(encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))?)
}
