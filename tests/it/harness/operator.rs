//! Whoever holds the admin token of an internal port, and a sidecar that has one.

use std::net::SocketAddr;

use flowgate::config::admin_token::AdminToken;
use serde_json::Value;

use super::http::{Answer, Http};
use super::{Sidecar, within};

/// The admin token that [`operated`] sets.
pub const TOKEN: &str = "an-admin-token-of-the-tests";

#[derive(Clone, Copy)]
pub struct Operator(pub SocketAddr);

impl Operator {
    /// Asks with the token, and with these headers too.
    pub async fn request(self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let authorization = format!("Bearer {TOKEN}");
        let headers = [&[("Authorization", &*authorization)], headers].concat();
        let mut http = Http::to(self.0).await;
        within("an answer of the API", http.request(method, target, &headers, body)).await
    }

    /// Asks the API; an answer without a body is `null`.
    pub async fn ask(self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let answer = self.request(method, target, &[], body).await;
        let body = match &*answer.body {
            "" => Value::Null,
            body => serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer:?}")),
        };
        (answer.status, body)
    }

    /// What the API answers to a question it has an answer to.
    pub async fn get(self, target: &str) -> Value {
        let (status, answer) = self.ask("GET", target, "").await;
        assert_eq!(status, 200, "{target}: {answer}");
        answer
    }
}

/// A sidecar with these settings and an admin token, and its operator.
pub async fn operated(settings: &str) -> (Sidecar, Operator) {
    let sidecar = Sidecar::start_with(settings, |policy| {
        policy.internal.admin_token = Some(AdminToken::new(TOKEN).unwrap());
    })
    .await;
    let operator = Operator(sidecar.internal);
    (sidecar, operator)
}
