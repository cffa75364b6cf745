//! Revocation: by the API and the command line, of live sockets and of those that come back, across restarts.

mod api;
mod command;
mod live;
mod store;

use std::net::SocketAddr;

use flowgate::config::admin_token::AdminToken;
use serde_json::{Value, json};

use crate::harness::http::Http;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, within};

/// The variable of `internal.admin_token_env`, and the token.
const VARIABLE: &str = "FLOWGATE_ADMIN_TOKEN";
const TOKEN: &str = "an-admin-token-of-the-tests";

/// Whoever holds the admin token of an internal port.
#[derive(Clone, Copy)]
struct Operator(SocketAddr);

impl Operator {
    /// Asks the API; an answer without a body is `null`.
    async fn ask(self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let authorization = format!("Bearer {TOKEN}");
        let headers = [("Authorization", &*authorization)];
        let mut http = Http::to(self.0).await;
        let answer = within("an answer of the API", http.request(method, target, &headers, body)).await;
        let body = match &*answer.body {
            "" => Value::Null,
            body => serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer:?}")),
        };
        (answer.status, body)
    }

    async fn post(self, wanted: &Value) -> (u16, Value) {
        self.ask("POST", "/api/revocations", &wanted.to_string()).await
    }

    /// Revokes something new, and returns what the API says of it.
    async fn revoke(self, wanted: Value) -> Value {
        let (status, answer) = self.post(&wanted).await;
        assert_eq!(status, 201, "{answer}");
        answer
    }

    /// All revocations on one page.
    async fn list(self) -> Vec<Value> {
        let (status, page) = self.ask("GET", "/api/revocations?limit=1000", "").await;
        assert_eq!(status, 200, "{page}");
        page["revocations"].as_array().unwrap().clone()
    }
}

/// A sidecar with these settings, and its operator.
async fn sidecar(settings: &str) -> (Sidecar, Operator) {
    let sidecar = Sidecar::start_with(settings, |policy| {
        policy.internal.admin_token = Some(AdminToken::new(TOKEN).unwrap());
    })
    .await;
    let operator = Operator(sidecar.internal);
    (sidecar, operator)
}

/// What becomes of a CONNECT with such claims above those of [`crate::harness::claims`].
async fn knock(public: SocketAddr, claims: Value) -> Result<(), String> {
    RawSocket::open(public).await.connect(&token(claims)).await
}

/// The CONNECT payload with such a token.
fn token(claims: Value) -> Value {
    json!({ "token": crate::harness::mint(claims) })
}

fn revoked() -> Result<(), String> {
    Err("token_revoked".into())
}
