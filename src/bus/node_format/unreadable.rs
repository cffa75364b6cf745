//! Why a message from Node.js is not read.

/// What is wrong with a message, told apart as far as somebody can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Cut off, longer than what it says it holds, or no MessagePack at all.
    #[error("it is no MessagePack")]
    NoMessagePack,
    /// MessagePack, but not what a Socket.IO adapter writes; the phrase says what is missing.
    #[error("it is no broadcast of a Socket.IO adapter: {0}")]
    NoBroadcast(&'static str),
    /// For another namespace than `/`, the only one here.
    #[error("it is for another namespace than /")]
    Namespace,
    /// A `Buffer`, an `ArrayBuffer`, or an extension of MessagePack that stands for no JSON.
    #[error("it holds binary data, which has no place in JSON")]
    Binary,
    /// Nested deeper than [`super::DEEPEST`].
    #[error("it is nested deeper than a message may be")]
    TooDeep,
    /// More rooms than [`super::MOST_ROOMS`].
    #[error("it names more rooms than a message may")]
    TooManyRooms,
}
