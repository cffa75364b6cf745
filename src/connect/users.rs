//! How many sockets each subject has.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Admitted sockets by subject.
#[derive(Default)]
pub struct Users {
    sockets: Mutex<HashMap<Arc<str>, u32>>,
}

/// One socket's place under its subject; dropping it frees the place.
pub struct UserPlace {
    users: Arc<Users>,
    subject: Arc<str>,
}

impl Users {
    /// How many subjects have a socket.
    pub fn len(&self) -> usize {
        self.sockets.lock().len()
    }

    /// Whether no subject has a socket.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A place for one more socket of `subject`, or `None` when it has `cap` of them.
    pub fn take(self: &Arc<Self>, subject: &Arc<str>, cap: u32) -> Option<UserPlace> {
        let mut sockets = self.sockets.lock();
        let count = sockets.entry(subject.clone()).or_default();
        if *count >= cap {
            return None;
        }
        *count += 1;
        Some(UserPlace { users: self.clone(), subject: subject.clone() })
    }

    /// A place for a socket of `subject` that is in already, whatever its cap.
    pub fn take_anyway(self: &Arc<Self>, subject: &str) -> UserPlace {
        let subject: Arc<str> = subject.into();
        *self.sockets.lock().entry(subject.clone()).or_default() += 1;
        UserPlace { users: self.clone(), subject }
    }
}

impl UserPlace {
    /// Whose it is.
    pub fn subject(&self) -> &str {
        &self.subject
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
        let users = Arc::<Users>::default();
        let (ann, ben): (Arc<str>, Arc<str>) = ("ann".into(), "ben".into());
        let place = users.take(&ann, 1);
        assert!(place.is_some());
        assert!(users.take(&ann, 1).is_none());
        assert!(users.take(&ben, 1).is_some());
        drop(place);
        assert!(users.take(&ann, 1).is_some());
        assert!(users.sockets.lock().is_empty());
    }
}
