//! The real client address behind trusted proxies.

use std::net::IpAddr;
use std::sync::Once;

use http::HeaderMap;
use http::header::HeaderName;
use ipnet::IpNet;

/// The header that proxies append the address to that they were called from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: walking `X-Forwarded-For` from its right end, the first address that is not a trusted proxy.
///
/// Every entry to the left of that one was written by somebody we do not trust. A connection from an untrusted address
/// is its own client, whatever its headers say; that is warned of once, since it may be a proxy that was forgotten.
pub fn client_address(remote: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let remote = remote.to_canonical();
    if !is_trusted(remote, trusted) {
        if headers.contains_key(&FORWARDED_FOR) {
            warn_once(remote);
        }
        return remote;
    }
    let mut client = remote;
    for value in headers.get_all(&FORWARDED_FOR).into_iter().rev() {
        for entry in value.as_bytes().rsplit(|byte| *byte == b',') {
            let Some(address) = parse_entry(entry) else { return client };
            client = address;
            if !is_trusted(address, trusted) {
                return client;
            }
        }
    }
    client
}

/// Whether a proxy of ours has this address.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// One entry: an address, perhaps with a port or in brackets, as proxies write them.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(address.to_canonical())
}

fn warn_once(remote: IpAddr) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            %remote,
            "X-Forwarded-For from an address that is not in server.trusted_proxies was ignored; \
             if a proxy of yours runs there, add it"
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(remote: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        client_address(remote.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn believes_trusted_proxies_only() {
        assert_eq!(resolve("1.2.3.4", &["9.9.9.9"]), "1.2.3.4");
        assert_eq!(resolve("10.0.0.1", &["9.9.9.9"]), "9.9.9.9");
        assert_eq!(resolve("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(resolve("::ffff:10.0.0.1", &["9.9.9.9"]), "9.9.9.9");
    }

    #[test]
    fn takes_the_last_address_that_no_trusted_proxy_has() {
        assert_eq!(resolve("10.0.0.1", &["6.6.6.6, 9.9.9.9, 10.0.0.2"]), "9.9.9.9");
        assert_eq!(resolve("10.0.0.1", &["6.6.6.6", "9.9.9.9", "10.0.0.2"]), "9.9.9.9");
        assert_eq!(resolve("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn stops_at_what_is_not_an_address() {
        assert_eq!(resolve("10.0.0.1", &["9.9.9.9, rubbish, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(resolve("10.0.0.1", &[""]), "10.0.0.1");
    }

    #[test]
    fn accepts_ports_and_brackets() {
        assert_eq!(resolve("10.0.0.1", &["9.9.9.9:1234"]), "9.9.9.9");
        assert_eq!(resolve("10.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(resolve("10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(resolve("10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
    }
}
