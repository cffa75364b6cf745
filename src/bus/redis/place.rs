//! One server among others: where it is, and whom to tell that something there is not as it was.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::config::Address;

/// A server.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: Address,
    /// 0 in a cluster.
    pub(super) database: u32,
    /// In a cluster, where to ask for a new map of it.
    pub(super) refresh: Option<Arc<Refresh>>,
}

impl Place {
    pub(super) fn is_in_cluster(&self) -> bool {
        self.refresh.is_some()
    }

    /// A connection to it broke or could not be had: perhaps another server has taken over.
    pub(super) fn is_lost(&self) {
        self.has_moved(None);
    }

    /// Something is elsewhere now; where, `knows` should know.
    pub(super) fn has_moved(&self, knows: Option<Address>) {
        if let Some(refresh) = &self.refresh {
            refresh.ask(knows);
        }
    }
}

/// A wish for a new map of the cluster. Many of them are one.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    knows: Mutex<Option<Address>>,
    asked: Notify,
}

impl Refresh {
    pub(super) fn ask(&self, knows: Option<Address>) {
        if knows.is_some() {
            *self.knows.lock() = knows;
        }
        self.asked.notify_one();
    }

    /// Returns once a map is wished for, with who should know.
    pub(super) async fn asked(&self) -> Option<Address> {
        self.asked.notified().await;
        self.knows.lock().take()
    }
}

/// The server that `MOVED 866 host:port` or `ASK 866 host:port` names, here without its first word. Without a host it is the
/// one that said so, at another port.
pub(super) fn redirected(detail: &str, said_by: &Address) -> Option<Address> {
    let (host, port) = detail.split(' ').nth(1)?.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    let host = if host.is_empty() { &said_by.host } else { host };
    Some(Address { host: host.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_names_a_server() {
        let here = Address { host: "here".into(), port: 1 };
        let found = |detail| redirected(detail, &here).map(|address| address.to_string());
        assert_eq!(found("866 127.0.0.1:7001").as_deref(), Some("127.0.0.1:7001"));
        assert_eq!(found("866 ::1:7001").as_deref(), Some("[::1]:7001"));
        assert_eq!(found("866 :7001").as_deref(), Some("here:7001"));
        for wrong in ["", "866", "866 host", "866 host:port", "866 host:70000"] {
            assert_eq!(found(wrong), None, "{wrong}");
        }
    }
}
