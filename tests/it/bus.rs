//! Several nodes over a real Redis.

mod cluster;
mod delivery;
mod history;
mod interest;
mod outage;
mod streams;
mod trust;

use serde_json::{Value, json};

use crate::harness::operator::{Operator, operated};
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member};
use crate::redis::Redis;

/// The notice that members are to fetch everything.
const RESYNC: &str = r#"{"type":"resync"}"#;

/// Nodes that share a Redis.
struct Scene {
    redis: Redis,
}

impl Scene {
    fn start() -> Self {
        Scene { redis: Redis::start(&[]) }
    }

    /// A node with these settings beside those that lead to Redis, once it is up.
    async fn node(&self, settings: &str) -> Sidecar {
        let (node, _) = operated(&self.settings(settings)).await;
        node.until("flowgate_bus_up", 1.0).await;
        node
    }

    fn settings(&self, settings: &str) -> String {
        on(self.redis.port, settings)
    }

    /// The teams whose channels somebody listens to, in order.
    fn channels(&self) -> Vec<String> {
        let mut channels: Vec<String> = self.redis.ask("PUBSUB CHANNELS fg:t:*");
        channels.sort();
        channels.iter().map(|name| name["fg:t:{".len()..name.len() - 1].to_owned()).collect()
    }
}

fn on(port: u16, settings: &str) -> String {
    format!(
        "{settings}\n[bus]\ndriver = \"redis\"\n[bus.redis]\nurl = \"redis://127.0.0.1:{port}\"\nprefix = \"fg\"\n"
    )
}

async fn join(node: &Sidecar, user: &str, teams: &[&str]) -> RawSocket {
    RawSocket::join(node.public, &member(user, teams)).await
}

/// Has the API of a node publish this, and returns its answer.
async fn publish(node: &Sidecar, body: Value) -> Value {
    let (status, answer) = Operator(node.internal).ask("POST", "/api/publish", &body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// What it hears until it has heard this, which is left out.
async fn heard_before(socket: &mut RawSocket, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let event = socket.event().await;
        if event == last {
            return heard;
        }
        heard.push(event);
    }
}

/// How many teams a node has told to fetch everything.
async fn resyncs(node: &Sidecar) -> f64 {
    node.metrics("flowgate_bus_resyncs_total").await.iter().sum()
}

/// The series of those that were told for this reason.
fn resyncs_for(reason: &str) -> String {
    format!("flowgate_bus_resyncs_total{{reason=\"{reason}\"}}")
}

/// A text as JSON, which tells an event from others.
fn text(text: impl Into<Value>) -> String {
    json!(text.into()).to_string()
}
