//! The query string of an Engine.IO request.

/// What an Engine.IO request says in its query (Engine.IO protocol 4, "HTTP long-polling", "WebSocket").
#[derive(Debug, PartialEq, Eq)]
pub struct Query<'q> {
    /// `transport=websocket` rather than `transport=polling`.
    pub is_websocket: bool,
    /// The session it speaks for; `None` opens one.
    pub sid: Option<&'q str>,
}

/// Longer session ids than the library makes are nobody's.
const MAX_SID: usize = 64;

impl<'q> Query<'q> {
    /// Reads a query. `Err` says what is wrong with it.
    ///
    /// The library takes the first of several equal keys and a proxy may take another, so a key that counts may stand
    /// there once only. Keys that do not count, such as a client's own and the cache-busting `t`, may be anything.
    pub fn parse(query: Option<&'q str>) -> Result<Self, &'static str> {
        let (mut version, mut transport, mut sid) = (None, None, None);
        for pair in query.unwrap_or("").split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match key {
                "EIO" => &mut version,
                "transport" => &mut transport,
                "sid" => &mut sid,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err("a query key that counts stands there twice");
            }
        }
        if version != Some("4") {
            return Err("EIO must be 4");
        }
        let is_websocket = match transport {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Err("transport must be polling or websocket"),
        };
        if sid.is_some_and(|sid| sid.is_empty() || sid.len() > MAX_SID) {
            return Err("sid is not a session id");
        }
        Ok(Query { is_websocket, sid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_counts() {
        let query = Query::parse(Some("EIO=4&transport=polling&t=abc&sid=xyz&team=a&team=b"));
        assert_eq!(query, Ok(Query { is_websocket: false, sid: Some("xyz") }));
        let query = Query::parse(Some("transport=websocket&EIO=4"));
        assert_eq!(query, Ok(Query { is_websocket: true, sid: None }));
    }

    #[test]
    fn refuses_the_rest() {
        for query in [
            None,
            Some(""),
            Some("EIO=4"),
            Some("EIO=3&transport=polling"),
            Some("EIO=4&transport=grpc"),
            Some("EIO=4&transport=polling&transport=websocket"),
            Some("EIO=4&EIO=4&transport=polling"),
            Some("EIO=4&transport=polling&sid=a&sid=b"),
            Some("EIO=4&transport=polling&sid="),
            Some("EIO=4&transport=polling&sid"),
            Some("EIO=%34&transport=polling"),
        ] {
            assert!(Query::parse(query).is_err(), "{query:?}");
        }
    }
}
