//! Many connections to one server, driven by one thread over epoll.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::client::{Client, Incoming};
use crate::message;
use crate::token::Mint;

/// Opening fails when no connection is admitted for so long.
const OPENING_STALL: Duration = Duration::from_secs(15);
/// One read takes so many bytes at most, which holds hundreds of deliveries.
const SCRATCH_BYTES: usize = 256 * 1024;
/// Connections that one turn of the poll can report, unless a scenario has reason for fewer.
pub const EVENTS_PER_TURN: usize = 1024;

/// The connections of one scenario. Their indices count from zero in the order they were opened.
pub struct Swarm {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    scratch: Vec<u8>,
    address: SocketAddr,
    mint: Mint,
}

impl Swarm {
    /// No connections yet, to the server at `address`; `mint` signs their tokens. One turn of the poll reports `events_per_turn`
    /// connections at most.
    ///
    /// # Errors
    /// When the system gives no epoll instance.
    pub fn new(address: SocketAddr, mint: Mint, events_per_turn: usize) -> Result<Self> {
        Ok(Self {
            poll: Poll::new().context("making an epoll instance")?,
            events: Events::with_capacity(events_per_turn),
            clients: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            address,
            mint,
        })
    }

    /// From now on connections are opened to `address`; those that are open stay where they are.
    pub fn turn_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// How many connections are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Opens `count` further connections, at most `concurrency` of them in their handshake at a time, and returns when all are
    /// admitted. Each has a user and a token of its own; `team` gives the team's number for a connection's index.
    ///
    /// # Errors
    /// When one is refused or closed, or when nothing is admitted for a while.
    pub fn open(&mut self, count: usize, concurrency: usize, team: impl Fn(usize) -> usize) -> Result<()> {
        let target = self.clients.len() + count;
        let mut admitted = self.clients.len();
        let mut progress = Instant::now();
        while admitted < target {
            while self.clients.len() < target && self.clients.len() - admitted < concurrency {
                let index = self.clients.len();
                self.connect(index, team(index)).with_context(|| format!("opening connection {index}"))?;
            }
            let before = admitted;
            self.pump(Duration::from_millis(100), &mut |_, _, incoming| {
                admitted += usize::from(matches!(incoming, Incoming::Admitted));
            })?;
            if admitted > before {
                progress = Instant::now();
            } else if progress.elapsed() > OPENING_STALL {
                bail!(
                    "{admitted} of {target} connections were admitted, then none for {} s",
                    OPENING_STALL.as_secs()
                );
            }
        }
        Ok(())
    }

    /// Sends whole frames from connection `index`.
    ///
    /// # Errors
    /// When that connection is broken.
    pub fn send(&mut self, index: usize, frames: &[u8]) -> Result<()> {
        self.clients[index].send(frames).with_context(|| format!("connection {index}"))
    }

    /// Whether the socket of connection `index` has taken everything that was sent.
    #[must_use]
    pub fn has_sent_all(&self, index: usize) -> bool {
        self.clients[index].has_sent_all()
    }

    /// From now on nothing is read from connection `index`.
    ///
    /// # Errors
    /// When the poll does not let go of it.
    pub fn stop_reading(&mut self, index: usize) -> Result<()> {
        self.poll.registry().deregister(self.clients[index].stream()).context("leaving a connection unread")
    }

    /// Whether the server has closed connection `index`, of which nothing is read any more. What has arrived there is thrown away.
    pub fn is_closed(&mut self, index: usize) -> bool {
        self.clients[index].is_closed(&mut self.scratch)
    }

    /// Waits for traffic, up to `timeout` (rounded up to milliseconds), and hands each event of it to `sink`
    /// with the connection's index and the time at which it was read.
    ///
    /// # Errors
    /// When any connection is closed or refused: no scenario expects that.
    pub fn pump(
        &mut self,
        timeout: Duration,
        sink: &mut impl FnMut(usize, Instant, Incoming<'_>),
    ) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            polled => polled.context("waiting for the connections")?,
        }
        for event in &self.events {
            let Token(index) = event.token();
            let client = &mut self.clients[index];
            let turn = || format!("connection {index}");
            if event.is_writable() {
                client.on_writable().with_context(turn)?;
            }
            if event.is_readable() {
                let now = Instant::now();
                client
                    .on_readable(&mut self.scratch, event.is_read_closed(), &mut |incoming| {
                        sink(index, now, incoming)
                    })
                    .with_context(turn)?;
            }
        }
        Ok(())
    }

    fn connect(&mut self, index: usize, team: usize) -> Result<()> {
        let team = format!("team-{team}");
        let token = self.mint.token(&format!("user-{index}"), &team)?;
        let request = message::upgrade_request(&self.address.to_string());
        let mut client =
            Client::new(TcpStream::connect(self.address)?, request, message::connect(&token, &team));
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(client.stream(), Token(index), interest)?;
        self.clients.push(client);
        Ok(())
    }
}
