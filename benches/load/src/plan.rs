//! The scenarios: their names, their sizes, and what each asks of a server.

use std::time::Duration;

use crate::sample::Measure;
use crate::token::Algorithm;

/// Descriptors for all but the connections that a scenario counts; `idle10k` opens 200 uncounted ones.
const SPARE_DESCRIPTORS: usize = 400;

/// What the load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// 1,000 members of one team hear 20 messages a second, from changing senders.
    Team1000,
    /// The same on one worker thread and on two, with both cores.
    Threads2,
    /// A closed-loop flood to a team of 100.
    Flood100,
    /// A closed-loop flood to a team of 1,000.
    Flood1000,
    /// 200 teams of 10, each member sending every five seconds.
    Teams200,
    /// A small team's latency while a team of 10,000 hears a broadcast every second.
    BigRoom,
    /// A team's latency while a client streams refused events.
    Noisy,
    /// A team's latency while one of its members has stopped reading.
    Stalled,
    /// 10,000 admitted connections that do nothing.
    Idle10k,
    /// The same while an admin page is open.
    Watched10k,
    /// Connections opened and admitted, a few at a time, with HS256 tokens.
    Handshake,
    /// The same with ES256 tokens.
    HandshakeEs256,
    /// The same with RS256 tokens.
    HandshakeRs256,
    /// Two nodes over one Redis: events at a pace, sent on one and heard on both.
    Bus2,
    /// The same as a closed-loop flood.
    BusFlood,
    /// Polling handshakes from one address, whose sessions are abandoned.
    PollingFlood,
    /// A stream of events of an unknown type.
    RefusedType,
    /// A stream of valid events far above the sender's rate.
    RefusedRate,
}

/// How long a scenario warms up and is then measured.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Load before measuring, in which caches fill and just-in-time compilers settle.
    pub warm_up: Duration,
    /// The measured window.
    pub window: Duration,
}

/// The limits that a server with policy is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// High enough that the honest load never meets them.
    Raised,
    /// flowgate's defaults.
    Default,
    /// Raised, and a member that does not read is kept.
    Patient,
}

/// What a scenario needs a server to be set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Whether recipients are only the sender's team; otherwise a peer may use its cheaper emit to everyone.
    pub rooms: bool,
    /// The limits, of servers that have any.
    pub limits: Limits,
    /// What the tokens are signed with.
    pub algorithm: Algorithm,
    /// Worker threads, of servers that can have several.
    pub threads: usize,
    /// Whether the server may also run on the load's core.
    pub both_cores: bool,
    /// Whether there is a second server, and a Redis between the two.
    pub bus: bool,
}

impl Scenario {
    /// Every scenario, in the table's order.
    pub const ALL: [Self; 18] = [
        Self::Team1000,
        Self::Threads2,
        Self::Flood100,
        Self::Flood1000,
        Self::Teams200,
        Self::BigRoom,
        Self::Noisy,
        Self::Stalled,
        Self::Idle10k,
        Self::Watched10k,
        Self::Handshake,
        Self::HandshakeEs256,
        Self::HandshakeRs256,
        Self::Bus2,
        Self::BusFlood,
        Self::PollingFlood,
        Self::RefusedType,
        Self::RefusedRate,
    ];

    /// The name on the command line and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Team1000 => "team1000",
            Self::Threads2 => "threads2",
            Self::Flood100 => "flood100",
            Self::Flood1000 => "flood1000",
            Self::Teams200 => "teams200",
            Self::BigRoom => "bigroom",
            Self::Noisy => "noisy",
            Self::Stalled => "stalled",
            Self::Idle10k => "idle10k",
            Self::Watched10k => "watched10k",
            Self::Handshake => "handshake",
            Self::HandshakeEs256 => "handshake-es256",
            Self::HandshakeRs256 => "handshake-rs256",
            Self::Bus2 => "bus2",
            Self::BusFlood => "busflood",
            Self::PollingFlood => "polling-flood",
            Self::RefusedType => "refused-type",
            Self::RefusedRate => "refused-rate",
        }
    }

    /// The measure that the ratio and spread columns compare.
    #[must_use]
    pub fn main_measure(self) -> Measure {
        match self {
            Self::Team1000 | Self::Flood100 | Self::Flood1000 | Self::Teams200 => Measure::CpuPerDelivery,
            Self::Threads2 => Measure::ThreadsRatio,
            Self::BigRoom | Self::Noisy | Self::Stalled => Measure::LatencyRatio,
            Self::Idle10k => Measure::IdleKilobytes,
            Self::Watched10k => Measure::PageBusy,
            Self::Handshake | Self::HandshakeEs256 | Self::HandshakeRs256 => Measure::HandshakeCpu,
            Self::PollingFlood => Measure::PeakGrowth,
            Self::Bus2 | Self::BusFlood | Self::RefusedType | Self::RefusedRate => Measure::CpuPerEvent,
        }
    }

    /// What a server is set up for.
    #[must_use]
    pub fn setup(self) -> Setup {
        let plain = Setup {
            rooms: false,
            limits: Limits::Raised,
            algorithm: Algorithm::Hs256,
            threads: 1,
            both_cores: false,
            bus: false,
        };
        match self {
            Self::Threads2 => Setup { threads: 2, both_cores: true, ..plain },
            Self::Teams200 | Self::BigRoom | Self::Noisy | Self::RefusedType => {
                Setup { rooms: true, ..plain }
            }
            Self::Bus2 | Self::BusFlood => Setup { rooms: true, bus: true, ..plain },
            Self::Stalled => Setup { limits: Limits::Patient, ..plain },
            Self::HandshakeEs256 => Setup { algorithm: Algorithm::Es256, ..plain },
            Self::HandshakeRs256 => Setup { algorithm: Algorithm::Rs256, ..plain },
            Self::PollingFlood | Self::RefusedRate => Setup { rooms: true, limits: Limits::Default, ..plain },
            Self::Team1000
            | Self::Flood100
            | Self::Flood1000
            | Self::Idle10k
            | Self::Watched10k
            | Self::Handshake => plain,
        }
    }

    /// The setup of a second server that the scenario also runs on, right after, to compare the two.
    #[must_use]
    pub fn baseline(self) -> Option<Setup> {
        match self {
            Self::Threads2 => Some(Setup { threads: 1, ..self.setup() }),
            Self::Bus2 | Self::BusFlood => Some(Setup { bus: false, ..self.setup() }),
            _ => None,
        }
    }

    /// The connections that the load opens and the measures count.
    #[must_use]
    pub fn connections(self, quick: bool) -> usize {
        match self {
            Self::Team1000 | Self::Threads2 | Self::Flood1000 => 1_000,
            Self::Flood100 | Self::Noisy | Self::Stalled => 100,
            // Half of them on each node.
            Self::Bus2 | Self::BusFlood => 200,
            Self::Teams200 => 2_000,
            Self::Idle10k | Self::Watched10k | Self::BigRoom | Self::PollingFlood if quick => 2_000,
            Self::Idle10k | Self::Watched10k | Self::BigRoom => 10_000,
            Self::PollingFlood => 20_000,
            Self::Handshake | Self::HandshakeEs256 | Self::HandshakeRs256 if quick => 1_000,
            Self::Handshake | Self::HandshakeEs256 | Self::HandshakeRs256 => 3_000,
            Self::RefusedType | Self::RefusedRate => 8,
        }
    }

    /// File descriptors that each side needs for that.
    #[must_use]
    pub fn descriptors(self, quick: bool) -> usize {
        let open = match self {
            // They open as many for their warm-up.
            Self::Handshake | Self::HandshakeEs256 | Self::HandshakeRs256 => self.connections(quick) * 2,
            // Its connections end with their answer.
            Self::PollingFlood => 0,
            _ => self.connections(quick),
        };
        open + SPARE_DESCRIPTORS
    }

    /// How long the timed scenarios run, each phase of those with two; the others end by themselves.
    #[must_use]
    pub fn timing(self, quick: bool) -> Timing {
        let seconds = |warm_up, window| Timing {
            warm_up: Duration::from_secs(warm_up),
            window: Duration::from_secs(window),
        };
        match (self, quick) {
            // Events are far apart in these, so that a short window would count few.
            (Self::Team1000 | Self::Threads2 | Self::Teams200 | Self::Bus2, true) => seconds(2, 4),
            (Self::Team1000 | Self::Threads2 | Self::Teams200 | Self::Bus2, false) => seconds(3, 10),
            (Self::BigRoom | Self::Noisy | Self::Stalled, true) => seconds(1, 4),
            (Self::BigRoom | Self::Noisy | Self::Stalled, false) => seconds(2, 10),
            // The page asks for its lists every five seconds.
            (Self::Watched10k, true) => seconds(2, 10),
            (Self::Watched10k, false) => seconds(3, 30),
            (_, true) => seconds(1, 2),
            (_, false) => seconds(2, 5),
        }
    }
}
