//! Keys that are fetched: one background task for each endpoint, and what verification may ask of it.
//!
//! The last good set stays when an endpoint fails. A `kid` that is not in it may be a key published a moment ago, so it
//! has the set fetched again, once for everybody who waits, and no oftener than [`Timing::min_interval`]. A `kid` that
//! such a fetch did not bring is remembered, and refused without another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use parking_lot::{Mutex, RwLock};
use reqwest::{Client, StatusCode, redirect};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use url::Url;

use super::keys::KeyRing;
use crate::config::key_material::{JwkOrigin, MAX_JWKS_BYTES, parse_jwks};

/// How many unknown `kid`s are remembered; a flood of invented ones only pushes out one another.
const MAX_REMEMBERED_KIDS: usize = 1024;
/// Endpoints of many sidecars that started together must not be asked together: a pause varies by this part of it.
const JITTER: f64 = 0.1;

/// When an endpoint is asked, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two fetches when nothing asks for one.
    pub period: Duration,
    /// Between two fetches that unknown `kid`s ask for.
    pub min_interval: Duration,
    /// How long a `kid` that a fetch did not bring is refused without asking again.
    pub negative_ttl: Duration,
    /// For the connection, with TLS.
    pub connect_timeout: Duration,
    /// For the whole fetch.
    pub fetch_timeout: Duration,
    /// How long one verification waits for a fetch.
    pub max_wait: Duration,
    /// The first pause after a failure; it doubles with each further one.
    pub retry_floor: Duration,
    /// The longest pause after failures.
    pub retry_ceiling: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            // A withdrawn key is good for this long at most; five minutes is what large verifiers use.
            period: Duration::from_secs(300),
            // A rotation is noticed this soon, and a flood costs the endpoint no more than a fetch each ten seconds.
            min_interval: Duration::from_secs(10),
            negative_ttl: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(3),
            fetch_timeout: Duration::from_secs(10),
            // A handshake is not held longer; its client comes back and finds the answer.
            max_wait: Duration::from_secs(3),
            retry_floor: Duration::from_secs(1),
            retry_ceiling: Duration::from_secs(60),
        }
    }
}

/// What an unknown `kid` comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The set was fetched since; look again.
    Fetched,
    /// A fetch after the `kid` was first seen did not bring it.
    Unknown,
    /// Nobody can tell now: the endpoint fails, or was asked too recently.
    NotNow,
}

/// One endpoint's keys.
#[derive(Debug)]
pub struct Jwks {
    issuer: Arc<str>,
    url: Url,
    algorithms: Vec<Algorithm>,
    timing: Timing,
    client: Client,
    ring: RwLock<Option<Arc<KeyRing>>>,
    lookups: Mutex<Lookups>,
    /// Counts the fetches asked for; the refresher listens.
    demanded: watch::Sender<u64>,
    /// Counts the fetches that ended, well or not; verifications wait for it.
    finished: watch::Sender<u64>,
}

/// A background task that keeps one [`Jwks`] fresh, and ends with this handle.
#[derive(Debug)]
pub struct JwksRefresher {
    task: JoinHandle<()>,
}

impl Drop for JwksRefresher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Jwks {
    /// Keys of `issuer` at `url`, usable with `algorithms`. Nothing is fetched before [`Jwks::start`].
    ///
    /// # Errors
    /// When the HTTP client cannot be made, such as for want of root certificates.
    pub fn new(
        issuer: Arc<str>,
        url: Url,
        algorithms: Vec<Algorithm>,
        timing: Timing,
    ) -> Result<Arc<Self>, reqwest::Error> {
        let client = Client::builder()
            .https_only(url.scheme() == "https")
            // The operator named this address, not the one that it points at.
            .redirect(redirect::Policy::none())
            .connect_timeout(timing.connect_timeout)
            .timeout(timing.fetch_timeout)
            .user_agent(concat!("flowgate/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Arc::new(Jwks {
            issuer,
            url,
            algorithms,
            timing,
            client,
            ring: RwLock::new(None),
            lookups: Mutex::new(Lookups::default()),
            demanded: watch::Sender::new(0),
            finished: watch::Sender::new(0),
        }))
    }

    /// Begins to fetch, now and then periodically, on the runtime of the caller.
    #[must_use = "fetching ends when the handle is dropped"]
    pub fn start(self: &Arc<Self>) -> JwksRefresher {
        let demands = self.demanded.subscribe();
        self.lookups.lock().fetching = true;
        JwksRefresher { task: tokio::spawn(self.clone().refresh(demands)) }
    }

    /// Whether it is what an issuer asks for: this endpoint under this name, for these algorithms.
    pub fn serves(&self, issuer: &str, url: &Url, algorithms: &[Algorithm]) -> bool {
        *self.issuer == *issuer && self.url == *url && self.algorithms == algorithms
    }

    /// The keys, once a first fetch has succeeded.
    pub fn ring(&self) -> Option<Arc<KeyRing>> {
        self.ring.read().clone()
    }

    /// How long ago the keys were fetched.
    pub fn age(&self) -> Option<Duration> {
        self.lookups.lock().last_success.map(|at| at.elapsed())
    }

    /// Waits for the first keys, no longer than a handshake may be held.
    pub async fn first_ring(&self) -> Option<Arc<KeyRing>> {
        let finished = self.finished.subscribe();
        if self.ring().is_none() && self.lookups.lock().fetching {
            self.wait(finished).await;
        }
        self.ring()
    }

    /// Has the set fetched for a `kid` that it lacks, as far as that is allowed now, and waits for it.
    pub async fn look_up(&self, kid: &str) -> Lookup {
        let finished = self.finished.subscribe();
        let running = self.demanded.receiver_count() > 0;
        match self.lookups.lock().ask(kid, Instant::now(), &self.timing, running) {
            Ask::Unknown => return Lookup::Unknown,
            Ask::NotNow => return Lookup::NotNow,
            Ask::Fetch => self.demanded.send_modify(|count| *count += 1),
            Ask::Wait => {}
        }
        self.wait(finished).await;
        if self.lookups.lock().brought_everything_since(kid) { Lookup::Fetched } else { Lookup::NotNow }
    }

    async fn wait(&self, mut finished: watch::Receiver<u64>) {
        // Both errors, too late and no longer fetching, leave the caller to look at what there is.
        let _ = tokio::time::timeout(self.timing.max_wait, finished.changed()).await;
    }

    async fn refresh(self: Arc<Self>, mut demands: watch::Receiver<u64>) {
        let mut failures = 0;
        loop {
            demands.mark_unchanged();
            self.lookups.lock().fetching = true;
            let outcome = self.fetch().await;
            let succeeded = outcome.is_ok();
            failures = if succeeded { 0 } else { failures + 1 };
            self.take(outcome, failures);
            self.lookups.lock().ended(succeeded, Instant::now());
            self.finished.send_modify(|count| *count += 1);
            tokio::select! {
                () = tokio::time::sleep(jittered(self.pause(failures))) => {}
                _ = demands.changed() => {}
            }
        }
    }

    fn take(&self, outcome: Result<KeyRing, String>, failures: u32) {
        match outcome {
            Ok(ring) => {
                info!(issuer = %self.issuer, keys = ring.len(), "fetched keys");
                *self.ring.write() = Some(Arc::new(ring));
            }
            Err(why) => warn!(
                issuer = %self.issuer, endpoint = %endpoint(&self.url), failures, last_good_kept = self.ring().is_some(),
                "could not fetch keys: {why}"
            ),
        }
    }

    fn pause(&self, failures: u32) -> Duration {
        match failures {
            0 => self.timing.period,
            _ => {
                let doubled = self.timing.retry_floor.saturating_mul(1 << (failures - 1).min(16));
                doubled.min(self.timing.retry_ceiling).min(self.timing.period)
            }
        }
    }

    /// One fetch, bounded in time and size.
    async fn fetch(&self) -> Result<KeyRing, String> {
        let document = self.download().await?;
        let set = parse_jwks(&document, &self.algorithms, JwkOrigin::Endpoint)
            .map_err(|error| error.to_string())?;
        for why in &set.left_out {
            info!(issuer = %self.issuer, "left out of the JWKS: {why}");
        }
        if set.keys.is_empty() {
            return Err("no key in it can verify this issuer's algorithms".into());
        }
        Ok(KeyRing::new(set.keys))
    }

    async fn download(&self) -> Result<Vec<u8>, String> {
        let request = self.client.get(self.url.clone()).header(http::header::ACCEPT, "application/json");
        let mut response = request.send().await.map_err(reason)?;
        if response.status() != StatusCode::OK {
            return Err(match response.status() {
                status if status.is_redirection() => {
                    format!("it answered {status}, and redirects are not followed: write the final address")
                }
                status => format!("it answered {status}"),
            });
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reason)? {
            if document.len() + chunk.len() > MAX_JWKS_BYTES {
                return Err(format!("its answer is longer than {MAX_JWKS_BYTES} bytes"));
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document)
    }
}

/// The error with its causes, without the address, which may hold credentials.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The address as the log may show it: no user, password, query or fragment.
fn endpoint(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

fn jittered(pause: Duration) -> Duration {
    let mut random = [0_u8; 1];
    // Without randomness the pause is just not varied.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let part = (f64::from(random[0]) / 127.5 - 1.0) * JITTER;
    pause.mul_f64(1.0 + part)
}

/// What to do about an unknown `kid`.
#[derive(Debug, PartialEq, Eq)]
enum Ask {
    /// Refuse: it was looked for.
    Unknown,
    /// Too soon after the last demand.
    NotNow,
    /// Start a fetch, then wait.
    Fetch,
    /// A fetch is under way.
    Wait,
}

/// What is known about fetches and the `kid`s they were for.
#[derive(Debug, Default)]
struct Lookups {
    /// A fetch is under way or asked for.
    fetching: bool,
    last_demand: Option<Instant>,
    last_success: Option<Instant>,
    /// When each unknown `kid` was first seen.
    first_seen: HashMap<Box<str>, Instant>,
}

impl Lookups {
    fn ask(&mut self, kid: &str, now: Instant, timing: &Timing, running: bool) -> Ask {
        let fresh = |at: Instant| now.saturating_duration_since(at) < timing.negative_ttl;
        match self.first_seen.get(kid) {
            Some(&at) if fresh(at) => {
                if self.last_success.is_some_and(|success| success >= at) {
                    return Ask::Unknown;
                }
            }
            _ => self.remember(kid, now, fresh),
        }
        if !running {
            return Ask::NotNow;
        }
        if self.fetching {
            return Ask::Wait;
        }
        if self.last_demand.is_some_and(|at| now.saturating_duration_since(at) < timing.min_interval) {
            return Ask::NotNow;
        }
        self.fetching = true;
        self.last_demand = Some(now);
        Ask::Fetch
    }

    fn remember(&mut self, kid: &str, now: Instant, fresh: impl Fn(Instant) -> bool) {
        if self.first_seen.len() >= MAX_REMEMBERED_KIDS {
            self.first_seen.retain(|_, at| fresh(*at));
        }
        if self.first_seen.len() >= MAX_REMEMBERED_KIDS {
            let oldest = self.first_seen.iter().min_by_key(|(_, at)| **at).map(|(kid, _)| kid.clone());
            oldest.and_then(|kid| self.first_seen.remove(&kid));
        }
        self.first_seen.insert(kid.into(), now);
    }

    fn ended(&mut self, succeeded: bool, now: Instant) {
        self.fetching = false;
        if succeeded {
            self.last_success = Some(now);
        }
    }

    /// Whether a fetch has succeeded since `kid` was first seen.
    fn brought_everything_since(&self, kid: &str) -> bool {
        self.first_seen.get(kid).is_some_and(|at| self.last_success.is_some_and(|success| success >= *at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fetch_at_a_time_and_a_minimum_interval_between() {
        let timing = Timing::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lookups = Lookups::default();
        assert_eq!(lookups.ask("a", at(0), &timing, true), Ask::Fetch);
        assert_eq!(lookups.ask("a", at(0), &timing, true), Ask::Wait);
        assert_eq!(lookups.ask("b", at(1), &timing, true), Ask::Wait);
        lookups.ended(true, at(2));
        assert_eq!(lookups.ask("a", at(2), &timing, true), Ask::Unknown);
        assert_eq!(lookups.ask("b", at(2), &timing, true), Ask::Unknown);
        assert_eq!(lookups.ask("c", at(3), &timing, true), Ask::NotNow);
        assert_eq!(lookups.ask("c", at(10), &timing, true), Ask::Fetch);
        lookups.ended(false, at(11));
        assert_eq!(lookups.ask("c", at(12), &timing, true), Ask::NotNow, "a failed fetch proves nothing");
        assert_eq!(lookups.ask("a", at(30), &timing, true), Ask::Unknown);
        assert_eq!(lookups.ask("a", at(61), &timing, true), Ask::Fetch, "it is asked for again in the end");
    }

    #[test]
    fn nobody_waits_for_a_refresher_that_is_not_there() {
        let mut lookups = Lookups::default();
        assert_eq!(lookups.ask("a", Instant::now(), &Timing::default(), false), Ask::NotNow);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let timing = Timing::default();
        let start = Instant::now();
        let mut lookups = Lookups::default();
        for n in 0..3 * MAX_REMEMBERED_KIDS {
            lookups.ask(&format!("kid-{n}"), start + Duration::from_millis(n as u64), &timing, true);
        }
        assert_eq!(lookups.first_seen.len(), MAX_REMEMBERED_KIDS);
    }

    #[tokio::test]
    async fn fetching_ends_with_the_handle() {
        let nobody = Url::parse("http://127.0.0.1:9/").unwrap();
        let jwks = Jwks::new("app".into(), nobody, vec![Algorithm::ES256], Timing::default()).unwrap();
        let refresher = jwks.start();
        assert_eq!(jwks.demanded.receiver_count(), 1);
        drop(refresher);
        while jwks.demanded.receiver_count() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(jwks.look_up("a").await, Lookup::NotNow);
    }

    #[test]
    fn addresses_are_logged_without_credentials() {
        let url = Url::parse("https://user:hunter2@keys.example:8443/jwks?token=hunter2#hunter2").unwrap();
        assert_eq!(endpoint(&url), "https://keys.example:8443/jwks");
    }

    #[test]
    fn pauses_stay_near_what_was_asked() {
        for _ in 0..1000 {
            let pause = jittered(Duration::from_secs(100));
            assert!((90..=110).contains(&pause.as_secs()), "{pause:?}");
        }
    }
}
