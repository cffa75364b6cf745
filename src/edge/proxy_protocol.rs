//! The PROXY protocol, versions 1 and 2 (haproxy.org, "The PROXY protocol", 2020/03/05): the client's address, which a
//! proxy that forwards bytes rather than requests writes in front of them.
//!
//! Only trusted proxies are listened to. One may also send none and add `X-Forwarded-For` instead, so what it sends is
//! looked at: neither header can be the beginning of a request that we would answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::link::outlet_io::OutletIo;

/// What version 1 begins with.
const V1_START: &[u8] = b"PROXY ";

/// The longest header of version 1, with its line end (§2.1).
const V1_LONGEST: usize = 107;

/// What version 2 begins with (§2.2).
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
const V2_HEAD: usize = 16;

/// Addresses and extensions of version 2 together; a hundred bytes are usual, and a client certificate's name or a
/// cloud's endpoint id some hundred more. The format's own limit would let 64 KiB be kept for nothing.
const V2_LONGEST_BODY: usize = 4096;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// They may become a header; more are needed.
    Incomplete,
    /// Something else, which is all the peer's own.
    NotProxy,
    /// A header.
    Header {
        /// Whose connection it is; `None` where the proxy speaks for itself, or cannot tell.
        source: Option<SocketAddr>,
        /// How many bytes the header is.
        consumed: usize,
    },
    /// They begin as a header and are none.
    Invalid(&'static str),
}

/// Says what the first bytes of a connection are. Never asks for more than a header's greatest length.
pub fn parse(bytes: &[u8]) -> Parsed {
    if begins(bytes, V1_START) {
        parse_v1(bytes)
    } else if begins(bytes, V2_START) {
        parse_v2(bytes)
    } else {
        Parsed::NotProxy
    }
}

/// Whether one is the beginning of the other.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

/// `PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n`
fn parse_v1(bytes: &[u8]) -> Parsed {
    let within = &bytes[..bytes.len().min(V1_LONGEST)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < V1_LONGEST {
            Parsed::Incomplete
        } else {
            Parsed::Invalid("the line is too long")
        };
    };
    let Some(line) = within[..end].strip_suffix(b"\r") else {
        return Parsed::Invalid("the line does not end with CR and LF");
    };
    let Some(line) = line.strip_prefix(V1_START).and_then(|line| std::str::from_utf8(line).ok()) else {
        return Parsed::Invalid("the line is not text");
    };
    let consumed = end + 1;
    // What follows UNKNOWN is to be passed over (§2.1).
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Parsed::Header { source: None, consumed };
    }
    match v1_source(line) {
        Some(source) => Parsed::Header { source: Some(source), consumed },
        None => Parsed::Invalid("the line is not TCP4 or TCP6 with two addresses and two ports"),
    }
}

fn v1_source(line: &str) -> Option<SocketAddr> {
    let mut words = line.split(' ');
    let mut next = || words.next();
    let (family, source, destination) = (next()?, next()?, next()?);
    let (port, _) = (v1_port(next()?)?, v1_port(next()?)?);
    if next().is_some() {
        return None;
    }
    let source = match family {
        "TCP4" => IpAddr::from((source.parse::<Ipv4Addr>().ok()?, destination.parse::<Ipv4Addr>().ok()?).0),
        "TCP6" => IpAddr::from((source.parse::<Ipv6Addr>().ok()?, destination.parse::<Ipv6Addr>().ok()?).0),
        _ => return None,
    };
    Some(SocketAddr::new(source, port))
}

/// Digits without a sign or leading zeros.
fn v1_port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port.to_string() == text).then_some(port)
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let Some(command) = bytes.get(V2_START.len()) else { return Parsed::Incomplete };
    let speaks_for_itself = match command {
        0x20 => true,
        0x21 => false,
        _ => return Parsed::Invalid("neither LOCAL nor PROXY of version 2"),
    };
    let Some((head, body)) = bytes.split_at_checked(V2_HEAD) else { return Parsed::Incomplete };
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > V2_LONGEST_BODY {
        return Parsed::Invalid("the header is too long");
    }
    let Some(body) = body.get(..length) else { return Parsed::Incomplete };
    let consumed = V2_HEAD + length;
    if speaks_for_itself {
        return Parsed::Header { source: None, consumed };
    }
    // Source address, destination address, source port, destination port; then extensions, which are passed over.
    let source = match head[13] {
        0x11 => v2_source::<4>(body),
        0x21 => v2_source::<16>(body),
        // Unspecified, or a Unix socket: there is no address to know the client by.
        0x00 | 0x31 => return Parsed::Header { source: None, consumed },
        _ => return Parsed::Invalid("a family or transport that no TCP connection has"),
    };
    match source {
        Some(source) => Parsed::Header { source: Some(source), consumed },
        None => Parsed::Invalid("the addresses are cut short"),
    }
}

fn v2_source<const N: usize>(body: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (_destination, rest) = rest.split_first_chunk::<N>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (_destination_port, _) = rest.split_first_chunk::<2>()?;
    Some(SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes(*port)))
}

/// What a trusted proxy's connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub struct Introduced {
    /// Whose connection it is, where the proxy has said so.
    pub source: Option<SocketAddr>,
    /// What was read beyond the header, or in search of one: it comes before everything else.
    pub read_ahead: Bytes,
}

/// Reads a trusted proxy's header, if there is one.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] where it is malformed; otherwise what reading says, also of a connection that ends
/// within the header.
pub async fn read(connection: &mut (impl AsyncRead + Unpin)) -> io::Result<Introduced> {
    let mut read = Vec::new();
    loop {
        match parse(&read) {
            Parsed::Incomplete => {}
            Parsed::NotProxy => return Ok(Introduced { source: None, read_ahead: read.into() }),
            Parsed::Header { source, consumed } => {
                // A copy, so that the header's own bytes are not kept with it.
                return Ok(Introduced { source, read_ahead: Bytes::copy_from_slice(&read[consumed..]) });
            }
            Parsed::Invalid(why) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
        }
        if connection.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A connection from its first byte: hands out again what was read ahead, or watches for a header that is not believed.
pub struct Opening {
    io: OutletIo,
    first: First,
}

enum First {
    ReadAhead(Bytes),
    Watched(IpAddr),
    Gone,
}

impl Opening {
    /// A trusted proxy's connection.
    pub fn introduced(io: OutletIo, read_ahead: Bytes) -> Self {
        let first = if read_ahead.is_empty() { First::Gone } else { First::ReadAhead(read_ahead) };
        Opening { io, first }
    }

    /// Anybody's connection. A header on it is a malformed request like any other, and is warned of once.
    pub fn unintroduced(io: OutletIo, remote: IpAddr) -> Self {
        Opening { io, first: First::Watched(remote) }
    }
}

impl AsyncRead for Opening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match &mut this.first {
            First::Gone => Pin::new(&mut this.io).poll_read(cx, buffer),
            First::ReadAhead(bytes) => {
                let now = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes[..now]);
                bytes.advance(now);
                if bytes.is_empty() {
                    this.first = First::Gone;
                }
                Poll::Ready(Ok(()))
            }
            First::Watched(remote) => {
                let before = buffer.filled().len();
                ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
                let bytes = &buffer.filled()[before..];
                // Proxies write their header at once, so it is not looked for any longer than this.
                if bytes.starts_with(V1_START) || bytes.starts_with(V2_START) {
                    warn_once(*remote);
                }
                this.first = First::Gone;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Opening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn warn_once(remote: IpAddr) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            %remote,
            "a PROXY protocol header from an address that is not in server.trusted_proxies was not believed; \
             if a proxy of yours runs there, add it"
        );
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(source: &str, consumed: usize) -> Parsed {
        Parsed::Header { source: Some(source.parse().unwrap()), consumed }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_START, &[command, family], &length, body].concat()
    }

    const TCP4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

    #[test]
    fn reads_version_1() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
        assert_eq!(parse(line), header("192.0.2.1:56324", line.len()));
        let with_more = [&line[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(parse(&with_more), header("192.0.2.1:56324", line.len()));
        let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
        assert_eq!(parse(line), header("[2001:db8::1]:1", line.len()));
        for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ffff::2 1 rubbish\r\n"] {
            assert_eq!(parse(line.as_bytes()), Parsed::Header { source: None, consumed: line.len() });
        }
        let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let longest = format!("PROXY UNKNOWN {address} {address} 65535 65535\r\n");
        assert_eq!(longest.len(), V1_LONGEST);
        assert_eq!(parse(longest.as_bytes()), Parsed::Header { source: None, consumed: V1_LONGEST });
    }

    #[test]
    fn refuses_what_is_almost_version_1() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 9\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.2 1 443\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.2 1 443\r\n",
            "PROXY TCP4 192.0.2.1 2001:db8::2 1 443\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 443\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.2 1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 443\n",
            "PROXY / HTTP/1.1\r\n",
        ] {
            assert!(matches!(parse(line.as_bytes()), Parsed::Invalid(_)), "{line:?}");
        }
        let endless = [b"PROXY ".as_slice(), &[b'x'; V1_LONGEST]].concat();
        assert_eq!(parse(&endless[..V1_LONGEST - 1]), Parsed::Incomplete);
        assert!(matches!(parse(&endless[..V1_LONGEST]), Parsed::Invalid(_)));
    }

    #[test]
    fn reads_version_2() {
        assert_eq!(parse(&v2(0x21, 0x11, TCP4)), header("192.0.2.1:56324", 28));
        let extensions = [TCP4, &[0x03, 0x00, 0x04, 1, 2, 3, 4]].concat();
        let with_more = [&v2(0x21, 0x11, &extensions)[..], b"GET /"].concat();
        assert_eq!(parse(&with_more), header("192.0.2.1:56324", 35));
        let mut tcp6 = [0; 36];
        tcp6[15] = 1;
        tcp6[33] = 7;
        assert_eq!(parse(&v2(0x21, 0x21, &tcp6)), header("[::1]:7", 52));
        for (command, family) in [(0x20, 0x00), (0x20, 0x11), (0x20, 0xff), (0x21, 0x00), (0x21, 0x31)] {
            assert_eq!(parse(&v2(command, family, &[9; 20])), Parsed::Header { source: None, consumed: 36 });
        }
        let longest = v2(0x20, 0, &[0; V2_LONGEST_BODY]);
        assert_eq!(parse(&longest), Parsed::Header { source: None, consumed: longest.len() });
    }

    #[test]
    fn refuses_what_is_almost_version_2() {
        for (command, family, length) in [
            (0x11, 0x11, 12),
            (0x22, 0x11, 12),
            (0x31, 0x11, 12),
            (0x21, 0x11, 11),
            (0x21, 0x21, 35),
            (0x21, 0x12, 12),
            (0x21, 0x41, 12),
            (0x20, 0x00, V2_LONGEST_BODY + 1),
        ] {
            let bytes = v2(command, family, &vec![0; length]);
            assert!(matches!(parse(&bytes), Parsed::Invalid(_)), "{command:#x} {family:#x} {length}");
        }
    }

    #[test]
    fn lets_requests_be() {
        for start in
            ["GET / HTTP/1.1\r\n", "POST /", "PUT", "PROPFIND /", "PROXy", "\r\nGET /", "\x16\x03\x01"]
        {
            assert_eq!(parse(start.as_bytes()), Parsed::NotProxy, "{start:?}");
        }
        assert_eq!(parse(b""), Parsed::Incomplete);
        assert_eq!(parse(b"P"), Parsed::Incomplete);
    }

    /// A reader that hands out its bytes one at a time, then ends.
    async fn read_slowly(bytes: &[u8]) -> (io::Result<Introduced>, Vec<u8>) {
        let (mut proxy, mut here) = tokio::io::duplex(1);
        let bytes = bytes.to_vec();
        let writing = tokio::spawn(async move {
            // The other end may be closed before everything is written.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut proxy, &bytes).await;
        });
        let introduced = read(&mut here).await;
        let mut rest = Vec::new();
        if introduced.is_ok() {
            here.read_to_end(&mut rest).await.unwrap();
        }
        drop(here);
        writing.await.unwrap();
        (introduced, rest)
    }

    #[tokio::test]
    async fn no_byte_behind_a_header_is_lost_however_it_arrives() {
        let request = b"GET /socket.io/ HTTP/1.1\r\n\r\n".as_slice();
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".as_slice();
        for (header, source) in [(line, true), (&v2(0x21, 0x11, TCP4), true), (b"", false)] {
            let bytes = [header, request].concat();
            let (slowly, rest) = read_slowly(&bytes).await;
            let slowly = slowly.unwrap();
            assert_eq!([&slowly.read_ahead[..], &rest].concat(), request);
            let mut rest = &bytes[..];
            let at_once = read(&mut rest).await.unwrap();
            assert_eq!([&at_once.read_ahead[..], rest].concat(), request);
            assert_eq!((slowly.source, at_once.source.is_some()), (at_once.source, source));
        }
        let (cut, _) = read_slowly(&line[..20]).await;
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (bad, _) = read_slowly(b"PROXY rubbish\r\nGET /").await;
        assert_eq!(bad.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// Bytes that are likely to be taken for a header.
    fn near_headers() -> impl Strategy<Value = Vec<u8>> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            bytes.clone(),
            "PROXY (TCP4|TCP6|UNKNOWN)?[ 0-9a-f.:]{0,110}(\r\n)?.{0,5}".prop_map(String::into_bytes),
            bytes.prop_map(|rest| [V2_START, &rest].concat()),
            (0x1fu8..0x23, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..100))
                .prop_map(|(command, family, body)| v2(command, family, &body)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_decided_stays_decided(bytes in near_headers(), more in proptest::collection::vec(any::<u8>(), 0..50)) {
            let decided = parse(&bytes);
            let longer = [&bytes[..], &more].concat();
            match decided {
                Parsed::Incomplete => prop_assert!(bytes.len() < V2_HEAD + V2_LONGEST_BODY),
                Parsed::Header { consumed, .. } => {
                    prop_assert!(consumed <= bytes.len());
                    prop_assert_eq!(parse(&longer), decided);
                    for cut in 0..consumed {
                        prop_assert_eq!(parse(&bytes[..cut]), Parsed::Incomplete);
                    }
                }
                Parsed::NotProxy | Parsed::Invalid(_) => prop_assert_eq!(parse(&longer), decided),
            }
        }

        #[test]
        fn every_address_is_read_back(source: SocketAddr, destination: SocketAddr) {
            prop_assume!(source.is_ipv4() == destination.is_ipv4());
            let source = SocketAddr::new(source.ip(), source.port());
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!(
                "PROXY {family} {} {} {} {}\r\n",
                source.ip(), destination.ip(), source.port(), destination.port()
            );
            prop_assert_eq!(parse(line.as_bytes()), Parsed::Header { source: Some(source), consumed: line.len() });
            let octets = |address: &SocketAddr| match address.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
            let body = [octets(&source), octets(&destination), ports].concat();
            let bytes = v2(0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, &body);
            prop_assert_eq!(parse(&bytes), Parsed::Header { source: Some(source), consumed: bytes.len() });
        }
    }
}
