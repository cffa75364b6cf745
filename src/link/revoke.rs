//! Revoking: a revocation counts from now on, and whoever came in with such a token is closed.

use std::sync::Arc;
use std::time::SystemTime;

use super::session::Sessions;
use crate::config::policy::Policy;
use crate::decision_log::{DecisionLog, Kind, Outcome, Record, Who};
use crate::revocation::{
    Index, Lifetimes, Merged, Refused, Revocation, RevocationId, Revocations, Shared, StoreError, Wanted,
};

/// Lines about what other nodes have revoked at once; of more there is one for all.
const MOST_LINES: usize = 100;

/// The revocations, and the sockets that they close.
pub struct Revoker {
    revocations: Arc<Revocations>,
    sessions: Arc<Sessions>,
    log: Arc<DecisionLog>,
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
    /// These revocations, and these sockets. What is done is written into `log`.
    pub fn new(revocations: Arc<Revocations>, sessions: Arc<Sessions>, log: Arc<DecisionLog>) -> Arc<Self> {
        Arc::new(Revoker { revocations, sessions, log })
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
            let made = revoker.revocations.add(wanted, SystemTime::now(), &policy);
            let revocations = made.inspect_err(|refused| revoker.note_refused(refused))?;
            // A socket that is being admitted meanwhile asks for itself once it can be found.
            let these = Index::of(revocations.iter().map(|(revocation, _)| revocation.clone()));
            let closed = revoker.sessions.close_revoked(&these);
            for (at, (revocation, _)) in revocations.iter().enumerate() {
                // Which of several closed a socket cannot be told, so the first says it for all.
                let closed = if at == 0 { closed } else { 0 };
                tracing::info!(id = %revocation.id, what = %revocation, closed, "revoked");
                revoker.note("revoked", revocation, Some(closed));
            }
            Ok(Revoked { revocations, closed })
        })
        .await
    }

    /// Undoes one: such tokens are honoured again. `None` where there is none of this id.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn undo(
        self: &Arc<Self>,
        id: RevocationId,
        policy: Arc<Policy>,
    ) -> Result<Option<Arc<Revocation>>, Refused> {
        self.blocking(move |revoker| {
            let undone = revoker.revocations.undo(id, SystemTime::now(), &Lifetimes::of(&policy.auth));
            let undone = undone.map_err(Refused::from);
            let undone = undone.inspect_err(|refused| revoker.note_refused(refused))?;
            if let Some(revocation) = &undone {
                tracing::info!(id = %revocation.id, what = %revocation, "revocation undone");
                revoker.note("undone", revocation, None);
            }
            Ok(undone)
        })
        .await
    }

    /// Takes what other nodes have revoked and undone, and closes the sockets concerned.
    pub async fn adopt(self: &Arc<Self>, theirs: Vec<Shared>, policy: Arc<Policy>) {
        let adopted = self.blocking(move |revoker| {
            let merged = revoker.revocations.merge(theirs, SystemTime::now(), &policy);
            let closed = match merged.revoked.is_empty() {
                true => 0,
                false => revoker.sessions.close_revoked(&Index::of(merged.revoked.iter().cloned())),
            };
            revoker.tell_merged(&merged, closed);
            Ok(())
        });
        if let Err(error) = adopted.await {
            tracing::error!(%error, "what other nodes have revoked was not taken");
        }
    }

    fn tell_merged(&self, merged: &Merged, closed: usize) {
        let Merged { revoked, undone, left_out, not_kept } = merged;
        if revoked.len() + undone.len() > MOST_LINES {
            tracing::info!(revoked = revoked.len(), undone = undone.len(), closed, "revoked on other nodes");
            self.note_elsewhere("revoked", None, Some(closed));
        } else {
            for (at, revocation) in revoked.iter().enumerate() {
                let closed = if at == 0 { closed } else { 0 };
                tracing::info!(id = %revocation.id, what = %revocation, closed, "revoked on another node");
                self.note_elsewhere("revoked", Some(revocation), Some(closed));
            }
            for revocation in undone {
                tracing::info!(id = %revocation.id, what = %revocation, "revocation undone on another node");
                self.note_elsewhere("undone", Some(revocation), None);
            }
        }
        if *left_out > 0 {
            tracing::error!(
                left_out,
                "what other nodes have revoked does not count here: revocation.capacity allows no more"
            );
        }
        if let Some(error) = not_kept {
            tracing::error!(%error, "what other nodes have revoked counts, and is not in revocation.store");
        }
    }

    fn note_elsewhere(
        &self,
        done: &'static str,
        revocation: Option<&Arc<Revocation>>,
        closed: Option<usize>,
    ) {
        if self.log.is_on() {
            let what = revocation.map_or_else(|| "several".to_owned(), |revocation| revocation.to_string());
            self.log.write(Record {
                outcome: Some(Outcome::Accepted),
                code: Some(done),
                why: Some(format!("{what} (on another node)").into()),
                revocation: revocation.map(|revocation| revocation.id),
                closed,
                ..Record::new(Kind::Revocation, Who::Admin, SystemTime::now())
            });
        }
    }

    fn note(&self, done: &'static str, revocation: &Revocation, closed: Option<usize>) {
        if self.log.is_on() {
            self.log.write(Record {
                outcome: Some(Outcome::Accepted),
                code: Some(done),
                why: Some(revocation.to_string().into()),
                revocation: Some(revocation.id),
                closed,
                ..Record::new(Kind::Revocation, Who::Admin, SystemTime::now())
            });
        }
    }

    fn note_refused(&self, refused: &Refused) {
        if let Refused::Store(error) = refused {
            tracing::error!(%error, "nothing was revoked or undone: the store cannot be written");
        }
        if self.log.is_on() {
            self.log.write(Record {
                outcome: Some(Outcome::Refused),
                code: Some(refused.code()),
                why: Some(refused.to_string().into()),
                ..Record::new(Kind::Revocation, Who::Admin, SystemTime::now())
            });
        }
    }

    /// Forgets what has nothing left to do.
    pub async fn forget_ended(self: &Arc<Self>, policy: Arc<Policy>) {
        if self.revocations.is_empty() && !self.revocations.is_shared() {
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
