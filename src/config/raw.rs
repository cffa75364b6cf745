//! What the settings say, as types and nothing more. [`super::policy`] is what they mean.
//!
//! Everything that has a default in `config/default.toml` is simply there; the rest is optional here, and
//! [`super::compile`] says when it is missed. Texts that stand for something (durations, rates, choices) stay texts, so
//! that all that are wrong can be reported at once.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub server: Server,
    pub internal: Internal,
    pub auth: Auth,
    pub revocation: Revocation,
    pub rooms: Rooms,
    pub limits: Limits,
    pub relay: Relay,
    pub refusals: Refusals,
    pub events: BTreeMap<String, Event>,
    #[serde(default)]
    pub rules: Vec<Rule>,
    #[serde(default)]
    pub audience: Vec<Audience>,
    pub publish: Publish,
    pub bus: Bus,
    pub decision_log: DecisionLog,
    pub reload: Reload,
    pub drain: Drain,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reload {
    pub watch: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub listen: String,
    pub path: String,
    pub transports: Vec<String>,
    pub allowed_origins: Vec<String>,
    pub allow_missing_origin: bool,
    pub trusted_proxies: Vec<String>,
    pub bind_sessions_to_address: bool,
    #[serde(default)]
    pub tls: Tls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub certificate_file: Option<String>,
    pub key_file: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Internal {
    pub listen: String,
    pub admin_token_env: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    pub mode: String,
    pub token_from: Vec<String>,
    pub leeway: String,
    pub max_lifetime: String,
    pub asymmetric_only: bool,
    pub refresh: bool,
    pub claims: Claims,
    #[serde(default)]
    pub issuers: Vec<Issuer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    pub subject: String,
    pub teams: String,
    pub roles: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Issuer {
    pub name: String,
    pub issuer: Option<String>,
    #[serde(default)]
    pub audience: Vec<String>,
    pub algorithms: Option<Vec<String>>,
    pub secret_env: Option<OneOrMany>,
    pub secret_file: Option<OneOrMany>,
    pub public_key_file: Option<OneOrMany>,
    pub jwks_file: Option<String>,
    pub jwks_url: Option<String>,
    #[serde(default)]
    pub insecure_http: bool,
    pub max_lifetime: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    pub store: Option<String>,
    pub capacity: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rooms {
    pub without_team: String,
    pub multi_team: String,
    pub anonymous: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub connections: Connections,
    pub events: EventRates,
    pub payload: PayloadSize,
    pub slow_reader: SlowReader,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Connections {
    pub total: i64,
    pub per_ip: i64,
    pub per_user: i64,
    pub handshakes_per_ip: Rate,
    pub handshakes_total: Rate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventRates {
    pub per_socket: Rate,
    pub per_user: Rate,
    pub per_address: Rate,
    pub per_team: Rate,
    pub on_limit: String,
    pub disconnect_after: DisconnectAfter,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Rate {
    Plain(String),
    Table(RateTable),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateTable {
    pub rate: Option<String>,
    pub burst: Option<i64>,
    /// Only rates of events may have one; the schema sees to that.
    pub mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectAfter {
    pub refusals: i64,
    pub per: String,
    pub mode: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PayloadSize {
    pub max_bytes: Size,
    pub hard_max_bytes: Size,
    pub max_depth: i64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Size {
    Bytes(i64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlowReader {
    pub max_queued: Size,
    pub max_stall: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Relay {
    pub coalesce: Coalesce,
    pub meta: bool,
    pub resync_on_connect: bool,
    pub history: History,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct History {
    pub store: String,
    pub count: i64,
    pub age: String,
    pub bytes: Size,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Coalesce {
    pub window: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusals {
    pub detail: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Event {
    pub emit: Option<String>,
    pub sender: String,
    pub payload: String,
    pub validation: String,
    pub unknown_fields: String,
    pub team_field: Option<String>,
    pub timestamp: Timestamp,
    pub replay: Option<Replay>,
    pub task_id: TaskId,
    #[serde(default)]
    pub fields: BTreeMap<String, Field>,
    #[serde(default)]
    pub types: Vec<Type>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timestamp {
    pub presence: String,
    pub max_age: String,
    pub max_ahead: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    pub by: Option<String>,
    pub field: Option<String>,
    pub mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskId {
    pub kinds: Vec<String>,
    pub max_length: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Field {
    pub kind: Option<String>,
    pub presence: Option<String>,
    pub max_length: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Type {
    #[serde(rename = "match")]
    pub pattern: String,
    pub task_id: Option<String>,
    pub schema: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    pub clients: bool,
    #[serde(default)]
    pub publishers: Vec<Publisher>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publisher {
    pub name: String,
    pub token_env: Option<OneOrMany>,
    pub teams: Option<Vec<String>>,
    pub types: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bus {
    pub driver: String,
    pub node: Option<String>,
    pub max_queued: Size,
    pub required: bool,
    pub redis: Redis,
    #[serde(default)]
    pub hmac: Hmac,
    pub nodejs: NodeJs,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeJs {
    pub enabled: bool,
    pub key: String,
    pub teams: Vec<String>,
    pub types: Vec<String>,
    pub everyone: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redis {
    pub url: OneOrMany,
    pub cluster: bool,
    pub prefix: String,
    pub username: Option<String>,
    pub password_env: Option<String>,
    pub password_file: Option<String>,
    pub ca_file: Option<String>,
    pub certificate_file: Option<String>,
    pub key_file: Option<String>,
    pub connect_timeout: String,
    pub response_timeout: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hmac {
    pub secret_env: Option<OneOrMany>,
    pub secret_file: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub name: String,
    pub on: Option<Vec<String>>,
    pub allow_if: Option<String>,
    pub mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Audience {
    pub name: String,
    pub on: Option<Vec<String>>,
    pub teams: Option<Vec<String>>,
    pub hear_if: Option<String>,
    pub mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionLog {
    pub path: Option<String>,
    pub sample: f64,
    pub max_bytes: Size,
    pub keep: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    pub spread: String,
    pub deadline: String,
}
