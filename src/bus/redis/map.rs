//! Which server has which slot.

use std::sync::Arc;

use redis::Value;

use super::config::Address;
use super::server::Server;
use super::slots::SLOTS;

/// A map of one server, or of a cluster's masters.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) servers: Vec<Arc<Server>>,
    /// For each slot the place of its owner in `servers`, or one beyond them. Empty where the only server has all.
    owners: Vec<u16>,
}

impl Map {
    /// One server has everything.
    pub(super) fn one(server: Server) -> Self {
        Map { servers: vec![Arc::new(server)], owners: Vec::new() }
    }

    /// Several have what their shares say. `server` gives the server of an address.
    pub(super) fn of(shares: &[Share], mut server: impl FnMut(&Address) -> Arc<Server>) -> Self {
        let mut masters: Vec<&Address> = shares.iter().map(|share| &share.master).collect();
        masters.sort();
        masters.dedup();
        let mut owners = vec![u16::MAX; usize::from(SLOTS)];
        for share in shares {
            let owner =
                masters.binary_search(&&share.master).ok().and_then(|place| u16::try_from(place).ok());
            owners[usize::from(share.first)..=usize::from(share.last)].fill(owner.unwrap_or(u16::MAX));
        }
        Map { servers: masters.into_iter().map(&mut server).collect(), owners }
    }

    /// Who has a slot; `None` while nobody is known to have it.
    pub(super) fn owner(&self, slot: u16) -> Option<&Arc<Server>> {
        if self.owners.is_empty() {
            return self.servers.first();
        }
        self.servers.get(usize::from(self.owners[usize::from(slot)]))
    }

    /// The server at an address.
    pub(super) fn at(&self, address: &Address) -> Option<&Arc<Server>> {
        self.servers.iter().find(|server| server.place.address == *address)
    }
}

/// Slots in a row that one master has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// No more than `last`.
    first: u16,
    /// Below 16384.
    last: u16,
    master: Address,
}

/// What `CLUSTER SLOTS` answers: of each range its bounds, its master, and replicas. It is older than `CLUSTER SHARDS`, which
/// says the same in more words, and names the port that speaks as the connection does, with TLS or without. A master
/// without a host is where the answer came from. `None` if it is something else.
pub(super) fn shares(answer: &Value, said_by: &Address) -> Option<Vec<Share>> {
    let Value::Array(ranges) = answer else { return None };
    ranges.iter().map(|range| share(range, said_by)).collect()
}

fn share(range: &Value, said_by: &Address) -> Option<Share> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else { return None };
    let [host, Value::Int(port), ..] = &master[..] else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::Nil => "",
        _ => return None,
    };
    let host = if host.is_empty() { &said_by.host } else { host };
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    let master = Address { host: host.to_owned(), port: u16::try_from(*port).ok()? };
    (first <= last && last < SLOTS).then_some(Share { first, last, master })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(resp: &str) -> Option<Vec<Share>> {
        let answer = redis::parse_redis_value(resp.replace(' ', "\r\n").as_bytes()).unwrap();
        shares(&answer, &Address { host: "here".into(), port: 1 })
    }

    #[test]
    fn ranges_are_read_with_their_masters() {
        let found = read("*2 *4 :0 :5 *2 $1 a :7 *2 $1 b :8 *3 :6 :16383 *2 $-1 :9 ").unwrap();
        let master = |host: &str, port| Address { host: host.into(), port };
        assert_eq!(
            found,
            [
                Share { first: 0, last: 5, master: master("a", 7) },
                Share { first: 6, last: 16383, master: master("here", 9) }
            ]
        );
    }

    #[test]
    fn what_is_no_map_is_none() {
        for wrong in [
            "+OK ",
            "*1 :1 ",
            "*1 *2 :0 :5 ",
            "*1 *3 :0 :5 *1 $1 a ",
            "*1 *3 :6 :5 *2 $1 a :7 ",
            "*1 *3 :0 :16384 *2 $1 a :7 ",
            "*1 *3 :-1 :5 *2 $1 a :7 ",
            "*1 *3 :0 :5 *2 $1 a :70000 ",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read("*0 "), Some(Vec::new()));
    }
}
