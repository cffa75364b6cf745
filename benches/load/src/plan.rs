//! The scenarios: their names, their sizes, and what each asks of a server.

use std::time::Duration;

use crate::sample::Measure;

/// Descriptors for all but the connections that a scenario counts; `idle10k` opens 200 uncounted ones.
const SPARE_DESCRIPTORS: usize = 400;

/// What the load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// 1,000 members of one team hear 20 messages a second, from changing senders.
    Team1000,
    /// A closed-loop flood to a team of 100.
    Flood100,
    /// A closed-loop flood to a team of 1,000.
    Flood1000,
    /// 200 teams of 10, each member sending every five seconds.
    Teams200,
    /// 10,000 admitted connections that do nothing.
    Idle10k,
    /// Connections opened and admitted, a few at a time.
    Handshake,
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

/// What a scenario needs a server to be set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Whether recipients are only the sender's team; otherwise a peer may use its cheaper emit to everyone.
    pub rooms: bool,
    /// Whether the server keeps its default limits instead of ones that the honest load never meets.
    pub default_limits: bool,
}

impl Scenario {
    /// Every scenario, in the table's order.
    pub const ALL: [Self; 8] = [
        Self::Team1000,
        Self::Flood100,
        Self::Flood1000,
        Self::Teams200,
        Self::Idle10k,
        Self::Handshake,
        Self::RefusedType,
        Self::RefusedRate,
    ];

    /// The name on the command line and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Team1000 => "team1000",
            Self::Flood100 => "flood100",
            Self::Flood1000 => "flood1000",
            Self::Teams200 => "teams200",
            Self::Idle10k => "idle10k",
            Self::Handshake => "handshake",
            Self::RefusedType => "refused-type",
            Self::RefusedRate => "refused-rate",
        }
    }

    /// The measure that the ratio and spread columns compare.
    #[must_use]
    pub fn main_measure(self) -> Measure {
        match self {
            Self::Team1000 | Self::Flood100 | Self::Flood1000 | Self::Teams200 => Measure::CpuPerDelivery,
            Self::Idle10k => Measure::IdleKilobytes,
            Self::Handshake => Measure::HandshakeCpu,
            Self::RefusedType | Self::RefusedRate => Measure::CpuPerEvent,
        }
    }

    /// What a server is set up for.
    #[must_use]
    pub fn setup(self) -> Setup {
        Setup {
            rooms: matches!(self, Self::Teams200 | Self::RefusedType | Self::RefusedRate),
            default_limits: self == Self::RefusedRate,
        }
    }

    /// Whether the scenario means something only on a server that refuses events.
    #[must_use]
    pub fn needs_refusals(self) -> bool {
        matches!(self, Self::RefusedType | Self::RefusedRate)
    }

    /// The connections that the load opens and the measures count.
    #[must_use]
    pub fn connections(self, quick: bool) -> usize {
        match self {
            Self::Team1000 | Self::Flood1000 => 1_000,
            Self::Flood100 => 100,
            Self::Teams200 => 2_000,
            Self::Idle10k if quick => 2_000,
            Self::Idle10k => 10_000,
            Self::Handshake if quick => 1_000,
            Self::Handshake => 3_000,
            Self::RefusedType | Self::RefusedRate => 8,
        }
    }

    /// File descriptors that each side needs for that.
    #[must_use]
    pub fn descriptors(self, quick: bool) -> usize {
        // `handshake` opens as many for its warm-up.
        match self {
            Self::Handshake => self.connections(quick) * 2 + SPARE_DESCRIPTORS,
            _ => self.connections(quick) + SPARE_DESCRIPTORS,
        }
    }

    /// How long the timed scenarios run; `idle10k` and `handshake` end by themselves.
    #[must_use]
    pub fn timing(self, quick: bool) -> Timing {
        let seconds = |warm_up, window| Timing {
            warm_up: Duration::from_secs(warm_up),
            window: Duration::from_secs(window),
        };
        match (self, quick) {
            // Events are far apart in these, so that a short window would count few.
            (Self::Team1000 | Self::Teams200, true) => seconds(2, 4),
            (Self::Team1000 | Self::Teams200, false) => seconds(3, 10),
            (_, true) => seconds(1, 2),
            (_, false) => seconds(2, 5),
        }
    }
}
