//! The connection for subscriptions to one server: it follows the wishes on its desk and hands on what it hears.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use redis::{PushKind, ServerErrorKind, Value};
use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::{Backoff, CEILING};
use super::board::Line;
use super::config::Config;
use super::desk::Desk;
use super::error::Broken;
use super::events::{Event, Gone, Teller};
use super::link::Link;
use super::place::{Place, redirected};

/// Channels in one command: enough that their number costs little, few enough that one command is no burst.
const MOST_IN_COMMAND: usize = 500;
/// Bytes that wait to be written. Past that no further wish is looked at.
const MOST_UNWRITTEN: usize = 256 << 10;
/// A connection over which nothing came for so long is tried with a PING.
const QUIET: std::time::Duration = std::time::Duration::from_secs(1);

/// What an ear works with.
pub(super) struct Ear {
    pub(super) place: Place,
    pub(super) config: Arc<Config>,
    pub(super) desk: Arc<Desk>,
    pub(super) teller: Teller,
    pub(super) line: Line,
}

/// Why an ear has stopped listening.
enum Stopped {
    Broken(Broken),
    /// Nobody takes events any more.
    Gone,
}

impl From<Broken> for Stopped {
    fn from(broken: Broken) -> Self {
        Stopped::Broken(broken)
    }
}

impl From<Gone> for Stopped {
    fn from(_: Gone) -> Self {
        Stopped::Gone
    }
}

impl Ear {
    /// Keeps a connection until nobody takes events any more.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            let Stopped::Broken(broken) = self.once(&mut backoff).await else { return };
            self.line.down(format!("{}: {broken}", self.place.address).into());
            self.place.is_lost();
            sleep(backoff.next()).await;
        }
    }

    /// One connection, from its opening to its end, which has been told when this returns.
    async fn once(&self, backoff: &mut Backoff) -> Stopped {
        let link = match Link::open(&self.place, &self.config).await {
            Ok(link) => link,
            Err(broken) => return Stopped::Broken(broken),
        };
        let opened = Instant::now();
        self.desk.reopen();
        self.line.up();
        let mut listening = Listening::new(self, link);
        let stopped = listening.listen().await;
        // One that breaks as soon as it stands is tried no faster than one that never does.
        if opened.elapsed() > CEILING {
            backoff.reset();
        }
        let channels = listening.heard();
        if !channels.is_empty() && self.teller.tell(Event::Interrupted { channels }).await.is_err() {
            return Stopped::Gone;
        }
        stopped
    }
}

/// What a channel's subscription has come to on this connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Asked,
    Confirmed,
}

/// A command that the server has not answered in full.
enum Owed {
    /// One push for each channel, or one error.
    Joined {
        channels: VecDeque<Arc<str>>,
    },
    /// One push for each of so many channels.
    Left(VecDeque<Arc<str>>),
    Pong,
}

struct Listening<'a> {
    ear: &'a Ear,
    link: Link,
    channels: HashMap<Arc<str>, Status>,
    owed: VecDeque<Owed>,
    /// When something was heard, or first owed, last.
    last: Instant,
}

impl<'a> Listening<'a> {
    fn new(ear: &'a Ear, link: Link) -> Self {
        Listening { ear, link, channels: HashMap::new(), owed: VecDeque::new(), last: Instant::now() }
    }

    /// The channels that were confirmed.
    fn heard(&mut self) -> Vec<Arc<str>> {
        let confirmed = self.channels.drain().filter(|(_, status)| *status == Status::Confirmed);
        confirmed.map(|(channel, _)| channel).collect()
    }

    async fn listen(&mut self) -> Stopped {
        loop {
            if let Err(stopped) = self.step().await {
                return stopped;
            }
        }
    }

    async fn step(&mut self) -> Result<(), Stopped> {
        self.look_at_wishes().await?;
        let patience = if self.owed.is_empty() { QUIET } else { self.ear.config.response_timeout };
        let has_room = self.link.out.len() < MOST_UNWRITTEN;
        tokio::select! {
            biased;
            written = self.link.out.write_some(), if self.link.out.is_pending() => written?,
            () = self.ear.desk.changed(), if has_room => {}
            value = self.link.values.next() => {
                self.hear(value.unwrap_or(Err(Broken::Closed))?).await?;
                // Not when it came: what it took to hand it on is not the server's silence.
                self.last = Instant::now();
            }
            () = sleep_until(self.last + patience) => {
                if !self.owed.is_empty() {
                    return Err(Broken::Silent.into());
                }
                self.send(&["PING"], &[], Owed::Pong);
            }
        }
        Ok(())
    }

    /// Subscribes and unsubscribes what has changed, as far as there is room for the commands.
    async fn look_at_wishes(&mut self) -> Result<(), Stopped> {
        while self.link.out.len() < MOST_UNWRITTEN {
            let wishes = self.ear.desk.take(MOST_IN_COMMAND);
            if wishes.is_empty() {
                break;
            }
            let (mut join, mut leave) = (Vec::new(), Vec::new());
            for (channel, is_wanted) in wishes {
                match (self.channels.get(&channel), is_wanted) {
                    (None, true) => {
                        self.channels.insert(channel.clone(), Status::Asked);
                        join.push(channel);
                    }
                    // Taken back and renewed before anybody looked: whoever renewed it waits to hear of it.
                    (Some(Status::Confirmed), true) => self.confirm(&channel).await?,
                    (Some(Status::Confirmed), false) => {
                        self.channels.remove(&channel);
                        leave.push(channel);
                    }
                    // Once it is confirmed it is looked at again.
                    (Some(Status::Asked), _) | (None, false) => {}
                }
            }
            self.command("SUBSCRIBE", join, |channels| Owed::Joined { channels });
            self.command("UNSUBSCRIBE", leave, Owed::Left);
        }
        Ok(())
    }

    /// One command for all channels; in a cluster one for each, since a command must not be about several slots.
    fn command(
        &mut self,
        name: &'static str,
        channels: Vec<Arc<str>>,
        owed: impl Fn(VecDeque<Arc<str>>) -> Owed,
    ) {
        if channels.is_empty() {
            return;
        }
        if !self.ear.place.is_in_cluster() {
            return self.send(&[name], &channels, owed(channels.iter().cloned().collect()));
        }
        for channel in channels {
            let words = ["S", name].concat();
            self.send(&[&words], std::slice::from_ref(&channel), owed(VecDeque::from([channel.clone()])));
        }
    }

    fn send(&mut self, words: &[&str], channels: &[Arc<str>], owed: Owed) {
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| _ = command.arg(*word));
        channels.iter().for_each(|channel| _ = command.arg(&**channel));
        self.link.out.push(&command.get_packed_command());
        if self.owed.is_empty() {
            self.last = Instant::now();
        }
        self.owed.push_back(owed);
    }

    async fn hear(&mut self, value: Value) -> Result<(), Stopped> {
        match value {
            Value::Push { kind: PushKind::Message | PushKind::SMessage, data } => self.message(data).await,
            Value::Push { kind: PushKind::Subscribe | PushKind::SSubscribe, data } => {
                self.joined(&data).await
            }
            Value::Push { kind: PushKind::Unsubscribe | PushKind::SUnsubscribe, data } => {
                self.left(&data).await
            }
            Value::Push { .. } => Ok(()),
            Value::ServerError(error) => self.refused(&error),
            _ => match self.owed.pop_front() {
                Some(Owed::Pong) => Ok(()),
                _ => Err(Broken::OutOfStep.into()),
            },
        }
    }

    async fn message(&mut self, data: Vec<Value>) -> Result<(), Stopped> {
        let Ok([Value::BulkString(channel), Value::BulkString(payload)]) = <[Value; 2]>::try_from(data)
        else {
            return Err(Broken::Malformed.into());
        };
        // What is unsubscribed already may come for a moment.
        let known =
            std::str::from_utf8(&channel).ok().and_then(|channel| self.channels.get_key_value(channel));
        if let Some((channel, Status::Confirmed)) = known {
            let event = Event::Message { channel: channel.clone(), payload: Bytes::from(payload) };
            self.ear.teller.tell(event).await?;
        }
        Ok(())
    }

    async fn joined(&mut self, data: &[Value]) -> Result<(), Stopped> {
        let Some(Owed::Joined { channels }) = self.owed.front_mut() else {
            return Err(Broken::OutOfStep.into());
        };
        let Some(channel) = channels.pop_front() else { return Err(Broken::OutOfStep.into()) };
        if channels.is_empty() {
            self.owed.pop_front();
        }
        if named(data) != Some(&*channel) {
            return Err(Broken::OutOfStep.into());
        }
        self.channels.insert(channel.clone(), Status::Confirmed);
        self.confirm(&channel).await
    }

    /// Says that the channel is heard, if that is wanted still; else leaves it.
    async fn confirm(&mut self, channel: &Arc<str>) -> Result<(), Stopped> {
        let desk = &self.ear.desk;
        let mut is_wanted = false;
        let tell = |tell: &mut dyn FnMut(Event)| {
            is_wanted = desk.if_wanted(channel, || tell(Event::Subscribed { channel: channel.clone() }));
        };
        self.ear.teller.tell_if(tell).await?;
        if !is_wanted {
            self.channels.remove(channel);
            self.command("UNSUBSCRIBE", vec![channel.clone()], Owed::Left);
        }
        Ok(())
    }

    async fn left(&mut self, data: &[Value]) -> Result<(), Stopped> {
        let Some(channel) = named(data) else { return Err(Broken::Malformed.into()) };
        if let Some(Owed::Left(channels)) = self.owed.front_mut()
            && channels.front().is_some_and(|first| **first == *channel)
        {
            channels.pop_front();
            if channels.is_empty() {
                self.owed.pop_front();
            }
            return Ok(());
        }
        // Not asked for: the slot is another server's now.
        let Some((channel, status)) = self.channels.remove_entry(channel) else { return Ok(()) };
        if status == Status::Confirmed {
            self.ear.teller.tell(Event::Interrupted { channels: vec![channel.clone()] }).await?;
        }
        self.ear.desk.defer(&channel);
        self.ear.place.has_moved(Some(self.ear.place.address.clone()));
        Ok(())
    }

    fn refused(&mut self, error: &redis::ServerError) -> Result<(), Stopped> {
        match (self.owed.pop_front(), error.kind()) {
            (Some(Owed::Joined { channels }), Some(ServerErrorKind::Moved))
                if self.ear.place.is_in_cluster() =>
            {
                for channel in channels {
                    self.channels.remove(&channel);
                    self.ear.desk.defer(&channel);
                }
                self.ear
                    .place
                    .has_moved(redirected(error.details().unwrap_or_default(), &self.ear.place.address));
                Ok(())
            }
            // The slot is not ours to leave any more.
            (Some(Owed::Left(_)), Some(ServerErrorKind::Moved)) => Ok(()),
            (Some(Owed::Joined { .. }), _) => Err(Broken::refused("to subscribe", error).into()),
            (Some(Owed::Left(_)), _) => Err(Broken::refused("to unsubscribe", error).into()),
            (Some(Owed::Pong), _) => Err(Broken::refused("PING", error).into()),
            (None, _) => Err(Broken::OutOfStep.into()),
        }
    }
}

/// The channel that a confirmation is about.
fn named(data: &[Value]) -> Option<&str> {
    match data.first() {
        Some(Value::BulkString(channel)) => std::str::from_utf8(channel).ok(),
        _ => None,
    }
}
