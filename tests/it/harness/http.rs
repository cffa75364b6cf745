//! HTTP/1.1 by hand, so that a test can send what no client library would.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Where a polling session is opened.
pub const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Where a WebSocket session is opened.
pub const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// What a client asks with for a WebSocket (RFC 6455 §4.1).
pub const UPGRADE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The value of a header, whose name is given in small letters. There may be one at most.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice");
        value
    }
}

/// One kept-alive connection.
pub struct Http {
    pub tcp: TcpStream,
    read: Vec<u8>,
}

impl Http {
    pub async fn to(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Http { tcp, read: Vec::new() }
    }

    /// A connection from this address of the machine's own; everything in 127.0.0.0/8 is one.
    pub async fn from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::from(source), 0).into()).unwrap();
        let tcp = socket.connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Http { tcp, read: Vec::new() }
    }

    /// A connection whose kernel takes little that its owner does not read.
    pub async fn narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Http { tcp: socket.connect(address).await.unwrap(), read: Vec::new() }
    }

    /// Sends bytes as they are. The other side may have closed already, which the missing answer tells.
    pub async fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.tcp.write_all(bytes.as_ref()).await.ok();
    }

    /// Sends a request head and body; `Content-Length` is added to a body.
    pub async fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        self.send_raw(format!("{text}\r\n{body}")).await;
    }

    /// The next answer; `None` when the connection closes instead.
    pub async fn answer(&mut self) -> Option<Answer> {
        let head = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break self.take(at + 4);
            }
            self.read_more().await?;
        };
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let mut answer = Answer { status, headers: lines.map(header).collect(), body: String::new() };
        assert_eq!(answer.header("transfer-encoding"), None, "bodies of the sidecar are whole");
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            self.read_more().await?;
        }
        answer.body = self.take(length);
        Some(answer)
    }

    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.send(method, target, headers, body).await;
        self.answer().await.expect("an answer")
    }

    /// Reads until the other side closes.
    pub async fn closed(&mut self) {
        while self.read_more().await.is_some() {}
    }

    /// The connection after a `101`, and what has been read of it already.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.tcp, self.read)
    }

    async fn read_more(&mut self) -> Option<()> {
        match self.tcp.read_buf(&mut self.read).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }

    fn take(&mut self, length: usize) -> String {
        String::from_utf8(self.read.drain(..length).collect()).unwrap()
    }
}

/// One `GET` on a connection of its own.
pub async fn get(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Answer {
    Http::to(address).await.request("GET", target, headers, "").await
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
