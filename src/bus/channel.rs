//! The channels of Redis that nodes talk through: one for each team, and one for what concerns all.

use std::sync::Arc;

use crate::event_id::Run;

/// Where a message was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel<'a> {
    /// What goes to the members of one team.
    Team(&'a str),
    /// What nodes say of themselves.
    Control,
}

/// How channels are called: `PREFIX:t:{TEAM}` and `PREFIX:control`; and `PREFIX:barrier:RUN:NUMBER`.
#[derive(Clone, Debug)]
pub struct Channels {
    teams: Arc<str>,
    control: Arc<str>,
    barriers: Arc<str>,
}

impl Channels {
    /// Those with this prefix (`bus.redis.prefix`).
    pub fn new(prefix: &str) -> Self {
        let [teams, control, barriers] =
            ["t:{", "control", "barrier"].map(|rest| format!("{prefix}:{rest}").into());
        Channels { teams, control, barriers }
    }

    /// The channel's name. The braces are meant for Redis Cluster, which keeps in one place what has the same text in them.
    pub fn name(&self, channel: Channel<'_>) -> Arc<str> {
        match channel {
            Channel::Team(team) => format!("{}{team}}}", self.teams).into(),
            Channel::Control => self.control.clone(),
        }
    }

    /// What nobody publishes on: a channel whose confirmation says how far a node has heard (see [`super::sharing`]).
    pub fn barrier(&self, run: Run, number: u64) -> Arc<str> {
        format!("{}:{run}:{number:x}", self.barriers).into()
    }

    /// The channel of this name; `None` for what is no channel of flowgate's.
    pub fn read<'n>(&self, name: &'n str) -> Option<Channel<'n>> {
        if *name == *self.control {
            return Some(Channel::Control);
        }
        name.strip_prefix(&*self.teams)?.strip_suffix('}').map(Channel::Team)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let channels = Channels::new("fg");
        assert_eq!(&*channels.name(Channel::Team("red")), "fg:t:{red}");
        for channel in [Channel::Team("red"), Channel::Team("a}{b"), Channel::Team("*"), Channel::Control] {
            assert_eq!(channels.read(&channels.name(channel)), Some(channel));
        }
        for other in ["fg", "fg:t:red", "fg:t:{red", "other:t:{red}", "fg:control2", ""] {
            assert_eq!(channels.read(other), None, "{other}");
        }
    }
}
