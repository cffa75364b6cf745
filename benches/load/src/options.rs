//! The command line.

use anyhow::{Result, bail};

use crate::peers::Peer;
use crate::plan::Scenario;

/// What `--help` prints.
pub const HELP: &str = "\
benches/load/run [--quick] [--repeat N] [--peers a,b] [--json | --markdown] [scenario...]

Loads flowgate and its peers with the same traffic and prints what each cost. See benches/load/README.md.

  --quick       short windows, fewer connections, one repeat: shows that it works, not what it costs
  --repeat N    runs of each scenario on each peer, whose medians are printed (5)
  --peers a,b   flowgate, flowgate-audience, socketioxide, node, node-hardened, bun, loop (all)
  --json        print every run and the medians as JSON
  --markdown    print the table as Markdown
  scenario      team1000 threads2 flood100 flood1000 teams200 bigroom noisy stalled idle10k watched10k
                handshake handshake-es256 handshake-rs256 bus2 busflood polling-flood refused-type refused-rate (all),
                or refused for the last two
";

/// The form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A table for terminals.
    Text,
    /// A Markdown table.
    Markdown,
    /// All numbers.
    Json,
}

/// What a run does.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// Short windows and fewer connections.
    pub quick: bool,
    /// Runs of each scenario on each peer.
    pub repeats: usize,
    /// The servers, in the order in which they run.
    pub peers: Vec<Peer>,
    /// The scenarios, in the order in which they run.
    pub scenarios: Vec<Scenario>,
    /// The form of the result.
    pub format: Format,
}

const REPEATS: usize = 5;

impl Options {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// A sentence about the first argument that is not understood.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut arguments = arguments.into_iter();
        let (mut quick, mut repeats, mut format) = (false, None, Format::Text);
        let (mut peers, mut scenarios) = (Vec::new(), Vec::new());
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => quick = true,
                "--json" => format = Format::Json,
                "--markdown" => format = Format::Markdown,
                "--repeat" => repeats = Some(count(arguments.next())?),
                "--peers" => peers = peer_list(&arguments.next().unwrap_or_default())?,
                "refused" => scenarios.extend([Scenario::RefusedType, Scenario::RefusedRate]),
                name => scenarios.push(scenario(name)?),
            }
        }
        if peers.is_empty() {
            peers = Peer::ALL.to_vec();
        }
        if scenarios.is_empty() {
            scenarios = Scenario::ALL.to_vec();
        }
        Ok(Self {
            quick,
            repeats: repeats.unwrap_or(if quick { 1 } else { REPEATS }),
            peers,
            scenarios,
            format,
        })
    }
}

fn count(text: Option<String>) -> Result<usize> {
    let text = text.unwrap_or_default();
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => bail!("--repeat needs a number above zero, not {text:?}"),
    }
}

fn peer_list(list: &str) -> Result<Vec<Peer>> {
    let peer = |name: &str| {
        let known = Peer::ALL.into_iter().find(|peer| peer.name() == name);
        known.ok_or_else(|| {
            anyhow::anyhow!("no peer is called {name:?}; there are {}", names(Peer::ALL.map(Peer::name)))
        })
    };
    list.split(',').map(peer).collect()
}

fn scenario(name: &str) -> Result<Scenario> {
    if name.starts_with('-') {
        bail!("no option is called {name:?}; --help lists them");
    }
    let known = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
    known.ok_or_else(|| {
        anyhow::anyhow!(
            "no scenario is called {name:?}; there are {}",
            names(Scenario::ALL.map(Scenario::name))
        )
    })
}

fn names<const N: usize>(names: [&str; N]) -> String {
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_defaults_and_each_option() {
        let plain = parse("").unwrap();
        assert_eq!((plain.quick, plain.repeats, plain.format), (false, 5, Format::Text));
        assert_eq!((plain.peers, plain.scenarios), (Peer::ALL.to_vec(), Scenario::ALL.to_vec()));
        let full = parse("--quick --repeat 3 --peers loop,node --json refused idle10k").unwrap();
        assert_eq!((full.quick, full.repeats, full.format), (true, 3, Format::Json));
        assert_eq!(full.peers, [Peer::Loop, Peer::Node]);
        assert_eq!(full.scenarios, [Scenario::RefusedType, Scenario::RefusedRate, Scenario::Idle10k]);
        assert_eq!(parse("--quick").unwrap().repeats, 1);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, named) in [
            ("--repeat 0", "\"0\""),
            ("--peers nod", "\"nod\""),
            ("idle", "\"idle\""),
            ("--fast", "\"--fast\""),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
