//! The phases of a soak.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, timeout};

use super::cast::{self, HONEST_TEAMS, Role};
use super::chance::Chance;
use super::gauges::{Gauges, MUST_FADE, MUST_RETURN, MUST_VANISH};
use super::server::Flowgate;
use super::stage::{Mood, Stage};
use super::target::Target;
use super::verdict::{Reading, Readings, mebibytes};
use super::{honest, hostile};
use crate::account::resident_bytes;

/// The least warm-up: long enough for every attack to come to its end once, also the readers that stop.
const LEAST_WARM_UP: Duration = Duration::from_secs(10);
/// How long a condition is waited for. Three minutes are far more than any deadline of flowgate's; what has not come to rest by then is stuck.
const PATIENCE: Duration = Duration::from_secs(180);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// flowgate forgets idle rates, and gives back the room of its maps, every 10 s; numbers that stand for longer stand still.
const STANDSTILL: Duration = Duration::from_secs(12);
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(30);

/// How long each phase takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The mix before memory is first read.
    pub warm_up: Duration,
    /// The mix between the two readings.
    pub mix: Duration,
    /// Names the run's choices.
    pub seed: u64,
}

impl Plan {
    /// A soak of `seconds` in all: a tenth of it is warm-up, at least 10 s, at most the half.
    #[must_use]
    pub fn of(seconds: u64, seed: u64) -> Self {
        let whole = Duration::from_secs(seconds);
        let warm_up = (whole / 10).max(LEAST_WARM_UP).min(whole / 2);
        Self { warm_up, mix: whole - warm_up, seed }
    }
}

/// Runs the whole soak against `flowgate`.
///
/// # Errors
/// When flowgate ends by itself or the honest are not let in at all. What goes wrong later is for the verdict.
pub async fn soak(plan: Plan, flowgate: &mut Flowgate, secret: &str) -> Result<(Rc<Stage>, Readings)> {
    let target = Target::new(flowgate.public, flowgate.internal, secret)?;
    let stage = Rc::new(Stage::new(target, HONEST_TEAMS));
    let everybody = LocalSet::new();
    let readings = everybody.run_until(phases(plan, flowgate, &stage)).await?;
    Ok((stage, readings))
}

async fn phases(plan: Plan, flowgate: &mut Flowgate, stage: &Rc<Stage>) -> Result<Readings> {
    let mut chance = Chance::new(plan.seed);
    let cast = cast::honest();
    let lasting = cast.iter().filter(|role| role.is_lasting()).count();
    let mut soak =
        Soak { flowgate, stage, lasting, begun: Instant::now(), stuck: Vec::new(), told: Cell::new(0) };

    let start = soak.still().await?;
    soak.say("nobody is there", &start);
    let mut honest = enter(cast, stage, &mut chance);
    let calm = soak.settled().await?;
    soak.say(&format!("{lasting} honest clients are there"), &calm);
    if stage.present.get() < lasting {
        bail!("only {} of {lasting} honest clients were let in", stage.present.get());
    }

    soak.mix(plan.warm_up, "warm-up", &mut chance).await?;
    let begin = soak.settled().await?;
    soak.say("settled after the warm-up", &begin);
    soak.mix(plan.mix, "mix", &mut chance).await?;
    let end = soak.settled().await?;
    soak.say("settled after the mix", &end);

    stage.set_mood(Mood::Quiet);
    soak.until("every honest event acknowledged", async || Ok(stage.unanswered.get() == 0)).await?;
    stage.set_mood(Mood::Leave);
    if timeout(PATIENCE, async { while honest.join_next().await.is_some() {} }).await.is_err() {
        soak.stuck.push(format!("{} honest clients did not come to their end", honest.len()));
        honest.abort_all();
    }
    let after = soak.vanished(&start.gauges).await?;
    soak.say("everybody has left", &after);
    let exit = soak.flowgate.terminate()?;
    Ok(Readings { start, calm, begin, end, after, stuck: soak.stuck, exit })
}

fn enter(cast: Vec<Role>, stage: &Rc<Stage>, chance: &mut Chance) -> JoinSet<()> {
    let mut honest = JoinSet::new();
    for role in cast {
        honest.spawn_local(honest::live(role, stage.clone(), chance.fork()));
    }
    honest
}

/// A soak under way.
struct Soak<'s> {
    flowgate: &'s mut Flowgate,
    stage: &'s Rc<Stage>,
    /// How many honest clients there are when the mix rests.
    lasting: usize,
    begun: Instant,
    stuck: Vec<String>,
    /// Faults that the lines of progress have told.
    told: Cell<usize>,
}

impl Soak<'_> {
    async fn read(&mut self) -> Result<Reading> {
        if let Some(status) = self.flowgate.ended() {
            bail!("flowgate ended by itself: {status}");
        }
        let gauges = Gauges::read(&self.stage.target).await.context("reading flowgate's metrics")?;
        Ok(Reading { gauges, memory: resident_bytes(self.flowgate.pid())? })
    }

    /// Waits for `holds`; says so when it waits in vain.
    async fn until(&mut self, what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !holds().await? {
            if begun.elapsed() >= PATIENCE {
                self.stuck.push(format!("waited {} s in vain for: {what}", PATIENCE.as_secs()));
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Reads once `is_there` holds and the numbers of tasks, descriptors and remembered rates have stood still.
    async fn at_rest(
        &mut self,
        what: &str,
        still: Duration,
        is_there: impl Fn(&Gauges) -> bool,
    ) -> Result<Reading> {
        let begun = Instant::now();
        let mut last = self.read().await?;
        let mut since = Instant::now();
        loop {
            sleep(LOOK).await;
            let now = self.read().await?;
            let same = now.gauges.get(MUST_FADE) == last.gauges.get(MUST_FADE);
            if !(same && is_there(&now.gauges)) {
                since = Instant::now();
            }
            last = now;
            if since.elapsed() >= still {
                return Ok(last);
            }
            if begun.elapsed() >= PATIENCE {
                self.stuck.push(format!("waited {} s in vain for: {what}", PATIENCE.as_secs()));
                return Ok(last);
            }
        }
    }

    /// Before anybody comes: the connection by which readiness was seen may still be on its way out.
    async fn still(&mut self) -> Result<Reading> {
        self.at_rest("nobody there", 2 * LOOK, vanished).await
    }

    /// With the honest, and nobody else.
    async fn settled(&mut self) -> Result<Reading> {
        self.stage.set_mood(Mood::Settle);
        let (stage, lasting) = (self.stage.clone(), self.lasting);
        self.at_rest("only the honest there", STANDSTILL, |gauges| {
            let is = |name: &str| gauges.get(name) == Some(lasting as f64);
            stage.present.get() == lasting && is("flowgate_sessions") && is("flowgate_peers")
        })
        .await
    }

    /// After everybody has left.
    async fn vanished(&mut self, start: &Gauges) -> Result<Reading> {
        self.at_rest("everything given back", 2 * LOOK, |gauges| {
            let returned = MUST_RETURN.iter().all(|name| gauges.get(name) <= start.get(name));
            vanished(gauges) && returned
        })
        .await
    }

    /// The mix for `length`.
    async fn mix(&mut self, length: Duration, name: &str, chance: &mut Chance) -> Result<()> {
        let end = Instant::now() + length;
        self.stage.set_mood(Mood::Mix);
        let mut hostile = hostile::let_loose(self.stage, chance);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            sleep(left.min(PROGRESS)).await;
            let reading = self.read().await?;
            self.say(name, &reading);
        }
        hostile.shutdown().await;
        Ok(())
    }

    fn say(&self, what: &str, reading: &Reading) {
        let gauge = |name: &str| reading.gauges.get(name).map_or("?".to_owned(), |value| value.to_string());
        let books = self.stage.books.borrow();
        let turns: u64 = self.stage.tallies().values().map(|tally| tally.turns).sum();
        eprintln!(
            "{:>4} s  {what}: {} there, {} sessions, {} connections, {} tasks, {}; {} deliveries checked, {turns} attacks{}",
            self.begun.elapsed().as_secs(),
            self.stage.present.get(),
            gauge("flowgate_sessions"),
            gauge("flowgate_connections"),
            gauge("flowgate_runtime_tasks"),
            mebibytes(reading.memory),
            books.heard,
            if books.faults.is_clean() { "" } else { ", FAULTS" },
        );
        for fault in &books.faults.told[self.told.get()..] {
            eprintln!("        {fault}");
        }
        self.told.set(books.faults.told.len());
    }
}

/// Whether all that must is gone. What is not exposed is not waited for; the verdict tells it.
fn vanished(gauges: &Gauges) -> bool {
    MUST_VANISH.into_iter().chain([MUST_FADE]).all(|name| gauges.get(name).unwrap_or(0.0) == 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_warm_up_within_bounds() {
        let seconds = |plan: Plan| (plan.warm_up.as_secs(), plan.mix.as_secs());
        assert_eq!(seconds(Plan::of(600, 1)), (60, 540));
        assert_eq!(seconds(Plan::of(60, 1)), (10, 50));
        assert_eq!(seconds(Plan::of(10, 1)), (5, 5));
    }
}
