//! The channels of Redis that nodes talk through: one for each team, and one for what concerns all.

use std::sync::Arc;

/// Where a message was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel<'a> {
    /// What goes to the members of one team.
    Team(&'a str),
    /// What nodes say of themselves.
    Control,
}

/// How channels are called: `PREFIX:t:{TEAM}` and `PREFIX:control`.
#[derive(Clone, Debug)]
pub struct Channels {
    teams: Arc<str>,
    control: Arc<str>,
}

impl Channels {
    /// Those with this prefix (`bus.redis.prefix`).
    pub fn new(prefix: &str) -> Self {
        Channels { teams: format!("{prefix}:t:{{").into(), control: format!("{prefix}:control").into() }
    }

    /// The channel's name. The braces are meant for Redis Cluster, which keeps in one place what has the same text in them.
    pub fn name(&self, channel: Channel<'_>) -> Arc<str> {
        match channel {
            Channel::Team(team) => format!("{}{team}}}", self.teams).into(),
            Channel::Control => self.control.clone(),
        }
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
