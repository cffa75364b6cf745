//! Once per event: the pipeline and its stages.
//!
//! [`pipeline`] holds the only loop and the order; each stage is a file of its own: [`size`], [`rate_limit`],
//! [`validate`], [`authorize`], [`rules`]. What a stage can't decide alone comes after the loop: [`route`], the teams' own limit,
//! and whether it was relayed before ([`replay`]).
//! A [`sender::Sender`] is a peer with what it has used up, and a [`trace::Trace`] tells who asks what each stage said.
//! Nothing here waits, and nothing here knows Socket.IO.

pub mod authorize;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
pub mod now;
pub mod pipeline;
pub mod rate_limit;
pub(crate) mod record;
pub(crate) mod replay;
pub mod route;
pub mod rules;
pub mod sender;
pub mod size;
mod tally;
pub mod trace;
pub mod validate;

pub use crate::event_id::EventId;
pub use now::Now;
pub use pipeline::{Context, Decision, Pipeline, Refused, Stage};
pub use sender::Sender;
