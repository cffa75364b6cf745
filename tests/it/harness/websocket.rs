//! An Engine.IO 4 client on a WebSocket.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::http::{Answer, Http, UPGRADE, WEBSOCKET};
use super::packets::{self, EVENT};
use super::within;

pub struct RawSocket {
    pub stream: WebSocketStream<TcpStream>,
    /// The engine session's id, where the client has been told one on this connection.
    pub sid: String,
    /// Socket.IO packets that were read while another was waited for.
    pub(super) early: VecDeque<String>,
    acks: u64,
}

impl RawSocket {
    /// Opens a session.
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &[]).await.unwrap_or_else(|answer| panic!("{answer:?}"))
    }

    /// Opens a session with further headers; `Err` is the answer that is no WebSocket.
    pub async fn open_with(address: SocketAddr, headers: &[(&str, &str)]) -> Result<Self, Answer> {
        let mut socket = Self::upgrade(Http::to(address).await, WEBSOCKET, headers).await?;
        socket.read_open_packet().await;
        Ok(socket)
    }

    /// Opens a session from this address of the machine's own; `Err` is the answer that is no WebSocket.
    pub async fn open_from(source: Ipv4Addr, address: SocketAddr) -> Result<Self, Answer> {
        let mut socket = Self::upgrade(Http::from(source, address).await, WEBSOCKET, &[]).await?;
        socket.read_open_packet().await;
        Ok(socket)
    }

    /// Opens a session on a connection whose kernel takes little that this client does not read.
    pub async fn open_narrow(address: SocketAddr) -> Self {
        let mut socket = Self::upgrade(Http::narrow(address).await, WEBSOCKET, &[]).await.unwrap();
        socket.read_open_packet().await;
        socket
    }

    async fn read_open_packet(&mut self) {
        let open = self.frame().await.expect("an open packet");
        let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        self.sid = open["sid"].as_str().unwrap().to_owned();
    }

    /// Turns a connection into a WebSocket.
    pub async fn upgrade(mut http: Http, target: &str, headers: &[(&str, &str)]) -> Result<Self, Answer> {
        let headers: Vec<_> = UPGRADE.iter().chain(headers).copied().collect();
        let answer = within("an answer to the upgrade", http.request("GET", target, &headers, "")).await;
        if answer.status != 101 {
            return Err(answer);
        }
        let (tcp, read) = http.into_parts();
        let stream = WebSocketStream::from_partially_read(tcp, read, Role::Client, None).await;
        Ok(RawSocket { stream, sid: String::new(), early: VecDeque::new(), acks: 0 })
    }

    /// Opens a session and is let in.
    pub async fn join(address: SocketAddr, auth: &Value) -> Self {
        let mut socket = Self::open(address).await;
        socket.connect(auth).await.unwrap();
        socket
    }

    /// Sends CONNECT and waits for what becomes of it. `Err` is the code of a refusal, or `closed`.
    pub async fn connect(&mut self, auth: &Value) -> Result<(), String> {
        self.send(&packets::connect(auth)).await;
        match self.packet().await {
            Some(packet) => packets::connect_reply(&packet).unwrap_or_else(|| panic!("{packet}")),
            None => Err("closed".into()),
        }
    }

    /// Sends one text message; on a connection that is closing it may be lost.
    pub async fn send(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.ok();
    }

    /// Sends bytes as they are, beside the WebSocket.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.ok();
    }

    /// Sends an event with this argument's text, or none.
    pub async fn emit(&mut self, argument: &str) {
        self.send(&packets::event(EVENT, argument, None)).await;
    }

    /// Sends an event and waits for its answer.
    pub async fn ask(&mut self, argument: &str) -> Value {
        self.ask_as(EVENT, argument).await
    }

    /// The same with another event's name.
    pub async fn ask_as(&mut self, name: &str, argument: &str) -> Value {
        let ack = self.next_ack();
        self.send(&packets::event(name, argument, Some(ack))).await;
        within("an acknowledgement", async {
            loop {
                let packet = self.next().await.expect("an answer rather than the end");
                match packets::answer(&packet, ack) {
                    Some(answer) => return answer,
                    None => self.early.push_back(packet),
                }
            }
        })
        .await
    }

    /// A number to ask for an answer with.
    pub fn next_ack(&mut self) -> u64 {
        self.acks += 1;
        self.acks
    }

    /// The next text message as it is; `None` at the end.
    pub async fn frame(&mut self) -> Option<String> {
        within("a frame", async {
            loop {
                match self.stream.next().await? {
                    Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        })
        .await
    }

    /// The next Socket.IO packet; answers pings on the way; `None` at the end.
    pub async fn packet(&mut self) -> Option<String> {
        match self.early.pop_front() {
            Some(packet) => Some(packet),
            None => self.next().await,
        }
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            let frame = self.frame().await?;
            match frame.split_at(1) {
                ("2", "") => self.send("3").await,
                ("4", packet) => return Some(packet.to_owned()),
                _ => {}
            }
        }
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

    /// Reads until the connection has ended, and returns the packets that came until then.
    pub async fn closed(mut self) -> Vec<String> {
        let mut packets = Vec::new();
        while let Some(packet) = self.packet().await {
            packets.push(packet);
        }
        packets
    }

    /// Reads until the server closes, and returns the code of its close frame; `None` where it closes without one.
    pub async fn close_code(mut self) -> Option<u16> {
        within("the end", async {
            loop {
                if let Message::Close(frame) = self.stream.next().await?.ok()? {
                    return frame.map(|frame| u16::from(frame.code));
                }
            }
        })
        .await
    }

    /// Asks something and hears the answer, which shows that everything sent before has been dealt with and everything
    /// heard before has been read: returns the events that came until then.
    pub async fn heard_until_now(&mut self) -> Vec<String> {
        self.ask_as("no-such-event", "").await;
        let heard = self.early.drain(..);
        heard.filter_map(|packet| packets::heard(&packet).map(str::to_owned)).collect()
    }
}
