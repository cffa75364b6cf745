//! The life of an honest client: it comes, sends and listens, and every delivery and acknowledgement goes into the books.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::books::{Due, Listener, StreamId};
use super::cast::Role;
use super::chance::Chance;
use super::event::{self, Sender};
use super::session::{Session, Transport};
use super::stage::{Mood, Stage, add};
use super::target::epoch_seconds;

/// A token that is not to expire meanwhile.
const LASTING: Duration = Duration::from_secs(4 * 3600);
/// The mean pause before it knocks again, as socket.io-client begins with.
const KNOCK_AGAIN: Duration = Duration::from_secs(1);
/// Refused so often in a row, an honest client counts as shut out.
const MAX_KNOCKS: u32 = 60;
/// How long it waits for what is under way before it leaves. Whatever has not come by then, on a machine however busy, never will.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it looks whether what it waits for has come without a packet of its own, such as a change of mood.
const LOOK: Duration = Duration::from_millis(200);

/// How a stay ended.
enum End {
    /// As it wanted.
    Left,
    /// Its token expired.
    Expired,
    /// For no reason that an honest client gives.
    Cut(io::Error),
}

/// Plays `role` until the mood says to leave for good.
pub async fn live(role: Role, stage: Rc<Stage>, mut chance: Chance) {
    let mut moods = stage.moods();
    loop {
        let belongs = |mood: &Mood| *mood == Mood::Leave || role.is_lasting() || *mood == Mood::Mix;
        match moods.wait_for(belongs).await.as_deref() {
            Ok(Mood::Leave) | Err(_) => return,
            Ok(_) => {}
        }
        let Some((session, expires)) = come(&role, &stage, &mut chance).await else { return };
        stage.present.set(stage.present.get() + 1);
        let mut stay = Stay::begin(&role, &stage, session, expires, &mut chance);
        let end = stay.go_on(&mut moods, &mut chance).await;
        stage.present.set(stage.present.get() - 1);
        stay.end(end, &mut chance).await;
        let away = role.absences.map_or(Duration::ZERO, |absences| chance.about(absences.away));
        tokio::select! {
            () = sleep(away) => {}
            // Whoever belongs to the settled team comes back at once.
            _ = moods.wait_for(|mood| *mood != Mood::Mix) => {}
        }
    }
}

/// Connects until it is admitted; `None` when it is shut out, or everybody leaves meanwhile.
async fn come(role: &Role, stage: &Stage, chance: &mut Chance) -> Option<(Session, Option<u64>)> {
    for _ in 0..MAX_KNOCKS {
        let lifetime = role.lifetime.unwrap_or(LASTING);
        let token = stage.target.token(&role.user, role.team, lifetime);
        let expires = role.lifetime.map(|lifetime| epoch_seconds() + lifetime.as_secs());
        let joined = match token {
            Ok(token) => Session::join(&stage.target, role.from, role.transport, &token, role.team).await,
            Err(error) => Err(error),
        };
        match joined {
            Ok(session) => return Some((session, expires)),
            Err(error) => {
                add(&stage.retries, 1);
                // The first few are told in case it never gets in.
                if stage.retries.get() <= 5 {
                    eprintln!("{} knocks again: {error}", role.user);
                }
            }
        }
        if stage.mood() == Mood::Leave {
            return None;
        }
        sleep(chance.about(KNOCK_AGAIN)).await;
    }
    let mut books = stage.books.borrow_mut();
    books.faults.disconnects += 1;
    books.faults.tell(|| format!("{} was not let in any more", role.user));
    None
}

/// One admitted connection of an honest client.
struct Stay<'s> {
    role: &'s Role,
    stage: &'s Stage,
    /// `None` only while it is being upgraded, and at the end.
    session: Option<Session>,
    /// When its token expires, in seconds since 1970.
    expires: Option<u64>,
    stream: StreamId,
    listener: Listener,
    /// Numbers of events whose acknowledgement is awaited.
    pending: VecDeque<u64>,
    next_event: Instant,
    /// When it goes away by itself.
    leave_at: Option<Instant>,
    /// Since when it wants to leave, and what it must have heard before.
    leaving: Option<(Instant, Due)>,
}

impl<'s> Stay<'s> {
    fn begin(
        role: &'s Role,
        stage: &'s Stage,
        session: Session,
        expires: Option<u64>,
        chance: &mut Chance,
    ) -> Self {
        let mut books = stage.books.borrow_mut();
        let stream = books.open_stream(role.team);
        let listener = books.enter(role.team, role.user.clone());
        Self {
            role,
            stage,
            session: Some(session),
            expires,
            stream,
            listener,
            pending: VecDeque::new(),
            next_event: Instant::now() + chance.about(role.pace),
            leave_at: role.absences.map(|absences| Instant::now() + chance.about(absences.stay)),
            leaving: None,
        }
    }

    async fn go_on(&mut self, moods: &mut watch::Receiver<Mood>, chance: &mut Chance) -> End {
        match self.play(moods, chance).await {
            Ok(()) => End::Left,
            // The token's last second has begun: the leeway only delays what is right from now on.
            Err(_) if self.expires.is_some_and(|expires| epoch_seconds() >= expires) => End::Expired,
            Err(error) => End::Cut(error),
        }
    }

    /// Sends and listens until it has left.
    async fn play(&mut self, moods: &mut watch::Receiver<Mood>, chance: &mut Chance) -> io::Result<()> {
        if self.role.transport == Transport::Upgrade
            && let Some(session) = self.session.take()
        {
            self.session = Some(session.upgrade(&self.stage.target).await?);
        }
        loop {
            let mood = self.stage.mood();
            self.consider_leaving(mood);
            if self.has_done() {
                return Ok(());
            }
            let sends = self.leaving.is_none() && mood != Mood::Quiet;
            let Some(session) = self.session.as_mut() else { return Ok(()) };
            tokio::select! {
                packet = session.packet() => self.take(&packet?).await?,
                () = sleep_until(self.next_event), if sends => self.send(chance).await?,
                changed = moods.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = sleep(LOOK), if self.leaving.is_some() || self.leave_at.is_some() => {}
            }
        }
    }

    fn consider_leaving(&mut self, mood: Mood) {
        if self.leaving.is_some() {
            return;
        }
        let is_time = self.leave_at.is_some_and(|at| Instant::now() >= at);
        let wants = match mood {
            Mood::Mix => is_time,
            Mood::Settle | Mood::Quiet => !self.role.is_lasting(),
            Mood::Leave => true,
        };
        if wants {
            self.leaving = Some((Instant::now(), self.stage.books.borrow().due(&self.listener)));
        }
    }

    /// Whether it has heard and collected everything that it waits for before it leaves, or waits no longer.
    fn has_done(&self) -> bool {
        let Some((since, due)) = &self.leaving else { return false };
        let is_content =
            self.pending.is_empty() && self.stage.books.borrow().missing(&self.listener, due) == 0;
        is_content || since.elapsed() >= PATIENCE
    }

    async fn send(&mut self, chance: &mut Chance) -> io::Result<()> {
        self.next_event = Instant::now() + chance.about(self.role.pace);
        let number = self.stage.books.borrow_mut().send(self.role.team, self.stream);
        self.pending.push_back(number);
        self.stage.unanswered.set(self.stage.unanswered.get() + 1);
        let packet = event::honest(self.role.team, self.stream, number, self.role.padding);
        self.reply(&packet).await
    }

    async fn take(&mut self, packet: &str) -> io::Result<()> {
        if let Some(arguments) = packet.strip_prefix("42") {
            self.hear(arguments);
        } else if let Some(ack) = packet.strip_prefix("43") {
            self.collect(ack);
        } else if packet == "2" {
            return self.reply("3").await;
        } else if packet != "6" {
            let mut books = self.stage.books.borrow_mut();
            books.faults.altered += 1;
            books.faults.tell(|| format!("{} was sent {packet:.80}", self.role.user));
        }
        Ok(())
    }

    fn hear(&mut self, arguments: &str) {
        let mut books = self.stage.books.borrow_mut();
        match event::read(arguments) {
            Some((team, Sender::Honest(stream, number))) => {
                books.hear(&mut self.listener, team, stream, number);
            }
            Some((team, Sender::Hostile)) if team == self.role.team => add(&self.stage.hostile_heard, 1),
            Some((team, Sender::Hostile)) => {
                books.faults.misrouted += 1;
                books.faults.tell(|| format!("{} heard an event of team {team}", self.role.user));
            }
            None => {
                books.faults.altered += 1;
                books.faults.tell(|| format!("{} heard {arguments:.120}", self.role.user));
            }
        }
    }

    fn collect(&mut self, ack: &str) {
        let (id, answer) = ack.split_at(ack.find('[').unwrap_or(ack.len()));
        let accepted = answer.starts_with(r#"[{"ok":true,"#);
        let number = id.parse().unwrap_or(u64::MAX);
        let mut books = self.stage.books.borrow_mut();
        if !accepted {
            books.faults.tell(|| format!("{}'s event {id} was answered {answer:.80}", self.role.user));
        }
        if self.pending.pop_front().is_some() {
            self.stage.unanswered.set(self.stage.unanswered.get() - 1);
        }
        books.answer(&self.listener, self.stream, number, accepted);
    }

    async fn reply(&mut self, packet: &str) -> io::Result<()> {
        match self.session.as_mut() {
            Some(session) => session.send(&self.stage.target, packet).await,
            None => Ok(()),
        }
    }

    /// Closes the books on this stay, and the connection.
    async fn end(mut self, end: End, chance: &mut Chance) {
        let unanswered = self.pending.len();
        self.stage.unanswered.set(self.stage.unanswered.get() - unanswered);
        {
            let mut books = self.stage.books.borrow_mut();
            let due = self.leaving.take().map(|(_, due)| due);
            match &end {
                End::Left => {
                    books.leave(&self.listener, due.as_ref());
                    books.faults.unanswered += unanswered as u64;
                    let is_over = self.stage.mood() == Mood::Leave;
                    add(&self.stage.returns, u64::from(!is_over));
                }
                End::Expired => {
                    books.leave(&self.listener, None);
                    add(&self.stage.expiries, 1);
                }
                End::Cut(error) => {
                    books.leave(&self.listener, None);
                    books.faults.disconnects += 1;
                    books.faults.tell(|| format!("{} was disconnected: {error}", self.role.user));
                }
            }
        }
        if let (End::Left, Some(session)) = (end, self.session.take()) {
            // If the server closes first, it has left all the same.
            let _ = session.leave(&self.stage.target, chance.once_in(2)).await;
        }
    }
}
