//! From a decision to the members' connections.
//!
//! [`frame`] encodes once; [`local`] publishes to the [`room`]s: in the feed that most members follow, and to each other
//! [`member`] by itself, directly or through the protocol library; [`flusher`] writes at the end of the tick, a feed's
//! followers in a [`round`]. Where the policy wants it, a
//! [`change`] waits before that: [`held`] folds equal ones into one, [`coalesce`] is the window at whose end they go, and [`later`]
//! is where those wait that are over their sender's rate. [`traffic`] adds up what goes through each room.
//!
//! All of them are relayed from the [`chronicle`], which where the policy wants it gives each its [`meta`] and keeps it in a
//! [`history`] for those who come back and say [`since`] when they have heard nothing. From there the [`bus`] carries them to
//! other nodes, and what those relay comes in there. Where all nodes keep one history, an [`extent`] says how far somebody has come
//! in it, and what is read there for one who comes from [`elsewhere`] goes before what this node has told meanwhile.

pub mod bus;
pub mod change;
pub mod chronicle;
pub mod coalesce;
pub mod elsewhere;
pub mod extent;
pub mod flusher;
pub mod frame;
pub mod held;
pub mod history;
pub mod later;
pub mod local;
pub mod member;
pub mod meta;
pub mod room;
pub mod round;
pub mod since;
pub mod traffic;
