//! A seat: an admitted socket's place under the policy in force.
//!
//! Whoever a socket is, and what follows from that (its rooms, its place under its user, its rate buckets), holds under
//! one edition. When another is in force the seat is brought up to it: at its next event, or when its turn comes in the
//! walk through all sessions that follows a reload, whichever is first.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};

use crate::connect::admission::{Admitted, Denied, Grounds};
use crate::connect::users::{UserPlace, Users};
use crate::edition::{Current, Edition};
use crate::event::now::Now;
use crate::event::sender::Sender;
use crate::link::session::{Occupant, Session};
use crate::relay::local::{Membership, Rooms};
use crate::relay::member::Member;
use crate::revocation::Index;

/// One admitted socket's place. Freed with the socket, which holds it.
pub struct Seat {
    current: Arc<Current>,
    session: Weak<Session>,
    member: Arc<Member>,
    taken: Mutex<Taken>,
}

/// What holds under one edition.
pub struct Taken {
    edition: u64,
    sender: Sender,
    grounds: Grounds,
    membership: Membership,
    place: Option<UserPlace>,
}

impl Seat {
    /// Seats an admitted peer by the edition that admitted it: it is in its rooms from now on.
    pub fn new(
        current: Arc<Current>,
        edition: &Edition,
        rooms: &Arc<Rooms>,
        session: &Arc<Session>,
        admitted: Admitted,
    ) -> Arc<Self> {
        let Admitted { peer, place, grounds } = admitted;
        let (policy, peer) = (&edition.policy, Arc::new(peer));
        let until = peer.expires_at().map(|at| at + policy.auth.leeway);
        let member = Member::new(peer.id(), session, policy.limits.slow_reader.max_queued);
        let membership = rooms.join(&edition.admission.listens(&peer, SystemTime::now()), &member);
        let sender = edition.pipeline.sender(peer.clone(), Now::read());
        let taken = Taken { edition: edition.number, sender, grounds, membership, place };
        let session_of_it = Arc::downgrade(session);
        let seat = Arc::new(Seat { current, session: session_of_it, member, taken: Mutex::new(taken) });
        let occupant = Arc::downgrade(&seat);
        session.admitted(peer, until, occupant);
        seat
    }

    /// How rooms know it.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Its session, as long as the library keeps that.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.session.upgrade()
    }

    /// Who is on it, and by which edition, for something that is decided now.
    pub fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }

    /// Whether its token was revoked while it was being seated, when nobody could find it.
    ///
    /// # Errors
    /// It was.
    pub fn check_revoked(&self) -> Result<(), Denied> {
        let taken = self.taken();
        let admission = &self.current.load().admission;
        admission.check_still(taken.sender.peer(), &taken.grounds, SystemTime::now())
    }

    /// Brings it to the edition in force.
    ///
    /// # Errors
    /// The socket may not stay: see [`Taken::follow`].
    pub fn follow(&self) -> Result<(), Denied> {
        let mut taken = self.taken();
        // After the lock: it is never an older one than that which the seat is at.
        let edition = self.current.load();
        taken.follow(&edition, self)
    }
}

impl Taken {
    /// Who sends.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Goes by this edition from now on, if it does not yet. This is the one place where a socket is judged again by
    /// another policy; whatever follows from a peer and the policy is brought up to date here.
    ///
    /// # Errors
    /// By this edition the socket would not have come in. It stays as it was, and is to be closed.
    pub fn follow(&mut self, edition: &Edition, seat: &Seat) -> Result<(), Denied> {
        if self.edition == edition.number {
            return Ok(());
        }
        self.judge_again(edition, seat)
    }

    #[cold]
    fn judge_again(&mut self, edition: &Edition, seat: &Seat) -> Result<(), Denied> {
        let (policy, now) = (&edition.policy, SystemTime::now());
        let peer = edition.admission.admit_again(self.sender.peer(), &self.grounds, now)?;
        let peer = Arc::new(peer);
        if let Some(session) = seat.session() {
            session.judged_again(&peer, peer.expires_at().map(|at| at + policy.auth.leeway));
        }
        self.membership.change(&edition.admission.listens(&peer, now), &seat.member);
        self.keep_place(peer.subject(), edition.admission.users());
        edition.pipeline.take_over(&mut self.sender, self.edition, peer, Now::read());
        self.edition = edition.number;
        Ok(())
    }

    /// Its place is its user's, whoever that is now. It is in already, so the cap is not asked.
    fn keep_place(&mut self, subject: Option<&str>, users: &Arc<Users>) {
        if self.place.as_ref().map(UserPlace::subject) != subject {
            self.place = subject.map(|subject| users.take_anyway(subject));
        }
    }
}

impl Occupant for Seat {
    fn is_revoked_by(&self, these: &Index) -> bool {
        let taken = self.taken();
        let admission = &self.current.load().admission;
        admission.revoked_by(these, taken.sender.peer(), &taken.grounds, SystemTime::now()).is_some()
    }

    fn catch_up(&self) {
        let Err(denied) = self.follow() else { return };
        tracing::info!(connection = %self.member.id(), why = denied.why(), "may not stay under the policy in force");
        if let Some(session) = self.session() {
            // Nobody waits for it. The client comes back, perhaps with another token, and is told what CONNECT tells.
            drop(session.close(denied.close_reason()));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(session) = self.session() {
            session.left(self.member.id());
        }
    }
}
