//! What `flowgate serve --dev` prints: tokens and a client to paste.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use crate::config::DEV_ISSUER;

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

    /// Tokens and a snippet that works when pasted, and the admin token where it is the one that counts.
    ///
    /// # Errors
    /// A token cannot be signed.
    pub fn welcome(
        &self,
        scheme: &str,
        address: SocketAddr,
        path: &str,
        with_admin_token: bool,
    ) -> anyhow::Result<String> {
        let tokens = USERS
            .iter()
            .map(|(user, team)| Ok((*user, *team, mint(user, team, &self.secret)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut text =
            String::from("\nDevelopment mode: a throw-away key, pages of this machine admitted.\n\n");
        for (user, team, token) in &tokens {
            writeln!(text, "{user} of team {team}, for 12 hours:\n{token}\n")?;
        }
        if with_admin_token {
            writeln!(text, "The admin token of the internal port, until this ends:\n{}\n", self.admin_token)?;
        }
        // Where every address is listened on, this machine's own is one.
        let host = if address.ip().is_unspecified() { "localhost".into() } else { address.ip().to_string() };
        let url = match address {
            SocketAddr::V6(v6) if !v6.ip().is_unspecified() => {
                format!("{scheme}://[{host}]:{}", address.port())
            }
            _ => format!("{scheme}://{host}:{}", address.port()),
        };
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

fn mint(user: &str, team: &str, secret: &str) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({
        "iss": DEV_ISSUER,
        "sub": user,
        "teams": [team],
        "roles": ["editor"],
        "iat": now,
        "exp": now + TOKEN_LIFETIME.as_secs(),
    });
    Ok(encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))?)
}
