//! A seat: an admitted socket's place under the policy in force.
//!
//! Whoever a socket is, and what follows from that (its rooms, its place under its user, its rate buckets), holds under
//! one edition. When another is put in force all seats are brought up to it, while no event is decided; one that was only
//! being taken then comes after them.

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};

use crate::connect::admission::{Admitted, Denied, Grounds};
use crate::connect::token::Verified;
use crate::connect::users::{UserPlace, Users};
use crate::edition::{Current, Edition};
use crate::event::now::Now;
use crate::event::sender::Sender;
use crate::hears::Listening;
use crate::link::session::{Occupant, Session};
use crate::peer::{Peer, PeerId};
use crate::relay::chronicle::Chronicle;
use crate::relay::elsewhere::Read;
use crate::relay::local::Membership;
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
    /// A newer token is waited for.
    is_refreshing: bool,
}

impl Seat {
    /// Seats an admitted peer by the edition that admitted it: it is in its rooms from now on. `read` is what was read for it in the
    /// history of all nodes.
    pub fn new(
        current: Arc<Current>,
        edition: &Edition,
        chronicle: &Chronicle,
        session: &Arc<Session>,
        admitted: Admitted,
        read: Option<&Read>,
    ) -> Arc<Self> {
        let Admitted { peer, place, grounds, since } = admitted;
        let (policy, peer) = (&edition.policy, Arc::new(peer));
        let until = peer.expires_at().map(|at| at + policy.auth.leeway);
        let member = Member::new(peer.id(), session, policy.limits.slow_reader.max_queued);
        let listening = edition.admission.listens(&peer, SystemTime::now());
        let membership = chronicle.join(&listening, &member, since.as_ref(), read, policy);
        let sender = edition.pipeline.sender(peer.clone(), Now::read());
        let taken =
            Taken { edition: edition.number, sender, grounds, membership, place, is_refreshing: false };
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

    /// Brings it to the edition in force, if it is not there yet.
    ///
    /// # Errors
    /// The socket may not stay: see [`Taken::follow`].
    pub fn follow(&self) -> Result<(), Denied> {
        let mut taken = self.taken();
        // After the lock: it is never an older one than that which the seat goes by.
        let edition = self.current.load();
        taken.follow(&edition, self)
    }

    /// Who it is by this edition, which is not in force yet: the larger part of bringing it there.
    pub fn prepare(self: &Arc<Self>, next: &Edition) -> Prepared {
        let judged = self.taken().judge(next);
        Prepared { seat: self.clone(), judged }
    }

    /// Closes the connection of a socket that may not stay.
    pub fn send_away(&self, denied: &Denied) {
        tracing::info!(connection = %self.member.id(), why = denied.why(), "may not stay under the policy in force");
        if let Some(session) = self.session() {
            // Nobody waits for it. The client comes back, perhaps with another token, and is told what CONNECT tells.
            drop(session.close(denied.close_reason()));
        }
    }
}

/// The seat on this session, if somebody has one.
pub fn of(session: &Session) -> Option<Arc<Seat>> {
    session.occupant()?.into_any().downcast().ok()
}

/// A seat, and who is on it by an edition.
pub struct Prepared {
    seat: Arc<Seat>,
    judged: Judged,
}

impl Prepared {
    /// Who.
    pub fn id(&self) -> PeerId {
        self.seat.member.id()
    }

    /// Brings the seat to that edition, and returns it.
    ///
    /// # Errors
    /// The socket may not stay: see [`Taken::follow`].
    pub fn follow(self, edition: &Edition) -> (Arc<Seat>, Result<(), Denied>) {
        let Prepared { seat, judged } = self;
        let mut taken = seat.taken();
        // It may have been judged anew in between.
        let outcome = match Arc::ptr_eq(&judged.was, taken.sender.peer()) {
            true if taken.edition < edition.number => taken.take_over(edition, &seat, judged),
            _ => taken.follow(edition, &seat),
        };
        drop(taken);
        (seat, outcome)
    }
}

/// What an edition makes of a peer.
struct Judged {
    was: Arc<Peer>,
    now: Result<(Arc<Peer>, Vec<Listening>), Denied>,
}

fn judge(edition: &Edition, was: &Arc<Peer>, grounds: &Grounds) -> Judged {
    let now = SystemTime::now();
    let peer = edition.admission.admit_again(was, grounds, now);
    let now = peer.map(|peer| {
        let listening = edition.admission.listens(&peer, now);
        (Arc::new(peer), listening)
    });
    Judged { was: was.clone(), now }
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
    /// By this edition the socket would not have come in. It is in no room any more, and is to be closed.
    pub fn follow(&mut self, edition: &Edition, seat: &Seat) -> Result<(), Denied> {
        if self.edition == edition.number {
            return Ok(());
        }
        self.judge_again(edition, seat)
    }

    #[cold]
    fn judge_again(&mut self, edition: &Edition, seat: &Seat) -> Result<(), Denied> {
        let judged = self.judge(edition);
        self.take_over(edition, seat, judged)
    }

    /// Whether a newer token is waited for.
    pub fn is_refreshing(&self) -> bool {
        self.is_refreshing
    }

    /// Notes whether a newer token is waited for.
    pub fn set_refreshing(&mut self, is_refreshing: bool) {
        self.is_refreshing = is_refreshing;
    }

    /// Stays on the grounds of another token, which was verified just now. Returns when that one ends.
    ///
    /// # Errors
    /// It is of somebody else, or with it the socket would not have come in. Everything stays as it was.
    pub fn renew(&mut self, edition: &Edition, seat: &Seat, token: Verified) -> Result<SystemTime, Denied> {
        self.follow(edition, seat)?;
        let grounds = edition.admission.renewed(self.sender.peer(), &self.grounds, token)?;
        let Judged { was, now } = judge(edition, self.sender.peer(), &grounds);
        // Before anything of the old is gone.
        let now = now?;
        let until = now.0.expires_at();
        self.take_over(edition, seat, Judged { was, now: Ok(now) })?;
        self.grounds = grounds;
        // Every token has an end.
        Ok(until.unwrap_or(SystemTime::UNIX_EPOCH))
    }

    fn judge(&self, edition: &Edition) -> Judged {
        judge(edition, self.sender.peer(), &self.grounds)
    }

    fn take_over(&mut self, edition: &Edition, seat: &Seat, judged: Judged) -> Result<(), Denied> {
        let (peer, listening) = judged.now.inspect_err(|_| self.membership.change(&[], &seat.member))?;
        if let Some(session) = seat.session() {
            session.judged_again(&peer, peer.expires_at().map(|at| at + edition.policy.auth.leeway));
        }
        self.membership.change(&listening, &seat.member);
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

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(session) = self.session() {
            session.left(self.member.id());
        }
    }
}
