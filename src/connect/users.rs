//! How many sockets each subject has.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Admitted sockets by subject, capped.
pub struct Users {
    cap: u32,
    sockets: Mutex<HashMap<Arc<str>, u32>>,
}

/// One socket's place under its subject; dropping it frees the place.
pub struct UserPlace {
    users: Arc<Users>,
    subject: Arc<str>,
}

impl Users {
    /// At most `cap` sockets for each subject.
    pub fn new(cap: u32) -> Arc<Self> {
        Arc::new(Users { cap, sockets: Mutex::default() })
    }

    /// How many subjects have a socket.
    pub fn len(&self) -> usize {
        self.sockets.lock().len()
    }

    /// Whether no subject has a socket.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A place for one more socket of `subject`, or `None` when it has as many as it may.
    pub fn take(self: &Arc<Self>, subject: &Arc<str>) -> Option<UserPlace> {
        let mut sockets = self.sockets.lock();
        let count = sockets.entry(subject.clone()).or_default();
        if *count >= self.cap {
            return None;
        }
        *count += 1;
        Some(UserPlace { users: self.clone(), subject: subject.clone() })
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        let mut sockets = self.users.sockets.lock();
        if let Some(count) = sockets.get_mut(&self.subject) {
            *count -= 1;
            if *count == 0 {
                sockets.remove(&self.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_each_subject_and_frees_by_drop() {
        let users = Users::new(1);
        let (ann, ben): (Arc<str>, Arc<str>) = ("ann".into(), "ben".into());
        let place = users.take(&ann);
        assert!(place.is_some());
        assert!(users.take(&ann).is_none());
        assert!(users.take(&ben).is_some());
        drop(place);
        assert!(users.take(&ann).is_some());
        assert!(users.sockets.lock().is_empty());
    }
}
