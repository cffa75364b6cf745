//! A Socket.IO client for people at a terminal: one connection over WebSocket, as far as [`super::tail`] and [`super::send`]
//! need it.
//!
//! Written against the protocols' documents (Engine.IO protocol 4, Socket.IO protocol 5) rather than with a client crate:
//! those that there are bring a second TLS library and a second HTTP client, for four kinds of packets.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::{SinkExt, StreamExt};
use rustls_platform_verifier::BuilderVerifierExt;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, version};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use url::Url;

use super::harmless::harmless;
use super::token::{Failure, read_token};
use super::{USAGE, holds_token};

/// A connection is refused or there by then, its first packets too.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// The server pings every so often and waits as long again (its OPEN says so); somebody who hears nothing for the two is
/// alone. This much longer is waited, for slow networks.
const PING_GRACE: Duration = Duration::from_secs(5);

/// The longest packet that is taken; a server that sends more is not one that is looked at by hand.
const LONGEST_PACKET: usize = 16 << 20;

/// Which server, and as whom.
#[derive(Args, Debug)]
pub(super) struct SocketArgs {
    /// The public port, http or https
    #[arg(
        long,
        value_name = "URL",
        env = "FLOWGATE_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:3000"
    )]
    url: String,
    /// Where Socket.IO is served there, as in server.path
    #[arg(long, value_name = "PATH", default_value = "/socket.io/")]
    path: String,
    /// Read the token from this file instead of standard input
    #[arg(long, value_name = "PATH", conflicts_with_all = ["token_env", "no_token"])]
    token_file: Option<PathBuf>,
    /// Read the token from this environment variable instead of standard input
    #[arg(long, value_name = "NAME", conflicts_with = "no_token")]
    token_env: Option<String>,
    /// Present no token
    #[arg(long)]
    no_token: bool,
    /// Choose one of several teams, as `auth.team` does
    #[arg(long, value_name = "NAME")]
    team: Option<String>,
}

/// What is needed to connect, as often as one likes.
pub(super) struct Dial {
    url: Url,
    path: String,
    auth: Map<String, Value>,
}

/// An admitted connection.
pub(super) struct Connection {
    stream: WebSocketStream<Box<dyn Stream>>,
    silence: Duration,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no connection, or no longer one. The server may have chosen the words.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The server has said no for good: a client that asks again with the same token hears the same.
    #[error("refused: {}", harmless(.0))]
    Refused(String),
    /// It may be otherwise the next time.
    #[error("{}", harmless(.0))]
    Passing(String),
}

/// What arrives.
pub(super) enum Arrival {
    /// An event with its arguments, as they were sent.
    Event(String, Vec<Box<RawValue>>),
    /// The answer to what was sent under this number.
    Ack(u64, Vec<Box<RawValue>>),
}

impl SocketArgs {
    /// Reads the token and puts together what CONNECT will say.
    ///
    /// # Errors
    /// The exit code, after the reason was said.
    pub(super) fn dial(&self, more: Option<(&str, Value)>) -> Result<Dial, ExitCode> {
        let finish = |failure| super::token::finish_with(Err(failure));
        let url = self.url().map_err(finish)?;
        let auth = self.auth(more).map_err(finish)?;
        Ok(Dial { url, path: self.path.clone(), auth })
    }

    /// The address, without a name and password: nobody asks for them, and messages repeat the address. It is read here
    /// since clap repeats what it cannot read.
    fn url(&self) -> Result<Url, Failure> {
        let is_right = |url: &Url| matches!(url.scheme(), "http" | "https") && url.host().is_some();
        let mut url = Url::parse(&self.url).ok().filter(is_right).ok_or_else(|| {
            usage("--url is an address such as http://127.0.0.1:3000 or https://app.example")
        })?;
        // They fail only for addresses that have no host.
        let _ = (url.set_username(""), url.set_password(None));
        Ok(url)
    }

    fn auth(&self, more: Option<(&str, Value)>) -> Result<Map<String, Value>, Failure> {
        let mut auth = Map::new();
        if !self.no_token {
            let variable = self.token_env.as_deref();
            let token = read_token(self.token_file.as_deref(), variable, &mut std::io::stdin())?;
            let token = token.trim();
            if token.is_empty() {
                return Err(usage(
                    "there is no token: name its file with --token-file, its variable with --token-env, write it to standard \
                     input, or say --no-token",
                ));
            }
            auth.insert("token".into(), token.into());
        }
        auth.extend(self.team.clone().map(|team| ("team".to_owned(), Value::from(team))));
        auth.extend(more.map(|(name, value)| (name.to_owned(), value)));
        Ok(auth)
    }
}

fn usage(text: &str) -> Failure {
    Failure::new(USAGE, format!("flowgate: {text}"))
}

impl Dial {
    /// Where it connects, for people.
    pub(super) fn target(&self) -> &Url {
        &self.url
    }

    /// Connects and is admitted.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub(super) async fn connect(&self) -> Result<Connection, Trouble> {
        match tokio::time::timeout(OPEN_WITHIN, self.open()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Trouble::Passing(format!("{} does not answer", self.url))),
        }
    }

    async fn open(&self) -> Result<Connection, Trouble> {
        let stream = self.stream().await.map_err(Trouble::Passing)?;
        let scheme = if self.url.scheme() == "https" { "wss" } else { "ws" };
        let authority = self.url.authority();
        let path = format!("/{}", self.path.trim_start_matches('/'));
        let request = format!("{scheme}://{authority}{path}?EIO=4&transport=websocket").into_client_request();
        let request =
            request.map_err(|error| Trouble::Passing(format!("not an address to connect to: {error}")))?;
        let config = WebSocketConfig::default().max_message_size(Some(LONGEST_PACKET));
        let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
        let (stream, _) = opened.map_err(|error| self.not_opened(error))?;
        let mut connection = Connection { stream, silence: OPEN_WITHIN };
        let open = connection.packet().await?;
        connection.silence = silence_of(open.strip_prefix('0').unwrap_or_default())?;
        connection.write(format!("40{}", Value::Object(self.auth.clone()))).await?;
        loop {
            let packet = connection.packet().await?;
            match packet.as_bytes() {
                [b'4', b'0', ..] => return Ok(connection),
                [b'4', b'4', ..] => return Err(Trouble::Refused(message_of(&packet[2..]))),
                _ => {}
            }
        }
    }

    async fn stream(&self) -> Result<Box<dyn Stream>, String> {
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = self.url.port_or_known_default().unwrap_or(80);
        let tcp = TcpStream::connect((host.as_str(), port)).await;
        let tcp = tcp.map_err(|error| format!("cannot connect to {}: {error}", self.url))?;
        // An event is small, and somebody waits for its answer.
        let _ = tcp.set_nodelay(true);
        if self.url.scheme() == "http" {
            return Ok(Box::new(tcp));
        }
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(host).map_err(|error| format!("{}: {error}", self.url))?,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .and_then(BuilderVerifierExt::with_platform_verifier)
            .map_err(|error| format!("no TLS here: {error}"))?
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        Ok(Box::new(tls.map_err(|error| format!("no TLS connection to {}: {error}", self.url))?))
    }

    /// A server that still speaks HTTP says why, and when to come back.
    fn not_opened(&self, error: WebSocketError) -> Trouble {
        let WebSocketError::Http(answer) = error else {
            return Trouble::Passing(format!(
                "no WebSocket at {}{}: {error}",
                self.url,
                self.path.trim_start_matches('/')
            ));
        };
        let body = answer.body().as_deref().unwrap_or_default();
        let code = serde_json::from_slice::<Value>(body).ok();
        let code = code.as_ref().and_then(|body| body["code"].as_str()).unwrap_or("no reason given");
        let said = format!("HTTP {}, {code}", answer.status().as_u16());
        match answer.status().as_u16() {
            429 | 500.. => {
                let wait = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
                Trouble::Passing(wait.map_or(said.clone(), |wait| format!("{said}; come back in {wait} s")))
            }
            _ => Trouble::Refused(said),
        }
    }
}

impl Connection {
    /// The next thing that arrives. Answers pings meanwhile.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn next(&mut self) -> Result<Arrival, Trouble> {
        loop {
            let packet = self.packet().await?;
            match packet.as_bytes() {
                [b'4', b'2', ..] => {
                    let mut arguments = arguments_of(&packet[2..])?;
                    if arguments.is_empty() {
                        continue;
                    }
                    let name = arguments.remove(0);
                    let name = serde_json::from_str(name.get()).unwrap_or_else(|_| name.get().to_owned());
                    return Ok(Arrival::Event(name, arguments));
                }
                [b'4', b'3', ..] => {
                    let digits = packet[2..].bytes().take_while(u8::is_ascii_digit).count();
                    let (number, rest) = packet[2..].split_at(digits);
                    if let Ok(number) = number.parse() {
                        return Ok(Arrival::Ack(number, arguments_of(rest)?));
                    }
                }
                [b'4', b'1', ..] => return Err(Trouble::Refused("the server has disconnected us".into())),
                _ => {}
            }
        }
    }

    /// Sends an event and asks for an answer under this number.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn emit(
        &mut self,
        event: &str,
        payload: Option<&str>,
        number: u64,
    ) -> Result<(), Trouble> {
        let name = Value::from(event);
        let packet = match payload {
            Some(payload) => format!("42{number}[{name},{payload}]"),
            None => format!("42{number}[{name}]"),
        };
        self.write(packet).await
    }

    /// Leaves as a client does that will not come back.
    pub(super) async fn close(mut self) {
        // It ends either way.
        let _ = self.write("41".into()).await;
        let _ = self.stream.close(None).await;
    }

    /// The next Engine.IO packet that is no ping.
    async fn packet(&mut self) -> Result<String, Trouble> {
        loop {
            let message = match tokio::time::timeout(self.silence, self.stream.next()).await {
                Err(_) => return Err(Trouble::Passing("the server has gone silent".into())),
                Ok(None) => return Err(Trouble::Passing("the connection was closed".into())),
                Ok(Some(Err(error))) => {
                    return Err(Trouble::Passing(format!("the connection broke: {error}")));
                }
                Ok(Some(Ok(message))) => message,
            };
            match message {
                Message::Text(text) if text.as_str() == "2" => self.write("3".into()).await?,
                Message::Text(text) => return Ok(text.as_str().to_owned()),
                Message::Close(_) => {
                    return Err(Trouble::Passing("the server has closed the connection".into()));
                }
                _ => {}
            }
        }
    }

    async fn write(&mut self, packet: String) -> Result<(), Trouble> {
        let sent = self.stream.send(Message::text(packet)).await;
        sent.map_err(|error| Trouble::Passing(format!("the connection broke: {error}")))
    }
}

/// How long the server may be silent, from its OPEN packet.
fn silence_of(open: &str) -> Result<Duration, Trouble> {
    let open: Value = serde_json::from_str(open)
        .map_err(|_| Trouble::Refused("what answers there does not speak Engine.IO".into()))?;
    let milliseconds = |key: &str| Duration::from_millis(open[key].as_u64().unwrap_or(30_000));
    Ok(milliseconds("pingInterval") + milliseconds("pingTimeout") + PING_GRACE)
}

/// The message of a CONNECT_ERROR packet.
fn message_of(packet: &str) -> String {
    let body = serde_json::from_str::<Value>(packet).unwrap_or_default();
    body["message"].as_str().unwrap_or("no reason given").to_owned()
}

fn arguments_of(packet: &str) -> Result<Vec<Box<RawValue>>, Trouble> {
    serde_json::from_str(packet).map_err(|_| Trouble::Passing("the server sent what is no packet".into()))
}

/// Reads JSON from an argument; a token in it would stand in the process list.
pub(super) fn json_argument(text: &str) -> Result<String, String> {
    if holds_token(text) {
        return Err("a token is not given in an argument, which every user of this machine can read".into());
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("this is not JSON: {error}")),
    }
}
