//! One connection: opened, welcomed, and from then on values that come in and bytes that go out.
//!
//! Of the redis crate only the parser and the writing of commands are used. Its connections hand on what a server pushes
//! through a function that must not wait, so that a slow listener could only be answered with an endless queue; here the
//! socket is simply not read for as long as its listener is busy, and TCP and the server's own limit do the rest.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use redis::{Value, parse_redis_value_async};
use rustls_pki_types::ServerName;
use tokio::io::{self, AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config::{Address, Config};
use super::error::Broken;
use super::place::Place;

/// The longest answer or message that is taken, with all that is inside it. A page of a team's history is the largest; what
/// is longer is not of ours.
pub(super) const LONGEST_VALUE: usize = 64 << 20;

/// Under this name the connections stand in `CLIENT LIST`.
const CLIENT_NAME: &str = "flowgate";

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection that its server has welcomed.
pub(super) struct Link {
    /// What the server says, one value after the other. Polling it may be given up at any time; nothing is lost by that.
    pub(super) values: Pin<Box<dyn Stream<Item = Result<Value, Broken>> + Send>>,
    /// What it is told.
    pub(super) out: Outgoing,
}

/// Bytes on their way to the server.
pub(super) struct Outgoing {
    writer: Writer,
    buffer: BytesMut,
    is_flushed: bool,
}

impl Link {
    /// Connects and says who this is.
    ///
    /// # Errors
    /// Whatever of it did not succeed within `connect_timeout`.
    pub(super) async fn open(place: &Place, config: &Config) -> Result<Self, Broken> {
        let opening = async {
            let mut link = Link::connect(&place.address, config).await?;
            link.introduce(place.database, config).await?;
            Ok(link)
        };
        timeout(config.connect_timeout, opening).await.unwrap_or(Err(Broken::NoWelcome))
    }

    async fn connect(address: &Address, config: &Config) -> Result<Self, Broken> {
        let tcp =
            TcpStream::connect((address.host.as_str(), address.port)).await.map_err(Broken::Unreachable)?;
        // A batch is written whole, and somebody waits for it.
        let _ = tcp.set_nodelay(true);
        let (reader, writer): (Reader, Writer) = match &config.tls {
            None => {
                let (reader, writer) = tcp.into_split();
                (Box::new(reader), Box::new(writer))
            }
            Some(tls) => {
                let name = ServerName::try_from(address.host.clone()).map_err(|_| Broken::Name)?;
                let connector = TlsConnector::from(tls.0.clone());
                let (reader, writer) = io::split(connector.connect(name, tcp).await.map_err(Broken::Tls)?);
                (Box::new(reader), Box::new(writer))
            }
        };
        let out = Outgoing { writer, buffer: BytesMut::new(), is_flushed: true };
        Ok(Link { values: values(reader), out })
    }

    async fn introduce(&mut self, database: u32, config: &Config) -> Result<(), Broken> {
        let mut hello = redis::cmd("HELLO");
        hello.arg(3);
        if let Some(password) = &config.password {
            let username = config.username.as_deref().unwrap_or("default");
            hello.arg("AUTH").arg(username).arg(password.reveal());
        }
        hello.arg("SETNAME").arg(CLIENT_NAME);
        self.ask("HELLO", &hello).await?;
        if database != 0 {
            self.ask("SELECT", redis::cmd("SELECT").arg(database)).await?;
        }
        Ok(())
    }

    /// One command by itself, and its answer, which is no error. Only where nothing else is under way; the caller holds the
    /// deadline.
    pub(super) async fn ask(&mut self, name: &'static str, command: &redis::Cmd) -> Result<Value, Broken> {
        match self.ask_packed(&command.get_packed_command()).await? {
            Value::ServerError(error) => Err(Broken::refused(name, &error)),
            answer => Ok(answer),
        }
    }

    /// The same, whatever the answer is.
    pub(super) async fn ask_packed(&mut self, command: &[u8]) -> Result<Value, Broken> {
        self.out.push(command);
        while self.out.is_pending() {
            self.out.write_some().await?;
        }
        self.values.next().await.unwrap_or(Err(Broken::Closed))
    }
}

impl Outgoing {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether [`Outgoing::write_some`] has something to do.
    pub(super) fn is_pending(&self) -> bool {
        !self.buffer.is_empty() || !self.is_flushed
    }

    /// Writes what the connection takes; once it has all, sees it out of TLS's own buffers. May be given up at any time.
    pub(super) async fn write_some(&mut self) -> Result<(), Broken> {
        if self.buffer.is_empty() {
            self.writer.flush().await.map_err(Broken::Io)?;
            self.is_flushed = true;
        } else {
            self.is_flushed = false;
            let written = self.writer.write(&self.buffer).await.map_err(Broken::Io)?;
            self.buffer.advance(written);
        }
        Ok(())
    }
}

fn values(reader: Reader) -> Pin<Box<dyn Stream<Item = Result<Value, Broken>> + Send>> {
    let reader = Metered { reader, left: LONGEST_VALUE };
    Box::pin(stream::unfold((reader, Default::default()), |(mut reader, mut decoder)| async move {
        reader.left = LONGEST_VALUE;
        let value = parse_redis_value_async(&mut decoder, &mut reader).await.map_err(|error| {
            if reader.left == 0 {
                return Broken::TooLong;
            }
            match error.kind() {
                redis::ErrorKind::Io => Broken::Closed,
                _ => Broken::Malformed,
            }
        });
        Some((value, (reader, decoder)))
    }))
}

/// A reader that fails past a number of bytes.
struct Metered {
    reader: Reader,
    left: usize,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("too long")));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.reader).poll_read(cx, buffer);
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        polled
    }
}
