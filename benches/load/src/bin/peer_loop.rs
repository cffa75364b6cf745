//! The lower bound: one thread over epoll that parses a frame and writes it once to every member, with one `write` each.
//! No policy, no queues, no timers but the heartbeat. It accepts the same handshake as the other peers: `PEER_PORT` is the port on
//! 127.0.0.1, and with `PEER_ROOMS=1` the unverified auth payload names the team. A member that does not read is dropped.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use flowgate_load::frame;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use sha1::{Digest, Sha1};

const LISTENER: Token = Token(usize::MAX);
/// Engine.IO's default heartbeat.
const PING_EVERY: Duration = Duration::from_secs(25);
/// A request head or a frame of a client must fit into this.
const SCRATCH_BYTES: usize = 64 * 1024;
/// RFC 6455 §1.3.
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const OPEN: &str =
    r#"0{"sid":"loop","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100000}"#;
const CHANGE: &[u8] = br#"42["database-change","#;

struct Member {
    stream: TcpStream,
    upgraded: bool,
    team: Option<String>,
    carry: Vec<u8>,
}

struct Relay {
    poll: Poll,
    members: Vec<Option<Member>>,
    teams: HashMap<String, Vec<usize>>,
    use_rooms: bool,
}

fn main() -> Result<()> {
    let port: u16 = std::env::var("PEER_PORT")
        .context("PEER_PORT is not set")?
        .parse()
        .context("PEER_PORT is no port")?;
    let use_rooms = std::env::var("PEER_ROOMS").is_ok_and(|value| value == "1");
    let poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut relay = Relay { poll, members: Vec::new(), teams: HashMap::new(), use_rooms };

    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut next_ping = Instant::now() + PING_EVERY;
    loop {
        match relay.poll.poll(&mut events, Some(next_ping.saturating_duration_since(Instant::now()))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            match event.token() {
                LISTENER => relay.accept(&listener)?,
                Token(index) => relay.read(index, &mut scratch),
            }
        }
        if Instant::now() >= next_ping {
            relay.ping();
            next_ping += PING_EVERY;
        }
    }
}

impl Relay {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            match listener.accept() {
                Ok((mut stream, _)) => {
                    stream.set_nodelay(true)?;
                    self.poll.registry().register(
                        &mut stream,
                        Token(self.members.len()),
                        Interest::READABLE,
                    )?;
                    self.members.push(Some(Member {
                        stream,
                        upgraded: false,
                        team: None,
                        carry: Vec::new(),
                    }));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accepting"),
            }
        }
    }

    fn read(&mut self, index: usize, scratch: &mut [u8]) {
        if self.try_read(index, scratch).is_err() {
            self.remove(index);
        }
    }

    fn try_read(&mut self, index: usize, scratch: &mut [u8]) -> Result<()> {
        loop {
            let Some(member) = self.members[index].as_mut() else {
                return Ok(());
            };
            let carried = member.carry.len();
            ensure!(carried < scratch.len(), "the client sent more than fits");
            scratch[..carried].copy_from_slice(&member.carry);
            let read = match member.stream.read(&mut scratch[carried..]) {
                Ok(0) => bail!("closed"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let filled = carried + read;
            let used = self.consume(index, &mut scratch[..filled])?;
            if let Some(member) = self.members[index].as_mut() {
                member.carry.clear();
                member.carry.extend_from_slice(&scratch[used..filled]);
            }
            if filled < scratch.len() {
                return Ok(());
            }
        }
    }

    /// Handles the whole frames in `bytes` and returns how many bytes they took.
    fn consume(&mut self, index: usize, bytes: &mut [u8]) -> Result<usize> {
        let mut at = 0;
        let Some(member) = self.members[index].as_mut() else {
            return Ok(bytes.len());
        };
        if !member.upgraded {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(0);
            };
            let mut answer = upgrade_answer(&bytes[..end])?;
            frame::write_unmasked(&mut answer, frame::TEXT, OPEN.as_bytes());
            member.upgraded = true;
            write_whole(&mut member.stream, &answer)?;
            at = end + 4;
        }
        while let Some(found) = frame::parse(&bytes[at..]) {
            let payload = &mut bytes[at + found.start..at + found.end];
            if let Some(mask) = found.mask {
                frame::apply_mask(payload, mask);
            }
            ensure!(found.opcode == frame::TEXT, "only text frames are expected");
            self.handle(index, payload)?;
            at += found.end;
        }
        Ok(at)
    }

    fn handle(&mut self, index: usize, text: &[u8]) -> Result<()> {
        if let Some(arguments) = text.strip_prefix(CHANGE) {
            self.relay(index, arguments);
        } else if let Some(auth) = text.strip_prefix(b"40") {
            self.join(index, auth)?;
        }
        Ok(())
    }

    fn join(&mut self, index: usize, auth: &[u8]) -> Result<()> {
        let auth: serde_json::Value = serde_json::from_slice(auth)?;
        let team = if self.use_rooms { auth["team"].as_str().unwrap_or_default() } else { "" }.to_owned();
        self.teams.entry(team.clone()).or_default().push(index);
        let Some(member) = self.members[index].as_mut() else {
            return Ok(());
        };
        member.team = Some(team);
        let mut answer = Vec::new();
        frame::write_unmasked(&mut answer, frame::TEXT, br#"40{"sid":"loop"}"#);
        write_whole(&mut member.stream, &answer)
    }

    fn relay(&mut self, sender: usize, arguments: &[u8]) {
        let Some(team) = self.members[sender].as_ref().and_then(|member| member.team.as_ref()) else {
            return;
        };
        let mut text = br#"42["database-changed","#.to_vec();
        text.extend_from_slice(arguments);
        let mut bytes = Vec::with_capacity(text.len() + 4);
        frame::write_unmasked(&mut bytes, frame::TEXT, &text);
        let mut stuck = Vec::new();
        for &index in self.teams.get(team).into_iter().flatten() {
            if let Some(member) = self.members[index].as_mut()
                && write_whole(&mut member.stream, &bytes).is_err()
            {
                stuck.push(index);
            }
        }
        stuck.into_iter().for_each(|index| self.remove(index));
    }

    fn ping(&mut self) {
        let mut bytes = Vec::new();
        frame::write_unmasked(&mut bytes, frame::TEXT, b"2");
        for index in 0..self.members.len() {
            if let Some(member) = self.members[index].as_mut().filter(|member| member.team.is_some())
                && write_whole(&mut member.stream, &bytes).is_err()
            {
                self.remove(index);
            }
        }
    }

    fn remove(&mut self, index: usize) {
        let team = self.members[index].take().and_then(|member| member.team);
        if let Some(members) = team.and_then(|team| self.teams.get_mut(&team)) {
            members.retain(|&member| member != index);
        }
    }
}

/// One `write`: what the socket does not take at once is as good as a client that stopped reading.
fn write_whole(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    let written = stream.write(bytes)?;
    ensure!(written == bytes.len(), "the client does not read");
    Ok(())
}

fn upgrade_answer(head: &[u8]) -> Result<Vec<u8>> {
    let head = std::str::from_utf8(head)?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let key = key.context("the request asks for no WebSocket")?;
    let accept = STANDARD.encode(Sha1::digest(format!("{key}{ACCEPT_SUFFIX}")));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Ok(answer.into_bytes())
}
