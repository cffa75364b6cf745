//! The result: medians over the repeats, one row for each scenario and peer. Scenarios that take the same measures share a table.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::options::{Format, Options};
use crate::peers::Peer;
use crate::plan::Scenario;
use crate::runner::Cell;
use crate::sample::{Measure, Sample, median};

/// What stands where there is nothing to say.
const NOTHING: &str = "-";
/// Above this share of its core the load generator may have been the slower side.
const LOAD_LIMIT_PERCENT: f64 = 90.0;

/// The whole result in the form that `options` asks for; `setting` are lines about the machine.
#[must_use]
pub fn render(cells: &[Cell], options: &Options, setting: &[String]) -> String {
    match options.format {
        Format::Json => json_text(cells, options, setting),
        Format::Text => {
            let tables: Vec<String> = tables(cells).iter().map(|rows| text_table(rows)).collect();
            setting.join("\n") + "\n\n" + &tables.join("\n") + &notes(cells)
        }
        Format::Markdown => {
            let tables: Vec<String> = tables(cells).iter().map(|rows| markdown_table(rows)).collect();
            setting.join("  \n") + "\n\n" + &tables.join("\n") + &notes(cells)
        }
    }
}

/// One table for each run of scenarios that took the same measures, with the columns of those and a head as its first row.
fn tables(cells: &[Cell]) -> Vec<Vec<Vec<String>>> {
    let alike = |one: &Cell, next: &Cell| taken(cells, one.scenario) == taken(cells, next.scenario);
    cells.chunk_by(alike).map(|chunk| rows(chunk, &taken(cells, chunk[0].scenario))).collect()
}

/// The measures that any run of `scenario` took.
fn taken(cells: &[Cell], scenario: Scenario) -> Vec<Measure> {
    let of_scenario = || cells.iter().filter(|cell| cell.scenario == scenario);
    let any = |measure: &Measure| of_scenario().any(|cell| middle(cell, *measure).is_some());
    Measure::ALL.into_iter().filter(any).collect()
}

fn rows(cells: &[Cell], measures: &[Measure]) -> Vec<Vec<String>> {
    let mut head = vec!["scenario".to_owned(), "peer".to_owned()];
    head.extend(measures.iter().map(|measure| measure.head().to_owned()));
    head.extend(["± %".to_owned(), "flowgate/peer".to_owned()]);
    let row = |cell: &Cell| {
        let mut row = vec![cell.scenario.name().to_owned(), cell.peer.name().to_owned()];
        row.extend(measures.iter().map(|&measure| decimal(middle(cell, measure), measure.decimals())));
        row.push(decimal(spread_percent(cell), 0));
        row.push(decimal(flowgate_ratio(cells, cell), 2));
        row
    };
    std::iter::once(head).chain(cells.iter().map(row)).collect()
}

/// The median of a measure over the repeats that took it.
fn middle(cell: &Cell, measure: Measure) -> Option<f64> {
    median(cell.runs.iter().filter_map(|run| run.as_ref().ok()?[measure]))
}

/// Half the distance from the least to the greatest of the scenario's main measure, in percent of its median.
fn spread_percent(cell: &Cell) -> Option<f64> {
    let measure = cell.scenario.main_measure();
    let values = || cell.runs.iter().filter_map(|run| run.as_ref().ok()?[measure]);
    let (least, greatest) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
    (values().count() > 1)
        .then(|| middle(cell, measure).map(|middle| (greatest - least) / 2.0 / middle * 100.0))?
}

/// How many times this peer's cost flowgate's is, by the scenario's main measure: the median of the ratios within each repeat, because the
/// two ran right after each other there.
fn flowgate_ratio(cells: &[Cell], peer: &Cell) -> Option<f64> {
    let flowgate = cells.iter().find(|cell| cell.scenario == peer.scenario && cell.peer == Peer::Flowgate)?;
    let measure = peer.scenario.main_measure();
    let value = |run: &anyhow::Result<Sample>| run.as_ref().ok().and_then(|sample| sample[measure]);
    let pairs = flowgate.runs.iter().zip(&peer.runs);
    median(pairs.filter_map(|(ours, theirs)| Some(value(ours)? / value(theirs)?)))
}

fn decimal(value: Option<f64>, decimals: usize) -> String {
    value.map_or(NOTHING.to_owned(), |value| format!("{value:.decimals$}"))
}

fn text_table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        if index > 0 && row[0] != rows[index - 1][0] {
            text.push('\n');
        }
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // Names to the left, numbers to the right. Writing to a string cannot fail.
            let _ =
                if column < 2 { write!(text, "{cell:<width$}  ") } else { write!(text, "{cell:>width$}  ") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn markdown_table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if index == 0 {
            let rule: Vec<&str> =
                (0..row.len()).map(|column| if column < 2 { ":--" } else { "--:" }).collect();
            let _ = writeln!(text, "| {} |", rule.join(" | "));
        }
    }
    text
}

/// What a reader of the table must know: failed runs, lost deliveries, a load generator at its limit.
fn notes(cells: &[Cell]) -> String {
    let mut text = String::new();
    for cell in cells {
        let name = format!("{} on {}", cell.scenario.name(), cell.peer.name());
        let failures: Vec<_> = cell.runs.iter().filter_map(|run| run.as_ref().err()).collect();
        if let Some(first) = failures.first() {
            let _ = writeln!(
                text,
                "\n{name}: {} of {} runs failed, the first because: {first:#}",
                failures.len(),
                cell.runs.len()
            );
        }
        if middle(cell, Measure::Lost).is_some_and(|lost| lost > 0.0) {
            let _ =
                writeln!(text, "\n{name}: deliveries were lost; its costs are not those of the whole work");
        }
        if middle(cell, Measure::LoadBusy).is_some_and(|busy| busy > LOAD_LIMIT_PERCENT) {
            let _ = writeln!(
                text,
                "\n{name}: the load generator was at its limit; deliveries/s and latencies are partly its own"
            );
        }
    }
    text
}

fn json_text(cells: &[Cell], options: &Options, setting: &[String]) -> String {
    let cell_json = |cell: &Cell| {
        let runs: Vec<Value> = cell.runs.iter().map(run_json).collect();
        let medians = Measure::ALL.map(|measure| (measure.key(), middle(cell, measure)));
        json!({
            "scenario": cell.scenario.name(),
            "peer": cell.peer.name(),
            "main_measure": cell.scenario.main_measure().key(),
            "median": measures_json(medians),
            "spread_percent": spread_percent(cell),
            "flowgate_to_peer": flowgate_ratio(cells, cell),
            "runs": runs,
        })
    };
    let cells_json: Vec<Value> = cells.iter().map(cell_json).collect();
    let whole = json!({ "setting": setting, "quick": options.quick, "repeats": options.repeats, "cells": cells_json });
    format!("{whole:#}\n")
}

fn run_json(run: &anyhow::Result<Sample>) -> Value {
    match run {
        Ok(sample) => measures_json(Measure::ALL.map(|measure| (measure.key(), sample[measure]))),
        Err(error) => json!({ "failed": format!("{error:#}") }),
    }
}

fn measures_json<const N: usize>(measures: [(&str, Option<f64>); N]) -> Value {
    let taken = measures.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?))));
    Value::Object(taken.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(peer: Peer, costs: &[Option<f64>]) -> Cell {
        let run = |cost: &Option<f64>| {
            let mut sample = Sample::default();
            sample[Measure::CpuPerDelivery] = *cost;
            cost.map(|_| sample).ok_or_else(|| anyhow::anyhow!("it broke"))
        };
        Cell { scenario: Scenario::Flood100, peer, runs: costs.iter().map(run).collect() }
    }

    #[test]
    fn ratios_pair_the_repeats_and_skip_failed_ones() {
        let cells = [
            cell(Peer::Flowgate, &[Some(2.0), Some(6.0), None]),
            cell(Peer::Node, &[Some(4.0), Some(4.0), Some(100.0)]),
        ];
        assert_eq!(flowgate_ratio(&cells, &cells[1]), Some(1.0));
        assert_eq!(spread_percent(&cells[0]), Some(50.0));
        let table = text_table(&tables(&cells)[0]);
        assert!(
            table.lines().any(|line| line.starts_with("flood100  node") && line.ends_with("1.00")),
            "{table}"
        );
        assert!(
            notes(&cells).contains("flood100 on flowgate: 1 of 3 runs failed, the first because: it broke")
        );
    }

    #[test]
    fn a_table_has_the_columns_that_its_scenarios_took() {
        let mut idle = Sample::default();
        idle[Measure::IdleKilobytes] = Some(18.0);
        let idle = Cell { scenario: Scenario::Idle10k, peer: Peer::Node, runs: vec![Ok(idle)] };
        let tables = tables(&[cell(Peer::Flowgate, &[None]), cell(Peer::Node, &[Some(4.0)]), idle]);
        let heads: Vec<String> = tables.iter().map(|rows| rows[0].join(" ")).collect();
        assert_eq!(
            heads,
            ["scenario peer µs/delivery ± % flowgate/peer", "scenario peer KB/conn ± % flowgate/peer"]
        );
        assert_eq!(tables[0][1], ["flood100", "flowgate", "-", "-", "-"]);
    }

    #[test]
    fn a_single_run_has_no_spread_and_no_flowgate_no_ratio() {
        let cells = [cell(Peer::Node, &[Some(4.0)])];
        assert_eq!((spread_percent(&cells[0]), flowgate_ratio(&cells, &cells[0])), (None, None));
    }
}
