//! The policy: what the settings mean, checked and compiled once, immutable, and swapped whole.
//!
//! [`super::raw`] is what a file may say; this is what the process acts on. Every value here is possible.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::admin_token::AdminToken;
use super::bus::Bus;
use super::certificate::Certificate;
use super::effective::Effective;
use super::expression::{Expression, Fields};
use super::json_schema::JsonSchema;
use super::key_material::KeyMaterial;

/// Everything the process acts on.
#[derive(Debug)]
pub struct Policy {
    /// A short name of it, the same wherever the same policy is loaded; see [`super::content::Content::hash`].
    pub hash: Arc<str>,
    /// Every setting that it was made of, with its origin, for who asks; `None` where a program made it by itself.
    pub effective: Option<Arc<Effective>>,
    /// The public listener.
    pub server: Server,
    /// The operators' listener.
    pub internal: Internal,
    /// Who may connect.
    pub auth: Auth,
    /// How revocations are kept.
    pub revocation: Revocation,
    /// Which rooms a peer is in.
    pub rooms: Rooms,
    /// How much of everything.
    pub limits: Limits,
    /// How what is accepted reaches members.
    pub relay: Relay,
    /// How much a refusal tells the client.
    pub refusal_detail: RefusalDetail,
    /// What may be sent, by event name.
    pub events: HashMap<Arc<str>, Arc<EventPolicy>>,
    /// Who may send what, beyond that, in the order of the file.
    pub rules: Vec<Arc<Rule>>,
    /// Who may hear what, in the order of the file.
    pub audience: Vec<Arc<AudienceRule>>,
    /// Under what events are counted: each event's name, with each of its types and without one. A fixed set.
    pub labels: Vec<Label>,
    /// Who sends beside clients, and whether those may.
    pub publish: Publish,
    /// How several nodes share their teams.
    pub bus: Bus,
    /// Where decisions are written down; `None` where they are not.
    pub decision_log: Option<DecisionLog>,
    /// Whether the files that it was made of are watched.
    pub watch: bool,
    /// How the process goes down.
    pub drain: Drain,
}

impl Policy {
    /// The claims that rules look at, each once. Peers keep these and no others.
    pub fn claims_read(&self) -> BTreeSet<&str> {
        let judging = self.rules.iter().filter(|rule| rule.mode != Mode::Off);
        let judging = judging.map(|rule| &rule.expression);
        let deciding = self.audience.iter().filter(|rule| rule.mode != Mode::Off);
        let expressions = judging.chain(deciding.map(|rule| &rule.expression));
        expressions.flat_map(|expression| &expression.reads().claims).map(|claim| &**claim).collect()
    }
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where the public port listens.
    pub listen: SocketAddr,
    /// The Socket.IO path, with both slashes: `/socket.io/`.
    pub path: String,
    /// Long-polling is offered.
    pub polling: bool,
    /// WebSocket is offered.
    pub websocket: bool,
    /// Which pages may connect.
    pub allowed_origins: AllowedOrigins,
    /// Whether a request without an `Origin` header may connect.
    pub allow_missing_origin: bool,
    /// Networks whose `X-Forwarded-For` and PROXY protocol are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether requests that name a session must come from the address (IPv6: the /64) that opened it.
    pub bind_sessions_to_address: bool,
    /// Set where the public port speaks TLS.
    pub tls: Option<Tls>,
}

/// `[server.tls]`.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Where the certificate chain is, to be read again when it changes.
    pub certificate_file: PathBuf,
    /// Where the private key is, likewise.
    pub key_file: PathBuf,
    /// What was in both files when the settings were read.
    pub certificate: Certificate,
}

/// `server.allowed_origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// `["*"]`: every page, never with credentials.
    Any,
    /// Exactly these, compared as the browser sends them (`scheme://host[:port]`, lower case).
    List(Vec<String>),
    /// Every page of this machine, at any port: what `serve --dev` sets. No configuration key can.
    Loopback,
}

/// `[internal]`.
#[derive(Clone, Debug)]
pub struct Internal {
    /// Where health, metrics and the API listen.
    pub listen: SocketAddr,
    /// The variable that holds the API's token.
    pub admin_token_env: Arc<str>,
    /// What it held; `None` where it was not set, and nobody may use the API.
    pub admin_token: Option<AdminToken>,
}

/// `[publish]`.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Whether clients may send, as far as the rest of the policy lets them.
    pub clients: bool,
    /// Backends that may publish.
    pub publishers: Vec<Arc<Publisher>>,
}

/// One backend that may publish over the internal port.
#[derive(Debug)]
pub struct Publisher {
    /// How logs and metrics call it.
    pub name: Arc<str>,
    /// The key under which it stands, named in refusals.
    pub key: Arc<str>,
    /// What it proves itself with: any of these.
    pub tokens: Vec<AdminToken>,
    /// The teams that it may publish to.
    pub teams: Vec<Glob>,
    /// The types that it may publish. An event that has no type matches `*` only.
    pub types: Vec<Glob>,
}

/// `[auth]`.
#[derive(Debug)]
pub struct Auth {
    /// Whether a token is needed.
    pub mode: AuthMode,
    /// Where a token is looked for; the first present counts.
    pub token_from: Vec<TokenSource>,
    /// Clock difference allowed on `exp`, `nbf` and `iat`.
    pub leeway: Duration,
    /// The longest validity accepted, unless the issuer says otherwise.
    pub max_lifetime: Duration,
    /// Whether a client may bring a newer token on its live socket.
    pub refresh: bool,
    /// Whose tokens are accepted.
    pub issuers: Vec<Issuer>,
    /// Where in the claims things stand.
    pub claims: ClaimPaths,
}

/// `auth.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// No token, no connection.
    Required,
    /// Without a token a peer only listens; a bad token is still refused.
    Optional,
    /// Nobody is asked, and there is one room.
    Off,
}

/// One entry of `auth.token_from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `auth`: the handshake's `auth.token`.
    Auth,
    /// `header`: `Authorization: Bearer …`.
    Header,
    /// `cookie:NAME`.
    Cookie(String),
}

/// One `[[auth.issuers]]`.
#[derive(Debug)]
pub struct Issuer {
    /// The name by which layers merge and logs speak of it.
    pub name: Arc<str>,
    /// The `iss` that its tokens must carry, when set.
    pub issuer: Option<String>,
    /// When not empty, `aud` must contain one of these.
    pub audience: Vec<String>,
    /// The algorithms its keys may be used with.
    pub algorithms: Vec<jsonwebtoken::Algorithm>,
    /// The longest validity accepted from it.
    pub max_lifetime: Duration,
    /// Its key or keys.
    pub key: KeyMaterial,
}

/// `[auth.claims]`: dotted paths into the claims, already split.
#[derive(Clone, Debug)]
pub struct ClaimPaths {
    /// The subject; text.
    pub subject: Vec<String>,
    /// The teams; text or an array of text.
    pub teams: Vec<String>,
    /// The roles; text or an array of text.
    pub roles: Vec<String>,
}

/// `[revocation]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Revocation {
    /// What keeps them across restarts; `None`: memory only.
    pub store: Option<RevocationStore>,
    /// How many there may be.
    pub capacity: usize,
}

/// `revocation.store`.
#[derive(Clone, Debug, PartialEq)]
pub struct RevocationStore {
    /// The file.
    pub path: PathBuf,
    /// Where it was set, for messages.
    pub origin: String,
}

/// `[rooms]`.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// Whether a verified peer without any team is admitted.
    pub admit_without_team: bool,
    /// `multi_team = "all"`: an event that names no team goes to all of the sender's teams.
    pub send_to_all_teams: bool,
    /// The room in which peers without a token listen (`auth.mode = "optional"`).
    pub anonymous: Option<Arc<str>>,
}

/// `[limits]`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections and handshakes.
    pub connections: ConnectionLimits,
    /// Events.
    pub events: EventLimits,
    /// One event's payload.
    pub payload: PayloadLimits,
    /// What a peer that does not read may hold back.
    pub slow_reader: SlowReader,
}

/// `[limits.connections]`.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Engine.IO sessions in the process.
    pub total: u32,
    /// Sessions from one client address (IPv6: one /64).
    pub per_ip: u32,
    /// Admitted sockets of one subject.
    pub per_user: u32,
    /// New sessions from one client address.
    pub handshakes_per_ip: Rate,
    /// New sessions in the process.
    pub handshakes_total: Rate,
}

/// A token bucket: `burst` tokens at first, refilled at `count` per `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens per period.
    pub count: NonZeroU32,
    /// The period.
    pub per: Duration,
    /// The bucket's size.
    pub burst: NonZeroU32,
}

/// What follows where a check says no: `mode` of a rule, of an audience rule and of a limit on events, and `validation` of an
/// event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The event is refused, or withheld.
    Enforce,
    /// The event passes, and what would have been refused or withheld is counted and logged.
    Observe,
    /// Nothing: it is checked when the policy is loaded, and judges no event.
    Off,
}

/// `[limits.events]`.
#[derive(Clone, Debug)]
pub struct EventLimits {
    /// Of one socket.
    pub per_socket: EventLimit,
    /// Of all sockets of one subject.
    pub per_user: EventLimit,
    /// Of all sockets of one client address (IPv6: one /64).
    pub per_address: EventLimit,
    /// Into one team.
    pub per_team: EventLimit,
    /// What follows for an event over `per_socket` or `per_user`, where these are enforced.
    pub on_limit: OnLimit,
    /// Refused events after which the connection is closed.
    pub disconnect_after: DisconnectAfter,
}

/// `limits.events.on_limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLimit {
    /// It is refused.
    Refuse,
    /// It waits for the rate, and for equal ones to take its place.
    Coalesce,
}

/// One rate of `[limits.events]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimit {
    /// How much.
    pub rate: Rate,
    /// What follows past it.
    pub mode: Mode,
}

/// `limits.events.disconnect_after`.
#[derive(Clone, Copy, Debug)]
pub struct DisconnectAfter {
    /// Refusals within [`DisconnectAfter::per`].
    pub refusals: u32,
    /// The window.
    pub per: Duration,
    /// Whether the connection is closed for it.
    pub mode: Mode,
}

/// `[limits.payload]`.
#[derive(Clone, Copy, Debug)]
pub struct PayloadLimits {
    /// An event whose arguments' JSON text is longer is refused with `too_large`; bytes.
    pub max_bytes: usize,
    /// A packet that is longer closes the connection; bytes.
    pub hard_max_bytes: usize,
    /// Nesting of arrays and objects; a flat object has depth 1.
    pub max_depth: usize,
}

/// `[limits.slow_reader]`.
#[derive(Clone, Copy, Debug)]
pub struct SlowReader {
    /// Bytes that may wait for one peer.
    pub max_queued: usize,
    /// How long bytes may wait without any being taken.
    pub max_stall: Duration,
}

/// `[relay]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// `coalesce`: how long changes wait for equal ones; `None` where they don't.
    pub coalesce: Option<Duration>,
    /// Whether events carry their meta as a second argument.
    pub meta: bool,
    /// Whether clients that do not say how far they have heard are told at their admission to fetch everything anew.
    pub resync_on_connect: bool,
    /// What is kept of each team's events for those who come back; `None` where nothing is. Only with [`Relay::meta`].
    pub history: Option<HistoryBounds>,
    /// `history.store`: where. [`Store::Redis`] only where something is kept and there may be other nodes.
    pub store: Store,
}

/// `relay.history.store`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Each node keeps what it has told.
    Memory,
    /// All nodes keep one history in Redis too.
    Redis,
}

/// `[relay.history]`: what is kept of each team's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryBounds {
    /// How many, at most.
    pub count: usize,
    /// For how long.
    pub age: Duration,
    /// What they may take up together, roughly; bytes.
    pub bytes: usize,
}

/// `refusals.detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalDetail {
    /// The code and when to retry.
    Code,
    /// Message, rule and field too: it shows the policy to clients.
    Full,
}

/// `[decision_log]`, where it has a `path`.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionLog {
    /// The file that is written.
    pub path: PathBuf,
    /// Where `path` was set, for messages.
    pub origin: String,
    /// The share of accepted events that are written, from 0 to 1.
    pub sample: f64,
    /// The size at which a file is put aside.
    pub max_bytes: u64,
    /// How many files that were put aside are kept.
    pub keep: u32,
}

/// `[drain]`.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// Connections are closed over this long, so that clients do not all return at once.
    pub spread: Duration,
    /// The process has exited by then.
    pub deadline: Duration,
}

/// What an event is counted under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The event's name.
    pub event: Arc<str>,
    /// The name or glob of its type; empty for events of no declared type.
    pub kind: Arc<str>,
}

/// One `[events.NAME]`.
#[derive(Debug)]
pub struct EventPolicy {
    /// The name clients send.
    pub name: Arc<str>,
    /// The name members hear.
    pub emit: Arc<str>,
    /// Whether the sender hears its own event.
    pub echo: bool,
    /// `None`: any JSON within size and depth (`payload = "any"`), including no argument at all.
    pub typed: Option<TypedPayload>,
    /// The payload's field that may name one of the sender's teams.
    pub team_field: Option<Arc<str>>,
    /// The keys named in refusals.
    pub rules: EventRules,
    /// The place among [`Policy::labels`] of its events that have no declared type.
    pub label: usize,
}

/// The configuration keys of one event, made once because refusals share them.
#[derive(Debug)]
pub struct EventRules {
    /// `events.NAME`
    pub event: Arc<str>,
    /// `events.NAME.types`
    pub types: Arc<str>,
    /// `events.NAME.task_id`
    pub task_id: Arc<str>,
    /// `events.NAME.timestamp`
    pub timestamp: Arc<str>,
    /// `events.NAME.fields`
    pub fields: Arc<str>,
    /// `events.NAME.unknown_fields`
    pub unknown_fields: Arc<str>,
    /// `events.NAME.team_field`
    pub team_field: Arc<str>,
}

/// What a typed payload must look like.
#[derive(Debug)]
pub struct TypedPayload {
    /// What follows where it does not look so.
    pub validation: Mode,
    /// Whether any type has a schema.
    pub schemas: bool,
    /// What happens to fields that are not declared.
    pub unknown_fields: UnknownFields,
    /// The timestamp's window.
    pub timestamp: TimestampPolicy,
    /// The kinds of task id.
    pub task_id: TaskIdPolicy,
    /// Declared further fields, by name.
    pub fields: HashMap<Arc<str>, FieldPolicy>,
    /// Types matched by their exact name, which rank before globs.
    pub exact_types: HashMap<Arc<str>, TypePolicy>,
    /// Types matched by a glob, in the order of the file; the first that matches counts.
    pub glob_types: Vec<(Glob, TypePolicy)>,
    /// How events are told from replays, where they are.
    pub replay: Option<ReplayPolicy>,
    /// The rules that judge events of no declared type, which pass unless [`TypedPayload::validation`] is enforced.
    pub undeclared: Option<TypeRules>,
}

/// `replay`, unless it is off.
#[derive(Clone, Debug)]
pub struct ReplayPolicy {
    /// What two events have in common of which one is a replay of the other.
    pub by: ReplayBy,
    /// What follows for the second.
    pub mode: Mode,
    /// `events.NAME.replay`, for refusals.
    pub rule: Arc<str>,
}

/// `replay.by`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayBy {
    /// The text or integer in this field.
    Id(Arc<str>),
    /// Type, task id and timestamp; without a task id the whole payload.
    Content,
}

/// `unknown_fields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// Refused with `unknown_field`.
    Reject,
    /// Left out of what is relayed.
    Strip,
    /// Relayed.
    Pass,
}

/// Whether a field must, may or must not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Must.
    Required,
    /// May.
    Optional,
    /// Must not.
    Forbidden,
}

/// `timestamp`.
#[derive(Clone, Copy, Debug)]
pub struct TimestampPolicy {
    /// Whether it must be there.
    pub presence: Presence,
    /// Older is `stale_timestamp`.
    pub max_age: Duration,
    /// Further ahead is `future_timestamp`.
    pub max_ahead: Duration,
}

/// `task_id`.
#[derive(Clone, Copy, Debug)]
pub struct TaskIdPolicy {
    /// A JSON integer is accepted.
    pub integer: bool,
    /// A JSON string is accepted.
    pub string: bool,
    /// The longest text, in bytes of its JSON digits or of the decoded string.
    pub max_length: usize,
}

/// One entry of `fields`.
#[derive(Clone, Debug)]
pub struct FieldPolicy {
    /// `events.NAME.fields.FIELD`
    pub rule: Arc<str>,
    /// What the JSON value must be.
    pub kind: FieldKind,
    /// Whether it must be there.
    pub presence: Presence,
    /// For strings bytes, for arrays elements, for objects members.
    pub max_length: Option<usize>,
}

/// `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A JSON string.
    String,
    /// A JSON number without fraction or exponent.
    Integer,
    /// A JSON number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A JSON object.
    Object,
    /// A JSON array.
    Array,
}

/// One `[[events.NAME.types]]`.
#[derive(Clone, Debug)]
pub struct TypePolicy {
    /// Whether `taskId` must, may or must not be there.
    pub task_id: Presence,
    /// The rules that judge its events; `None` where there are none.
    pub rules: Option<TypeRules>,
    /// Its place among [`Policy::labels`].
    pub label: usize,
    /// What a payload's other fields must look like, instead of `fields` and `unknown_fields`.
    pub schema: Option<TypeSchema>,
}

/// `schema` of a type.
#[derive(Clone, Debug)]
pub struct TypeSchema {
    /// `events.NAME.types[match="…"].schema`
    pub rule: Arc<str>,
    /// What the whole payload is checked by.
    pub schema: Arc<JsonSchema>,
}

/// The rules that judge the events of one type.
#[derive(Clone, Debug)]
pub struct TypeRules {
    /// In the order of the file.
    pub rules: Vec<AppliedRule>,
    /// The fields of the payload that they look at.
    pub fields: Fields,
}

/// A rule as it stands beside a type.
#[derive(Clone, Debug)]
pub struct AppliedRule {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Whether it judges every event of the type. Else the type is a glob, of which the rule's own patterns match a part.
    pub always: bool,
}

/// One `[[rules]]`.
#[derive(Debug)]
pub struct Rule {
    /// Its place in [`Policy::rules`].
    pub index: usize,
    /// The name by which layers merge, and by which metrics and logs speak of it.
    pub name: Arc<str>,
    /// `rules.NAME`, as refusals say it.
    pub key: Arc<str>,
    /// The types that it judges.
    pub on: Vec<Glob>,
    /// What lets an event pass.
    pub expression: Expression,
    /// What follows where it does not.
    pub mode: Mode,
}

impl Rule {
    /// Whether it judges events of this type.
    pub fn is_on(&self, kind: &str) -> bool {
        self.on.iter().any(|pattern| pattern.matches(kind))
    }
}

/// One `[[audience]]`.
#[derive(Debug)]
pub struct AudienceRule {
    /// The name by which layers merge, and by which metrics and logs speak of it.
    pub name: Arc<str>,
    /// `audience.NAME`.
    pub key: Arc<str>,
    /// The types that it is on.
    pub on: Vec<Glob>,
    /// The teams in which it is; `None` for all.
    pub teams: Option<Vec<Glob>>,
    /// What lets a peer hear them.
    pub expression: Expression,
    /// What follows where it does not.
    pub mode: Mode,
}

impl AudienceRule {
    /// Whether it is on this type.
    pub fn is_on(&self, kind: &str) -> bool {
        self.on.iter().any(|pattern| pattern.matches(kind))
    }

    /// Whether it is in this team.
    pub fn is_in(&self, team: &str) -> bool {
        self.teams.as_ref().is_none_or(|teams| teams.iter().any(|pattern| pattern.matches(team)))
    }
}

/// A pattern in which `*` stands for any run of characters, also none. Nothing else is special.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    pattern: String,
}

impl Glob {
    /// Any text is a pattern; one without `*` matches only itself.
    pub fn new(pattern: impl Into<String>) -> Self {
        Glob { pattern: pattern.into() }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole of `text` matches, in time linear in its length for each `*`.
    pub fn matches(&self, text: &str) -> bool {
        let Some((head, tail)) = self.pattern.split_once('*') else { return self.pattern == text };
        let Some(mut rest) = text.strip_prefix(head) else { return false };
        let mut parts = tail.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }

    /// Whether it matches everything that `other` matches.
    ///
    /// A character that stands in no pattern takes the place of each `*` of `other`. Where this matches that text, it has a
    /// `*` over each of them, and so matches whatever stands there; where it does not, that text is one it misses.
    pub fn covers(&self, other: &Glob) -> bool {
        const IN_NO_PATTERN: &str = "\u{1}";
        self.matches(&other.pattern.replace('*', IN_NO_PATTERN))
    }

    /// Whether there is a text that both match.
    pub fn overlaps(&self, other: &Glob) -> bool {
        match (self.pattern.split_once('*'), other.pattern.split_once('*')) {
            (None, _) => other.matches(&self.pattern),
            (_, None) => self.matches(&other.pattern),
            // The longer beginning, whatever stands between stars in the one and then in the other, and the longer end: both
            // match that, if their beginnings and ends agree as far as both go.
            (Some((start, rest)), Some((other_start, other_rest))) => {
                let end = rest.rsplit('*').next().unwrap_or_default();
                let other_end = other_rest.rsplit('*').next().unwrap_or_default();
                (start.starts_with(other_start) || other_start.starts_with(start))
                    && (end.ends_with(other_end) || other_end.ends_with(end))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn globs_match_whole_texts() {
        for (pattern, yes, no) in [
            ("comment-*", vec!["comment-", "comment-added"], vec!["comment", "xcomment-added"]),
            ("*", vec!["", "a"], vec![]),
            ("*-added", vec!["-added", "comment-added"], vec!["added", "comment-added-"]),
            ("a*b*c", vec!["abc", "axbxc", "abbcc"], vec!["ab", "acb", "abcd"]),
            ("plain", vec!["plain"], vec!["plainer", ""]),
        ] {
            let glob = Glob::new(pattern);
            for text in yes {
                assert!(glob.matches(text), "{pattern} should match {text}");
            }
            for text in no {
                assert!(!glob.matches(text), "{pattern} should not match {text}");
            }
        }
    }

    #[test]
    fn globs_overlap_where_a_text_matches_both() {
        for (one, other, expected) in [
            ("task-deleted", "task-deleted", true),
            ("task-deleted", "task-*", true),
            ("task-*", "task-deleted", true),
            ("task-deleted", "comment-*", false),
            ("*", "comment-*", true),
            ("*-added", "comment-*", true),
            ("comment-added*", "comment-*", true),
            ("task-*", "comment-*", false),
            ("*-added", "*-read", false),
            ("a*b*c", "ab*", true),
            ("a*b", "*a", false),
        ] {
            assert_eq!(Glob::new(one).overlaps(&Glob::new(other)), expected, "{one} {other}");
            assert_eq!(Glob::new(other).overlaps(&Glob::new(one)), expected, "{other} {one}");
        }
    }
}
