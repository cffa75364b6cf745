//! Those who do everything wrong, each in its own way, again and again until the mix ends.

pub mod abandon;
pub mod churn;
pub mod flood;
pub mod garbage;
pub mod knock;
pub mod packets;
pub mod polling;
pub mod stall;

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::cast::HONEST_TEAMS;
use super::chance::Chance;
use super::session::{Session, Socket, Transport};
use super::stage::Stage;

/// Teams without honest members, beside those that have some.
const OTHER_TEAMS: usize = 8;
/// Addresses that attacks come from: enough that the limits of one address don't keep all of them out.
const ADDRESSES: usize = 120;
/// Users that attack again and again; the others are new each time.
const KNOWN_USERS: usize = 300;
/// Far longer than any attack, so that only the server or the attacker itself ends one.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// How an attack ended, if not by an error, which counts as stopped too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The server refused it or closed the connection.
    Stopped,
    /// The attacker left when it wanted to.
    Left,
}

/// One kind of attack.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// How the report calls it.
    pub name: &'static str,
    /// How many do it at once.
    actors: usize,
    /// The mean pause between two times.
    rest: Duration,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    RefusedFlood,
    OverRate,
    Stall,
    StallPolling,
    Churn,
    AbandonTcp,
    AbandonHead,
    AbandonSession,
    AbandonUpgrade,
    AbandonFrame,
    AbandonBody,
    GarbageHttp,
    GarbageFrames,
    BadToken,
    Storm,
    Packets,
    PollingLeft,
    PollingMisuse,
}

/// An attack that takes longer is given up. Longer than any deadline of the server's: 45 s of heartbeat are the longest.
const PATIENCE: Duration = Duration::from_secs(75);

/// Every attack. The numbers keep the server's core well busy but not full, so that an honest client's wait is never the reason
/// for a failure.
pub const ATTACKS: [Attack; 18] = [
    attack("flood of refused events", 6, 800, Kind::RefusedFlood),
    attack("flood over the rate", 5, 600, Kind::OverRate),
    attack("reader that stops", 6, 300, Kind::Stall),
    attack("poller that stops", 3, 500, Kind::StallPolling),
    attack("churn of members", 16, 150, Kind::Churn),
    attack("left: TCP only", 10, 200, Kind::AbandonTcp),
    attack("left: half a head", 10, 300, Kind::AbandonHead),
    attack("left: no CONNECT", 10, 300, Kind::AbandonSession),
    attack("left: upgrade begun", 6, 300, Kind::AbandonUpgrade),
    attack("left: half a frame", 6, 300, Kind::AbandonFrame),
    attack("left: half a body", 4, 400, Kind::AbandonBody),
    attack("garbage as HTTP", 8, 120, Kind::GarbageHttp),
    attack("garbage as frames", 12, 120, Kind::GarbageFrames),
    attack("bad tokens", 6, 200, Kind::BadToken),
    attack("storm of handshakes", 1, 1500, Kind::Storm),
    attack("floods of other packets", 6, 400, Kind::Packets),
    attack("polling and left", 8, 200, Kind::PollingLeft),
    attack("polling misused", 6, 250, Kind::PollingMisuse),
];

const fn attack(name: &'static str, actors: usize, rest_ms: u64, kind: Kind) -> Attack {
    Attack { name, actors, rest: Duration::from_millis(rest_ms), kind }
}

/// Lets everybody loose. Dropping what is returned ends them wherever they are, and their connections with them.
#[must_use]
pub fn let_loose(stage: &Rc<Stage>, chance: &mut Chance) -> JoinSet<()> {
    let mut actors = JoinSet::new();
    for attack in ATTACKS {
        for _ in 0..attack.actors {
            actors.spawn_local(act(attack, Attacker { stage: stage.clone(), chance: chance.fork() }));
        }
    }
    actors
}

async fn act(attack: Attack, mut attacker: Attacker) {
    loop {
        let rest = attacker.chance.about(attack.rest);
        sleep(rest).await;
        attacker.stage.tally(attack.name, |tally| tally.turns += 1);
        let ended = timeout(PATIENCE, once(attack.kind, &mut attacker)).await;
        attacker.stage.tally(attack.name, |tally| match ended {
            Ok(Ok(Ended::Left)) => tally.left += 1,
            Ok(Ok(Ended::Stopped) | Err(_)) => tally.stopped += 1,
            Err(_) => tally.outlasted += 1,
        });
    }
}

async fn once(kind: Kind, attacker: &mut Attacker) -> io::Result<Ended> {
    match kind {
        Kind::RefusedFlood => flood::refused(attacker).await,
        Kind::OverRate => flood::over_rate(attacker).await,
        Kind::Stall => stall::websocket(attacker).await,
        Kind::StallPolling => stall::polling(attacker).await,
        Kind::Churn => churn::member(attacker).await,
        Kind::AbandonTcp => abandon::tcp(attacker).await,
        Kind::AbandonHead => abandon::head(attacker).await,
        Kind::AbandonSession => abandon::session(attacker).await,
        Kind::AbandonUpgrade => abandon::upgrade(attacker).await,
        Kind::AbandonFrame => abandon::frame(attacker).await,
        Kind::AbandonBody => abandon::body(attacker).await,
        Kind::GarbageHttp => garbage::http(attacker).await,
        Kind::GarbageFrames => garbage::frames(attacker).await,
        Kind::BadToken => knock::bad_token(attacker).await,
        Kind::Storm => knock::storm(attacker).await,
        Kind::Packets => packets::flood(attacker).await,
        Kind::PollingLeft => polling::left(attacker).await,
        Kind::PollingMisuse => polling::misused(attacker).await,
    }
}

/// Who attacks, with what it may choose.
pub struct Attacker {
    /// What everybody shares.
    pub stage: Rc<Stage>,
    /// Its choices.
    pub chance: Chance,
}

impl Attacker {
    /// An address to attack from; never that of an honest client.
    pub fn address(&mut self) -> Ipv4Addr {
        Ipv4Addr::new(127, 2, 0, u8::try_from(1 + self.chance.below(ADDRESSES)).unwrap_or(1))
    }

    /// A user, never an honest one: often one that was there before, to meet its limits.
    pub fn user(&mut self) -> String {
        if self.chance.once_in(2) {
            format!("known-{}", self.chance.below(KNOWN_USERS))
        } else {
            format!("new-{}", self.stage.number())
        }
    }

    /// A team to be a member of: mostly one with honest members.
    pub fn team(&mut self) -> usize {
        if self.chance.once_in(4) {
            HONEST_TEAMS + self.chance.below(OTHER_TEAMS)
        } else {
            self.chance.below(HONEST_TEAMS)
        }
    }

    /// A valid token.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&mut self, team: usize) -> io::Result<String> {
        let user = self.user();
        self.stage.target.token(&user, team, TOKEN_LIFETIME)
    }

    /// Is admitted to `team`.
    ///
    /// # Errors
    /// When it is not.
    pub async fn join(&mut self, transport: Transport, team: usize) -> io::Result<Session> {
        let (from, token) = (self.address(), self.token(team)?);
        let stage = self.stage.clone();
        Session::join(&stage.target, from, transport, &token, team).await
    }

    /// Is admitted to `team` over a WebSocket.
    ///
    /// # Errors
    /// When it is not.
    pub async fn join_socket(&mut self, team: usize) -> io::Result<Socket> {
        match self.join(Transport::WebSocket, team).await? {
            Session::Socket(socket) => Ok(socket),
            Session::Poll(_) => Err(io::Error::other("polling instead of a WebSocket")),
        }
    }
}

/// Runs `wait` for `time` at most: [`Ended::Left`] if it has not ended by then.
async fn at_most<T>(time: Duration, wait: impl Future<Output = T>) -> Ended {
    match timeout(time, wait).await {
        Ok(_) => Ended::Stopped,
        Err(_) => Ended::Left,
    }
}
