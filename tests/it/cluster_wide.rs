//! What holds on all nodes and concerns no team: revocations, disconnections, who is there, and how many members a team has. Over a
//! real Redis.

mod nodes;
mod places;
mod revocations;

use serde_json::Value;

use crate::harness::operator::{Operator, operated};
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member, until};
use crate::redis::Redis;

/// What signs what nodes say, where a test wants that: the tests' own secret.
const SIGNED: &str = "[bus.hmac]\nsecret_env = \"TEST_SECRET\"\n";

/// Nodes that share a Redis.
struct Scene {
    redis: Redis,
}

/// A node, and whoever holds its admin token.
struct Node {
    sidecar: Sidecar,
    operator: Operator,
}

impl Scene {
    fn start() -> Self {
        Scene { redis: Redis::start(&[]) }
    }

    /// A node that is called so, with these settings more, once it is up.
    async fn node(&self, name: &str, settings: &str) -> Node {
        let url = format!("\"redis://127.0.0.1:{}\"", self.redis.port);
        node(name, &url, &format!("prefix = \"fg\"\n{settings}")).await
    }

    /// Two nodes that know of each other.
    async fn two(&self, settings: &str) -> [Node; 2] {
        let nodes = [self.node("a", settings).await, self.node("b", settings).await];
        know_each_other(&nodes).await;
        nodes
    }
}

/// A node that is called so, with this Redis and these settings of it, once it is up.
async fn node(name: &str, url: &str, settings: &str) -> Node {
    let bus = format!("[bus]\ndriver = \"redis\"\nnode = \"{name}\"\n[bus.redis]\nurl = {url}\n{settings}\n");
    let (sidecar, operator) = operated(&bus).await;
    sidecar.until("flowgate_bus_up", 1.0).await;
    Node { sidecar, operator }
}

impl Node {
    async fn join(&self, user: &str, teams: &[&str]) -> RawSocket {
        RawSocket::join(self.sidecar.public, &member(user, teams)).await
    }

    async fn post(&self, target: &str, body: Value) -> Value {
        let (status, answer) = self.operator.ask("POST", target, &body.to_string()).await;
        assert!(matches!(status, 200 | 201), "{status} {answer}");
        answer
    }

    /// The names of the nodes that it knows of, itself among them, in order.
    async fn knows(&self) -> Vec<String> {
        let answer = self.operator.get("/api/nodes").await;
        let mut names: Vec<String> = answer["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["node"].as_str().unwrap().into())
            .collect();
        names.sort();
        names
    }

    /// The subjects whose tokens it does not honour, in order.
    async fn revoked(&self) -> Vec<String> {
        let page = self.operator.get("/api/revocations?limit=1000").await;
        let subject = |one: &Value| one["subject"].as_str().unwrap().to_owned();
        let mut subjects: Vec<String> = page["revocations"].as_array().unwrap().iter().map(subject).collect();
        subjects.sort();
        subjects
    }

    async fn until_revoked(&self, subjects: &[&str]) {
        until(&format!("{subjects:?} are revoked"), async || self.revoked().await == subjects).await;
    }
}

async fn know_each_other(nodes: &[Node]) {
    for node in nodes {
        until("they know each other", async || node.knows().await.len() == nodes.len()).await;
    }
}
