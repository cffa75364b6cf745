//! flowgate's whole-process benchmark: what a server costs in CPU and memory while real connections load it.
//!
//! The life of a run: [`options`] reads what is asked, [`plan`] names the scenarios and [`peers`] the servers;
//! [`stand`] stands it up through [`server`], pinned to its core, a module of [`scenario`] loads it over a [`swarm`] of connections and reads
//! its costs through [`account`], and [`report`] prints all of it.
//! The load generator is one thread over epoll and checks every frame by hand, because it must never be the slower side.

pub mod account;
pub mod client;
pub mod frame;
pub mod ledger;
pub mod message;
pub mod options;
pub mod peers;
pub mod pinning;
pub mod plan;
pub mod report;
pub mod runner;
pub mod sample;
pub mod scenario;
pub mod server;
pub mod soak;
pub mod stand;
pub mod swarm;
pub mod token;
