//! An embedder's stage over real sockets, with that of examples/quiet_hours.rs: it refuses, it narrows, and it cannot widen.

#[path = "../../examples/quiet_hours.rs"]
#[expect(dead_code, reason = "the example's own main")]
mod quiet_hours;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flowgate::config::{Sources, load};
use flowgate::server::Builder;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use self::quiet_hours::QuietHours;

const SECRET: &str = "a secret of the plugin tests, 32 bytes or more";

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
[internal]
listen = "127.0.0.1:0"
[refusals]
detail = "full"
[rooms]
multi_team = "all"
[[auth.issuers]]
name = "app"
algorithms = ["HS256"]
secret_env = "APP_SECRET"
"#;

/// Starts a sidecar with this stage; it ends with the test's runtime.
async fn serve(stage: QuietHours) -> SocketAddr {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.toml");
    std::fs::write(&path, CONFIG).unwrap();
    let sources = Sources {
        paths: vec![path],
        environment: vec![("APP_SECRET".into(), SECRET.into())],
        ..Sources::default()
    };
    let policy = load(&sources).unwrap_or_else(|problems| panic!("{problems}")).policy;
    let server = Builder::new(policy).stage(stage).bind().await.unwrap();
    let address = server.public_addr();
    tokio::spawn(server.run(std::future::pending()));
    address
}

/// A Socket.IO client over one WebSocket, just enough of it.
struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What it heard, in order.
    heard: Vec<Value>,
}

impl Client {
    async fn connect(address: SocketAddr, subject: &str, teams: &[&str], roles: &[&str]) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({ "sub": subject, "teams": teams, "roles": roles, "iat": now, "exp": now + 600 });
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = connect_async(url).await.unwrap();
        let mut client = Client { socket, heard: Vec::new() };
        assert!(client.packet().await.starts_with("0{"));
        client.send(format!("40{}", json!({ "token": token }))).await;
        let admitted = client.packet().await;
        assert!(admitted.starts_with("40"), "{admitted}");
        client
    }

    async fn send(&mut self, packet: String) {
        self.socket.send(Message::text(packet)).await.unwrap();
    }

    /// The next packet that is not a ping.
    async fn packet(&mut self) -> String {
        loop {
            let packet = self.socket.next().await.unwrap().unwrap().into_text().unwrap().to_string();
            if packet != "2" {
                return packet;
            }
            self.send("3".into()).await;
        }
    }

    /// The next packet, which is not an event; events before it are kept.
    async fn next_other(&mut self) -> String {
        loop {
            let packet = self.packet().await;
            match packet.strip_prefix("42") {
                Some(event) => self.heard.push(serde_json::from_str(event).unwrap()),
                None => return packet,
            }
        }
    }

    /// Sends a change and returns its answer.
    async fn change(&mut self, kind: &str, id: u32) -> Value {
        self.send(format!("427{}", json!(["database-change", { "type": kind, "taskId": id }]))).await;
        let answer = self.next_other().await;
        let answer = answer.strip_prefix("437").unwrap_or_else(|| panic!("{answer} is no answer"));
        serde_json::from_str::<Value>(answer).unwrap()[0].clone()
    }

    /// The task ids that it heard up to the one of `sentinel`, which is the last.
    async fn ids_until(&mut self, sentinel: u32) -> Vec<u32> {
        let id = |event: &Value| event[1]["taskId"].as_u64().unwrap() as u32;
        while self.heard.last().map(id) != Some(sentinel) {
            let packet = self.packet().await;
            let event = packet.strip_prefix("42").unwrap_or_else(|| panic!("{packet} is no event"));
            self.heard.push(serde_json::from_str(event).unwrap());
        }
        self.heard.iter().map(id).collect()
    }
}

/// Quiet all day, so that no test depends on the hour.
const ALWAYS: QuietHours = QuietHours { from: 0, to: 24 };
const NEVER: QuietHours = QuietHours { from: 0, to: 0 };

#[tokio::test]
async fn a_plugin_stage_refuses() {
    let address = serve(ALWAYS).await;
    let mut ann = Client::connect(address, "ann", &["night"], &[]).await;
    let answer = ann.change("task-deleted", 1).await;
    assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!("not_allowed")), "{answer}");
    assert_eq!(answer["rule"], "quiet_hours");
    assert_eq!(answer["message"], "nothing is deleted in quiet hours");
    // The built-in stages were asked first, and an event that they refuse never comes to the plugin.
    assert_eq!(ann.change("task-renamed", 2).await["code"], "unknown_type");
    assert_eq!(ann.change("task-created", 3).await["ok"], true);

    let mut dora = Client::connect(address, "dora", &["night"], &["on-call"]).await;
    assert_eq!(dora.change("task-deleted", 4).await["ok"], true);
    assert_eq!(ann.ids_until(4).await, [3, 4]);

    let mut by_day = Client::connect(serve(NEVER).await, "ann", &["night"], &[]).await;
    assert_eq!(by_day.change("task-deleted", 5).await["ok"], true);
}

#[tokio::test]
async fn a_plugin_stage_narrows() {
    let address = serve(ALWAYS).await;
    let mut design = Client::connect(address, "ben", &["design"], &[]).await;
    let mut night = Client::connect(address, "cleo", &["night"], &[]).await;
    let mut ann = Client::connect(address, "ann", &["design", "night"], &[]).await;
    let mut dora = Client::connect(address, "dora", &["design", "night"], &["on-call"]).await;
    assert_eq!(ann.change("task-created", 1).await["ok"], true);
    // Whoever is on call still reaches both teams, so this one tells that nothing else is on its way.
    assert_eq!(dora.change("task-created", 2).await["ok"], true);
    assert_eq!(night.ids_until(2).await, [1, 2]);
    assert_eq!(design.ids_until(2).await, [2]);
}

#[tokio::test]
async fn a_plugin_stage_cannot_widen() {
    let address = serve(ALWAYS).await;
    let mut night = Client::connect(address, "cleo", &["night"], &[]).await;
    let mut ben = Client::connect(address, "ben", &["design"], &[]).await;
    let mut dora = Client::connect(address, "dora", &["night"], &["on-call"]).await;
    // The stage names a team that ben does not hold: nobody hears it, neither that team nor his own.
    assert_eq!(ben.change("task-created", 1).await["code"], "no_room");
    assert_eq!(dora.change("task-created", 2).await["ok"], true);
    assert_eq!(night.ids_until(2).await, [2]);
    assert!(ben.heard.is_empty());
}

#[test]
fn quiet_hours_pass_midnight() {
    let covers =
        |from, to, hour: u64| QuietHours { from, to }.cover(UNIX_EPOCH + Duration::from_secs(hour * 3600));
    let night: Vec<u64> = (24..48).filter(|&hour| covers(22, 6, hour)).map(|hour| hour - 24).collect();
    assert_eq!(night, [0, 1, 2, 3, 4, 5, 22, 23]);
    assert!((0..24).all(|hour| covers(0, 24, hour) && !covers(0, 0, hour) && !covers(9, 9, hour)));
}
