//! Revoking: a revocation counts from now on, and whoever came in with such a token is closed.

use std::sync::Arc;
use std::time::SystemTime;

use super::session::Sessions;
use crate::config::policy::Policy;
use crate::revocation::{
    Index, Lifetimes, Refused, Revocation, RevocationId, Revocations, StoreError, Wanted,
};

/// The revocations, and the sockets that they close.
pub struct Revoker {
    revocations: Arc<Revocations>,
    sessions: Arc<Sessions>,
}

/// What was revoked.
#[derive(Debug)]
pub struct Revoked {
    /// In the order in which they were wanted; `true` with those that are new.
    pub revocations: Vec<(Arc<Revocation>, bool)>,
    /// How many live sockets were closed for it.
    pub closed: usize,
}

impl Revoker {
    /// These revocations, and these sockets.
    pub fn new(revocations: Arc<Revocations>, sessions: Arc<Sessions>) -> Arc<Self> {
        Arc::new(Revoker { revocations, sessions })
    }

    /// What is revoked.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Revokes all that is wanted, or nothing of it, and closes the sockets concerned. Their transport is what is closed, so
    /// that a client comes back, hears that its token is revoked, and may bring another.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn revoke(
        self: &Arc<Self>,
        wanted: Vec<Wanted>,
        policy: Arc<Policy>,
    ) -> Result<Revoked, Refused> {
        self.blocking(move |revoker| {
            let revocations = revoker.revocations.add(wanted, SystemTime::now(), &policy)?;
            // A socket that is being admitted meanwhile asks for itself once it can be found.
            let these = Index::of(revocations.iter().map(|(revocation, _)| revocation.clone()));
            let closed = revoker.sessions.close_revoked(&these);
            for (revocation, _) in &revocations {
                tracing::info!(revocation = %revocation.id, what = %revocation.target, "revoked");
            }
            tracing::info!(revocations = revocations.len(), closed, "sockets of revoked tokens closed");
            Ok(Revoked { revocations, closed })
        })
        .await
    }

    /// Undoes one: such tokens are honoured again. `None` where there is none of this id.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn undo(self: &Arc<Self>, id: RevocationId) -> Result<Option<Arc<Revocation>>, Refused> {
        self.blocking(move |revoker| {
            let undone = revoker.revocations.undo(id)?;
            if let Some(revocation) = &undone {
                tracing::info!(revocation = %revocation.id, what = %revocation.target, "revocation undone");
            }
            Ok(undone)
        })
        .await
    }

    /// Forgets what has nothing left to do.
    pub async fn forget_ended(self: &Arc<Self>, policy: Arc<Policy>) {
        if self.revocations.is_empty() {
            return;
        }
        let forgotten = self.blocking(move |revoker| {
            Ok(revoker.revocations.forget_ended(SystemTime::now(), &Lifetimes::of(&policy.auth))?)
        });
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "revocations that have ended are not forgotten yet");
        }
    }

    /// Disks and ten thousand sockets take their time, which no other task should wait for.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Revoker) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let revoker = self.clone();
        match tokio::task::spawn_blocking(move || work(&revoker)).await {
            Ok(done) => done,
            Err(error) => Err(StoreError::Io(std::io::Error::other(error)).into()),
        }
    }
}
