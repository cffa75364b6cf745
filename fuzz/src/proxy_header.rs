//! The first bytes of a trusted proxy's connection.

use std::net::{IpAddr, SocketAddr};

use flowgate::edge::proxy_protocol::{Parsed, parse, read};

/// The signature of version 2 (§2.2).
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The first bytes of a connection, in the PROXY protocol or not.
///
/// Promised: what was decided holds, whatever follows; before that, nothing is; no more is asked for than a header can be
/// long; an address is the one that stands there; no byte behind a header is lost.
pub fn proxy_header(data: &[u8]) {
    // The bound that flowgate sets: 16 bytes of head and 4 KiB of addresses and extensions.
    const LONGEST: usize = 16 + 4096;
    let parsed = parse(data);
    match parsed {
        Parsed::Incomplete => {
            assert!(data.len() < LONGEST, "asks for more than {LONGEST} bytes");
            assert!(data.starts_with(V2_START) || data.len() < 107, "a line has 107 bytes at most");
        }
        Parsed::NotProxy => {
            assert!(!data.starts_with(V2_START) && !data.starts_with(b"PROXY "));
            decided(data, parsed);
        }
        Parsed::Invalid(why) => {
            assert!(crate::is_one_line(why) && !why.is_empty());
            decided(data, parsed);
        }
        Parsed::Header { source, consumed } => {
            assert!(consumed <= data.len() && consumed <= LONGEST);
            let header = &data[..consumed];
            // Every cut would take quadratic time for nothing.
            let cuts = (0..consumed).filter(|cut| *cut < 128 || consumed - cut < 4);
            for cut in cuts {
                assert_eq!(parse(&header[..cut]), Parsed::Incomplete, "after {cut} bytes");
            }
            decided(header, parsed);
            decided(data, parsed);
            assert_eq!(source, second_reading(header));
        }
    }
    read_from(data, parsed);
    written(data);
}

fn decided(data: &[u8], parsed: Parsed) {
    for more in [&b"\n"[..], b"\r\n", b" 1\r\nGET / HTTP/1.1\r\n", V2_START] {
        assert_eq!(parse(&[data, more].concat()), parsed, "{more:?}");
    }
}

/// The address in a header that is known to be one.
fn second_reading(header: &[u8]) -> Option<SocketAddr> {
    if let Some(rest) = header.strip_prefix(V2_START) {
        let port = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
        return match (rest[0], rest[1]) {
            (0x21, 0x11) => {
                let address = <[u8; 4]>::try_from(&rest[4..8]).expect("four bytes");
                Some(SocketAddr::new(IpAddr::from(address), port(&rest[12..])))
            }
            (0x21, 0x21) => {
                let address = <[u8; 16]>::try_from(&rest[4..20]).expect("sixteen bytes");
                Some(SocketAddr::new(IpAddr::from(address), port(&rest[36..])))
            }
            _ => None,
        };
    }
    let line = std::str::from_utf8(header).expect("a line of text").trim_end();
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["PROXY", family @ ("TCP4" | "TCP6"), source, _, port, _] => {
            let address: IpAddr = source.parse().expect("an address");
            assert_eq!(address.is_ipv4(), *family == "TCP4");
            Some(SocketAddr::new(address, port.parse().expect("a port")))
        }
        ["PROXY", "UNKNOWN", ..] => None,
        _ => panic!("{line:?} is no header"),
    }
}

/// Reading from a connection that sends just these bytes and ends.
fn read_from(data: &[u8], parsed: Parsed) {
    let mut rest = data;
    let read = crate::at_once(read(&mut rest));
    match (parsed, read) {
        (Parsed::Header { source, consumed }, Ok(introduced)) => {
            assert_eq!(introduced.source, source);
            assert_eq!([&introduced.read_ahead[..], rest].concat(), &data[consumed..]);
        }
        (Parsed::NotProxy, Ok(introduced)) => {
            assert_eq!(introduced.source, None);
            assert_eq!([&introduced.read_ahead[..], rest].concat(), data);
        }
        (Parsed::Incomplete, Err(error)) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
        (Parsed::Invalid(_), Err(error)) => assert_eq!(error.kind(), std::io::ErrorKind::InvalidData),
        (parsed, read) => panic!("{parsed:?}, but {read:?}"),
    }
}

/// Headers of an address that is made of these bytes, in both versions and followed by them.
fn written(data: &[u8]) {
    let Some((bytes, more)) = data.split_first_chunk::<18>() else { return };
    let [address @ .., high, low] = *bytes;
    let port = u16::from_be_bytes([high, low]);
    for address in [IpAddr::from(address), IpAddr::from([address[0], address[1], address[2], address[3]])] {
        let (family, code) = if address.is_ipv4() { ("TCP4", 0x11) } else { ("TCP6", 0x21) };
        let octets = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let ports = [port.to_be_bytes(), [0, 80]].concat();
        let length = 2 * octets.len() as u8 + 4;
        let v1 = format!("PROXY {family} {address} {address} {port} 80\r\n").into_bytes();
        let v2 = [V2_START, &[0x21, code, 0, length], &octets, &octets, &ports].concat();
        for header in [v1, v2] {
            let expected =
                Parsed::Header { source: Some(SocketAddr::new(address, port)), consumed: header.len() };
            assert_eq!(parse(&[&header, more].concat()), expected);
        }
    }
}
