//! A Socket.IO client's session over any transport: a WebSocket, polling, or the upgrade from one to the other.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;

use super::target::{Target, team_name};
use super::wire::{Answer, Wire, closed};
use crate::message;

/// flowgate closes a connection that had no request for 10 s; one that rested for so long is not used again.
const REST: Duration = Duration::from_secs(5);
/// Between Engine.IO packets in one body.
const RECORD_SEPARATOR: char = '\x1e';

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A WebSocket from the first request.
    WebSocket,
    /// Long-polling.
    Polling,
    /// Long-polling, which becomes a WebSocket once admitted.
    Upgrade,
}

/// An open session. Packets are those of Engine.IO, heartbeats among them: whoever reads must answer `2` with `3`.
pub enum Session {
    /// Over a WebSocket.
    Socket(Socket),
    /// Over polling.
    Poll(Box<Poll>),
}

/// A session over a WebSocket.
pub struct Socket {
    /// The connection, for those who want to misuse it.
    pub wire: Wire,
    /// What was polled during the upgrade.
    early: VecDeque<String>,
}

/// A session over polling, with one connection to poll on and one to post on.
pub struct Poll {
    from: Ipv4Addr,
    host: String,
    /// The session's id, which is a credential.
    pub sid: String,
    get: Wire,
    is_polling: bool,
    post: Option<(Wire, Instant)>,
    inbox: VecDeque<String>,
}

impl Session {
    /// Opens a session and is admitted to `team` with `token`.
    ///
    /// # Errors
    /// When anything on the way is refused or breaks; the error says what.
    pub async fn join(
        target: &Target,
        from: Ipv4Addr,
        transport: Transport,
        token: &str,
        team: usize,
    ) -> io::Result<Self> {
        let mut session = match transport {
            Transport::WebSocket => Self::Socket(Socket::open(target, from).await?),
            Transport::Polling | Transport::Upgrade => Self::Poll(Box::new(Poll::open(target, from).await?)),
        };
        session.admit(target, token, team).await?;
        Ok(session)
    }

    /// Sends CONNECT and waits to be admitted.
    ///
    /// # Errors
    /// When CONNECT is refused, with what the server said, or the session ends.
    pub async fn admit(&mut self, target: &Target, token: &str, team: usize) -> io::Result<()> {
        self.send(target, &message::connect(token, &team_name(team))).await?;
        loop {
            let packet = self.packet().await?;
            match packet.as_bytes() {
                [b'4', b'0', ..] => return Ok(()),
                [b'4', b'4', ..] => return Err(io::Error::other(format!("CONNECT was answered {packet}"))),
                [b'2'] => self.send(target, "3").await?,
                _ => return Err(io::Error::other(format!("CONNECT was answered {packet:.40}"))),
            }
        }
    }

    /// The next packet. May be cancelled.
    ///
    /// # Errors
    /// When the session ends or breaks.
    pub async fn packet(&mut self) -> io::Result<String> {
        match self {
            Self::Socket(socket) => socket.packet().await,
            Self::Poll(poll) => poll.packet().await,
        }
    }

    /// Sends a packet. Must not be cancelled.
    ///
    /// # Errors
    /// When the session ends or breaks.
    pub async fn send(&mut self, target: &Target, packet: &str) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.wire.write_text(packet).await,
            Self::Poll(poll) => match poll.post(target, packet).await? {
                Answer { status: 200, .. } => Ok(()),
                Answer { status, body } => Err(closed(format!("a post was answered {status} {body}"))),
            },
        }
    }

    /// Goes over to a WebSocket, as stock clients do once they are admitted. Must not be cancelled.
    ///
    /// # Errors
    /// When the upgrade is refused or anything breaks.
    pub async fn upgrade(self, target: &Target) -> io::Result<Self> {
        match self {
            Self::Poll(poll) => Ok(Self::Socket(poll.upgrade(target).await?)),
            socket => Ok(socket),
        }
    }

    /// Leaves as a client does that closes: DISCONNECT or not, then the end of the session.
    ///
    /// # Errors
    /// When the session has ended already.
    pub async fn leave(mut self, target: &Target, says_so: bool) -> io::Result<()> {
        if says_so {
            self.send(target, "41").await?;
        }
        match self {
            Self::Poll(mut poll) => poll.post(target, "1").await.map(drop),
            Self::Socket(_) => Ok(()),
        }
    }
}

impl Socket {
    /// Opens a session over a WebSocket, without CONNECT.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn open(target: &Target, from: Ipv4Addr) -> io::Result<Self> {
        Self::open_on(target.dial(from).await?, target).await
    }

    /// The same on a connection that is there already.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn open_on(mut wire: Wire, target: &Target) -> io::Result<Self> {
        wire.write(message::upgrade_request(&target.public.to_string()).as_bytes()).await?;
        switched(&wire.answer().await?)?;
        let open = wire.text().await?;
        if !open.starts_with('0') {
            return Err(io::Error::other(format!("the session was opened with {open:.40}")));
        }
        Ok(Self { wire, early: VecDeque::new() })
    }

    async fn packet(&mut self) -> io::Result<String> {
        match self.early.pop_front() {
            Some(packet) => Ok(packet),
            None => self.wire.text().await,
        }
    }
}

impl Poll {
    /// Opens a session by polling, without CONNECT.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn open(target: &Target, from: Ipv4Addr) -> io::Result<Self> {
        let host = target.public.to_string();
        let mut get = target.dial(from).await?;
        get.write(get_request(&host, "").as_bytes()).await?;
        let answer = get.answer().await?;
        let sid = answer.body.strip_prefix(r#"0{"sid":""#).and_then(|rest| rest.split('"').next());
        match (answer.status, sid) {
            (200, Some(sid)) => {
                let (sid, inbox) = (sid.to_owned(), VecDeque::new());
                Ok(Self { from, host, sid, get, is_polling: false, post: None, inbox })
            }
            (status, _) => Err(io::Error::other(format!("a session was answered {status} {}", answer.body))),
        }
    }

    /// Asks what there is, without waiting for the answer.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn begin_poll(&mut self) -> io::Result<()> {
        if !self.is_polling {
            self.is_polling = true;
            let request = get_request(&self.host, &self.sid);
            self.get.write(request.as_bytes()).await?;
        }
        Ok(())
    }

    /// Posts a body of packets.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn post(&mut self, target: &Target, body: &str) -> io::Result<Answer> {
        let rested = |since: &Instant| since.elapsed() < REST;
        let mut wire = match self.post.take() {
            Some((wire, since)) if rested(&since) => wire,
            _ => target.dial(self.from).await?,
        };
        wire.write(post_request(&self.host, &self.sid, body).as_bytes()).await?;
        let answer = wire.answer().await?;
        self.post = Some((wire, Instant::now()));
        Ok(answer)
    }

    async fn packet(&mut self) -> io::Result<String> {
        loop {
            if let Some(packet) = self.inbox.pop_front() {
                return Ok(packet);
            }
            self.begin_poll().await?;
            self.end_poll().await?;
        }
    }

    async fn end_poll(&mut self) -> io::Result<()> {
        let answer = self.get.answer().await?;
        self.is_polling = false;
        if answer.status != 200 {
            return Err(closed(format!("a poll was answered {} {}", answer.status, answer.body)));
        }
        let packets =
            answer.body.split(RECORD_SEPARATOR).filter(|packet| !packet.is_empty() && *packet != "6");
        self.inbox.extend(packets.map(str::to_owned));
        Ok(())
    }

    /// Asks for a WebSocket of this session.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn ask_upgrade(&self, target: &Target) -> io::Result<Wire> {
        let mut wire = target.dial(self.from).await?;
        let request = message::upgrade_request(&self.host);
        let sid = format!("transport=websocket&sid={}", self.sid);
        wire.write(request.replacen("transport=websocket", &sid, 1).as_bytes()).await?;
        switched(&wire.answer().await?)?;
        Ok(wire)
    }

    /// Polls on until the probe is answered and the last poll too, and only then says that the WebSocket has taken over.
    async fn upgrade(mut self, target: &Target) -> io::Result<Socket> {
        self.begin_poll().await?;
        let mut wire = self.ask_upgrade(target).await?;
        wire.write_text("2probe").await?;
        loop {
            tokio::select! {
                biased;
                ended = self.end_poll() => {
                    ended?;
                    self.begin_poll().await?;
                }
                probe = wire.text() => match probe?.as_str() {
                    "3probe" => break,
                    other => return Err(io::Error::other(format!("the probe was answered {other:.40}"))),
                },
            }
        }
        self.end_poll().await?;
        wire.write_text("5").await?;
        Ok(Socket { wire, early: self.inbox })
    }
}

fn switched(answer: &Answer) -> io::Result<()> {
    match answer.status {
        101 => Ok(()),
        status => Err(io::Error::other(format!("the upgrade was answered {status} {}", answer.body))),
    }
}

fn get_request(host: &str, sid: &str) -> String {
    let sid = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
    format!("GET /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// The request that posts `body` to a session.
#[must_use]
pub fn post_request(host: &str, sid: &str, body: &str) -> String {
    format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: {host}\r\n\
         Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
