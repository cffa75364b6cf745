//! A Redis Cluster, where teams are on different servers that do not wait for each other.

use serde_json::json;

use super::{RESYNC, heard_before, join, publish, resyncs, text};
use crate::harness::operator::operated;
use crate::harness::{Sidecar, until};
use crate::redis::Cluster;

async fn node(cluster: &Cluster) -> Sidecar {
    let seeds: Vec<String> =
        cluster.nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port)).collect();
    let settings = format!(
        "[bus]\ndriver = \"redis\"\n[bus.redis]\nprefix = \"fg\"\ncluster = true\nurl = {}\n",
        json!(seeds)
    );
    let (node, _) = operated(&settings).await;
    node.until("flowgate_bus_up", 1.0).await;
    node
}

/// One team for each of the three servers.
fn teams(cluster: &Cluster) -> [String; 3] {
    [0, 1, 2].map(|owner| {
        let mut names = (0..).map(|number| format!("team-{number}"));
        names.find(|name| cluster.owner(&format!("fg:t:{{{name}}}")) == owner).unwrap()
    })
}

#[tokio::test]
async fn teams_on_different_servers_hear_each_change_once_and_in_order() {
    const EVENTS: usize = 300;
    let cluster = Cluster::start(&[]);
    let (a, b) = (node(&cluster).await, node(&cluster).await);
    let teams = teams(&cluster);
    let names = [&*teams[0], &teams[1], &teams[2]];
    let mut all = join(&b, "ann", &names).await;
    let mut one = join(&b, "ben", &names[..1]).await;
    let mut two = join(&b, "cleo", &names[1..]).await;
    let change = |number: usize| {
        let some: Vec<&str> =
            (0..3).filter(|team| (number % 7 + 1) & 1 << team != 0).map(|team| names[team]).collect();
        json!({ "teams": some, "payload": number })
    };
    for batch in (0..EVENTS).collect::<Vec<_>>().chunks(50) {
        publish(&a, json!({ "events": batch.iter().map(|number| change(*number)).collect::<Vec<_>>() }))
            .await;
    }
    let is_for = |number: usize, teams: usize| (number % 7 + 1) & teams != 0;
    for (socket, teams) in [(&mut all, 0b111), (&mut one, 0b001), (&mut two, 0b110)] {
        let expected: Vec<usize> = (0..EVENTS).filter(|number| is_for(*number, teams)).collect();
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            heard.push(socket.event().await.parse::<usize>().unwrap());
        }
        if teams == 0b001 {
            assert_eq!(heard, expected, "in order within a team");
        }
        heard.sort_unstable();
        assert_eq!(heard, expected, "each once");
        assert_eq!(socket.heard_until_now().await, [""; 0]);
    }
    assert_eq!(resyncs(&b).await, 0.0);
    assert_eq!(b.metric("flowgate_bus_gaps_total").await, 0.0);
}

#[tokio::test]
async fn a_server_that_is_away_keeps_only_its_own_teams_waiting() {
    let mut cluster = Cluster::start(&["--cluster-require-full-coverage", "no"]);
    let (a, b) = (node(&cluster).await, node(&cluster).await);
    let [away, there, _] = teams(&cluster);
    let mut red = join(&b, "ben", &[&away]).await;
    let mut blue = join(&b, "cleo", &[&there]).await;
    cluster.nodes[0].kill();
    a.until("flowgate_bus_up", 0.0).await;
    // More than go out at once.
    let lost: Vec<_> = (0..1000).map(|number| json!({ "team": away, "payload": number })).collect();
    assert_eq!(publish(&a, json!({ "events": lost })).await["bus"], "pending");
    for number in 0..5 {
        publish(&a, json!({ "team": there, "payload": number })).await;
        assert_eq!(blue.event().await, number.to_string());
    }
    cluster.nodes[0].start_again();
    for node in [&a, &b] {
        node.until("flowgate_bus_up", 1.0).await;
    }
    until("its members are told", async || resyncs(&b).await > 0.0).await;
    publish(&a, json!({ "team": away, "payload": "end" })).await;
    publish(&a, json!({ "team": there, "payload": "end" })).await;
    let heard = heard_before(&mut red, &text("end")).await;
    assert_eq!(heard.iter().filter(|event| *event == RESYNC).count(), 1);
    assert_eq!(heard_before(&mut blue, &text("end")).await, [""; 0]);
}
