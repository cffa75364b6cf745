//! The channels that broadcasts are published to.

/// The names of one key's channels for the namespace `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels {
    general: String,
}

/// Whom a channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'c> {
    /// Whom the message names: no room, or several.
    General,
    /// One room.
    Room(&'c str),
}

impl Channels {
    /// Of the adapters and emitters that are given this `key`; without one they use `socket.io`.
    pub fn new(key: &str) -> Self {
        Channels { general: format!("{key}#/#") }
    }

    /// Where broadcasts to no room, or to several, are published.
    pub fn general(&self) -> &str {
        &self.general
    }

    /// Where broadcasts to this room alone are published.
    pub fn of_room(&self, room: &str) -> String {
        format!("{}{room}#", self.general)
    }

    /// Whom the channel of this name is for; `None` for a name that is none of these.
    pub fn address<'c>(&self, channel: &'c str) -> Option<Address<'c>> {
        match channel.strip_prefix(&self.general)? {
            "" => Some(Address::General),
            room => Some(Address::Room(room.strip_suffix('#')?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_found_again_by_its_name() {
        let channels = Channels::new("socket.io");
        assert_eq!(channels.general(), "socket.io#/#");
        assert_eq!(channels.address("socket.io#/#"), Some(Address::General));
        for room in ["red", "a#b", "#", "größe"] {
            let channel = channels.of_room(room);
            assert_eq!(channel, format!("socket.io#/#{room}#"));
            assert_eq!(channels.address(&channel), Some(Address::Room(room)));
        }
        for other in ["socket.io#/#red", "socket.io#/admin#red#", "socket.io-request#/#", "other#/#red#", ""]
        {
            assert_eq!(channels.address(other), None, "{other}");
        }
    }
}
