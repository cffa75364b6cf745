//! An Engine.IO 4 client that polls, and its upgrade to a WebSocket as stock clients do it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;

use super::http::{Answer, Http, POLLING};
use super::packets::{self, EVENT};
use super::websocket::RawSocket;
use super::within;

pub struct Polling {
    address: SocketAddr,
    source: Ipv4Addr,
    pub sid: String,
    /// The handshake's `maxPayload`.
    pub max_payload: u64,
    headers: Vec<(String, String)>,
    get: Http,
    post: Http,
    inbox: VecDeque<String>,
}

impl Polling {
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &[]).await.unwrap_or_else(|answer| panic!("{answer:?}"))
    }

    /// Opens a session with further headers, which every request then has; `Err` is the answer that opens none.
    pub async fn open_with(address: SocketAddr, headers: &[(&str, &str)]) -> Result<Self, Answer> {
        Self::open_from(Ipv4Addr::LOCALHOST, address, headers).await
    }

    /// The same, on connections from this address of the machine's own.
    pub async fn open_from(
        source: Ipv4Addr,
        address: SocketAddr,
        headers: &[(&str, &str)],
    ) -> Result<Self, Answer> {
        let mut get = Http::from(source, address).await;
        let answer = within("a handshake", get.request("GET", POLLING, headers, "")).await;
        if answer.status != 200 {
            return Err(answer);
        }
        let open: Value = serde_json::from_str(answer.body.strip_prefix('0').unwrap()).unwrap();
        Ok(Polling {
            address,
            source,
            sid: open["sid"].as_str().unwrap().to_owned(),
            max_payload: open["maxPayload"].as_u64().unwrap(),
            headers: headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            get,
            post: Http::from(source, address).await,
            inbox: VecDeque::new(),
        })
    }

    /// Opens a session and is let in.
    pub async fn join(address: SocketAddr, auth: &Value) -> Self {
        let mut client = Self::open(address).await;
        client.connect(auth).await.unwrap();
        client
    }

    pub fn target(&self) -> String {
        format!("{POLLING}&sid={}", self.sid)
    }

    /// Posts packets of Engine.IO.
    pub async fn post(&mut self, body: &str) -> Answer {
        let target = self.target();
        let headers = headers(&self.headers);
        within("an answer to a post", async {
            self.post.send("POST", &target, &headers, body).await;
            if let Some(answer) = self.post.answer().await {
                return answer;
            }
            // The kept-alive connection was closed as idle; a session does not end with it.
            self.post = Http::from(self.source, self.address).await;
            self.post.request("POST", &target, &headers, body).await
        })
        .await
    }

    /// Polls once; what came is in the inbox afterwards.
    pub async fn poll(&mut self) -> Answer {
        within("an answer to a poll", async {
            self.begin_poll().await;
            if let Some(answer) = self.end_poll().await {
                return answer;
            }
            // The kept-alive connection was closed as idle; a session does not end with it.
            self.get = Http::from(self.source, self.address).await;
            self.begin_poll().await;
            self.end_poll().await.expect("an answer")
        })
        .await
    }

    async fn begin_poll(&mut self) {
        let target = self.target();
        self.get.send("GET", &target, &headers(&self.headers), "").await;
    }

    async fn end_poll(&mut self) -> Option<Answer> {
        let answer = self.get.answer().await?;
        if answer.status == 200 {
            self.inbox
                .extend(answer.body.split('\x1e').filter(|packet| !packet.is_empty()).map(str::to_owned));
        }
        Some(answer)
    }

    /// The next Socket.IO packet; answers pings on the way; `None` when the session has ended.
    pub async fn packet(&mut self) -> Option<String> {
        loop {
            while let Some(packet) = self.inbox.pop_front() {
                match packet.split_at(1) {
                    ("2", "") => drop(self.post("3").await),
                    ("4", packet) => return Some(packet.to_owned()),
                    _ => {}
                }
            }
            if self.poll().await.status != 200 {
                return None;
            }
        }
    }

    /// Sends CONNECT and waits for what becomes of it. `Err` is the code of a refusal, or `closed`.
    pub async fn connect(&mut self, auth: &Value) -> Result<(), String> {
        if self.post(&packets::connect(auth)).await.status != 200 {
            return Err("closed".into());
        }
        match self.packet().await {
            Some(packet) => packets::connect_reply(&packet).unwrap_or_else(|| panic!("{packet}")),
            None => Err("closed".into()),
        }
    }

    /// Sends an event with this argument's text, or none.
    pub async fn emit(&mut self, argument: &str) {
        assert_eq!(self.post(&packets::event(EVENT, argument, None)).await.status, 200);
    }

    /// The argument of the next event that is heard.
    pub async fn event(&mut self) -> String {
        loop {
            let packet = self.packet().await.expect("an event rather than the end");
            if let Some(argument) = packets::heard(&packet) {
                return argument.to_owned();
            }
        }
    }

    /// Polls until the session has ended.
    pub async fn closed(mut self) {
        while self.packet().await.is_some() {}
    }

    /// Asks for a WebSocket of this session; `Err` is the answer that is none.
    pub async fn ask_upgrade(&self) -> Result<RawSocket, Answer> {
        self.ask_upgrade_with(&headers(&self.headers)).await
    }

    /// The same with these headers instead of those of the other requests.
    pub async fn ask_upgrade_with(&self, headers: &[(&str, &str)]) -> Result<RawSocket, Answer> {
        let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", self.sid);
        RawSocket::upgrade(Http::from(self.source, self.address).await, &target, headers).await
    }

    /// Upgrades as engine.io-client does: it polls on until the probe is answered, waits for the last poll, and only
    /// then says that the WebSocket has taken over. What was polled meanwhile is heard first on it.
    pub async fn upgrade(mut self) -> RawSocket {
        self.begin_poll().await;
        let mut socket = self.ask_upgrade().await.unwrap_or_else(|answer| panic!("{answer:?}"));
        socket.send("2probe").await;
        within("the upgrade", async {
            loop {
                tokio::select! {
                    // A poll whose answer has come is looked at first: its connection may hold half of it.
                    biased;
                    answer = self.end_poll() => {
                        assert_eq!(answer.expect("an answer").status, 200);
                        self.begin_poll().await;
                    }
                    frame = socket.frame() => break assert_eq!(frame.as_deref(), Some("3probe")),
                }
            }
            assert_eq!(self.end_poll().await.expect("an answer").status, 200);
        })
        .await;
        socket.send("5").await;
        for packet in self.inbox {
            match packet.split_at(1) {
                ("2", "") => socket.send("3").await,
                ("4", packet) => socket.early.push_back(packet.to_owned()),
                _ => {}
            }
        }
        socket.sid = self.sid;
        socket
    }
}

fn headers(owned: &[(String, String)]) -> Vec<(&str, &str)> {
    owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
