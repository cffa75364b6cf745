//! The order of a run, and what came of every cell of it.

use anyhow::{Result, ensure};

use crate::options::Options;
use crate::peers::Peer;
use crate::pinning::Cores;
use crate::plan::{Scenario, Setup};
use crate::sample::{Measure, Sample};
use crate::scenario;
use crate::stand::Stand;

/// One scenario on one peer: what each repeat measured, or why it failed.
pub struct Cell {
    /// The load.
    pub scenario: Scenario,
    /// The server.
    pub peer: Peer,
    /// One entry a repeat, in their order.
    pub runs: Vec<Result<Sample>>,
}

/// Runs everything that `options` asks for. The peers take turns within each repeat, so that a drift of the machine meets all of them,
/// and each turn has a fresh server. Progress goes to standard error.
#[must_use]
pub fn run(options: &Options, cores: Cores, secret: &str) -> Vec<Cell> {
    let mut cells = cells(options);
    for repeat in 0..options.repeats {
        for cell in &mut cells {
            let run = run_once(cell, options.quick, cores, secret);
            let name = format!("{} on {}", cell.scenario.name(), cell.peer.name());
            match &run {
                Ok(_) => eprintln!("  repeat {}/{}: {name}", repeat + 1, options.repeats),
                Err(error) => {
                    eprintln!("  repeat {}/{}: {name} FAILED: {error:#}", repeat + 1, options.repeats)
                }
            }
            cell.runs.push(run);
        }
    }
    cells
}

fn cells(options: &Options) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &scenario in &options.scenarios {
        for &peer in options.peers.iter().filter(|peer| peer.takes(scenario)) {
            cells.push(Cell { scenario, peer, runs: Vec::new() });
        }
    }
    cells
}

fn run_once(cell: &Cell, quick: bool, cores: Cores, secret: &str) -> Result<Sample> {
    let needed = cell.scenario.descriptors(quick);
    if let Some(limit) = descriptor_limit() {
        ensure!(
            limit >= needed,
            "it needs {needed} file descriptors and the limit is {limit}: raise it (ulimit -n)"
        );
    }
    let run_with = |setup: Setup| {
        let mut stand = Stand::up(cell.peer, setup, cores, secret)?;
        scenario::run(cell.scenario, quick, &stand, secret).map_err(|error| stand.explain(error))
    };
    let mut sample = run_with(cell.scenario.setup())?;
    if let Some(setup) = cell.scenario.baseline() {
        compare(cell.scenario, &mut sample, &run_with(setup)?);
    }
    Ok(sample)
}

/// Adds to `sample` what the scenario says about it beside its `baseline`.
fn compare(scenario: Scenario, sample: &mut Sample, baseline: &Sample) {
    if matches!(scenario, Scenario::Bus2 | Scenario::BusFlood) {
        sample[Measure::AloneCpu] = baseline[Measure::SendingCpu];
        let both = sample[Measure::SendingCpu].zip(sample[Measure::AloneCpu]);
        sample[Measure::BusCpu] = both.map(|(with, without)| with - without);
    } else {
        sample[Measure::OneThreadCpu] = baseline[Measure::CpuPerDelivery];
        sample[Measure::ThreadsRatio] = sample.ratio(Measure::CpuPerDelivery, Measure::OneThreadCpu);
    }
}

/// This process's soft limit of open files, which servers inherit; none when it is unlimited or unknown.
fn descriptor_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
