//! A broadcast as another server, or an emitter, has published it.

use std::borrow::Cow;

use super::channels::Address;
use super::item::{Item, Items};
use super::{DEEPEST, Unreadable, json, number};

/// Rooms that one broadcast may name, and as many that it may except.
pub const MOST_ROOMS: usize = 1024;

/// How flowgate's nodes begin their uid, so that they know each other's messages. Adapters in Node.js draw six letters and
/// digits, and emitters write `emitter`.
pub const UID_PREFIX: &str = "flowgate:";

/// Socket.IO 5's packet type EVENT, whose data are JSON.
const EVENT: f64 = 2.0;

/// Socket.IO 5's packet type BINARY_EVENT.
const BINARY_EVENT: f64 = 5.0;

/// Names of rooms, copied only where they are numbers.
type Rooms<'m> = Vec<Cow<'m, str>>;

/// One event for everybody in some rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast<'m> {
    /// Who published it: an adapter's own name, or `emitter`.
    pub uid: &'m str,
    /// The event's name.
    pub event: &'m str,
    /// Its arguments as JSON text, as they stand behind the name in an array: nothing, or `argument…` with commas between.
    pub arguments: String,
    /// For whom: everybody in one of these rooms; simply everybody, where there is none.
    pub rooms: Rooms<'m>,
    /// But for nobody in one of these.
    pub except: Rooms<'m>,
}

/// Reads a message that came on a channel with this address; `None` where one of flowgate's own nodes wrote it.
///
/// Memory and time are bounded by the message's length: its JSON has at most six bytes for each of its own, which whoever
/// receives it bounds.
///
/// # Errors
/// [`Unreadable`] for anything that an adapter or emitter would not have published there.
pub fn read<'m>(message: &'m [u8], address: Address<'_>) -> Result<Option<Broadcast<'m>>, Unreadable> {
    let mut items = Items::new(message);
    if items.next()? != Item::Array(3) {
        return Err(Unreadable::NoBroadcast("it is not [uid, packet, opts]"));
    }
    let Item::Text(uid) = items.next()? else {
        return Err(Unreadable::NoBroadcast("its uid is no text"));
    };
    if uid.starts_with(UID_PREFIX) {
        return Ok(None);
    }
    let (event, arguments) = read_packet(&mut items)?;
    let (rooms, except) = read_opts(&mut items)?;
    if !items.is_empty() {
        return Err(Unreadable::NoMessagePack);
    }
    if let Address::Room(room) = address
        && rooms != [room]
    {
        return Err(Unreadable::NoBroadcast("it is for other rooms than its channel"));
    }
    Ok(Some(Broadcast { uid, event, arguments, rooms, except }))
}

/// The packet: its event's name and its arguments as JSON text.
fn read_packet<'m>(items: &mut Items<'m>) -> Result<(&'m str, String), Unreadable> {
    let Item::Map(members) = items.next()? else {
        return Err(Unreadable::NoBroadcast("its packet is no object"));
    };
    let (mut kind, mut data, mut namespace) = (None, None, None);
    for _ in 0..members {
        match key(items)? {
            "type" => once(&mut kind, items.next()?)?,
            "data" => {
                let read = read_data(items)?;
                once(&mut data, read)?;
            }
            "nsp" => once(&mut namespace, items.next()?)?,
            _ => items.skip(DEEPEST)?,
        }
    }
    match namespace {
        // As the adapter does: older emitters name none.
        None | Some(Item::Undefined | Item::Text("/")) => {}
        Some(_) => return Err(Unreadable::Namespace),
    }
    match kind {
        Some(Item::Number(EVENT)) => {}
        Some(Item::Number(BINARY_EVENT)) => return Err(Unreadable::Binary),
        _ => return Err(Unreadable::NoBroadcast("its packet is no event")),
    }
    data.ok_or(Unreadable::NoBroadcast("its packet has no data"))
}

/// The packet's data, `[event, …arguments]`.
fn read_data<'m>(items: &mut Items<'m>) -> Result<(&'m str, String), Unreadable> {
    const NO_EVENT: Unreadable = Unreadable::NoBroadcast("its data does not begin with an event's name");
    let Item::Array(arguments @ 1..) = items.next()? else { return Err(NO_EVENT) };
    let Item::Text(event) = items.next()? else { return Err(NO_EVENT) };
    let mut text = Vec::new();
    for argument in 1..arguments {
        if argument > 1 {
            text.push(b',');
        }
        json::push(&mut text, items, DEEPEST)?;
    }
    let text = String::from_utf8(text).map_err(|_| Unreadable::NoMessagePack)?;
    Ok((event, text))
}

/// The rooms that it is for, and those that it is not for.
fn read_opts<'m>(items: &mut Items<'m>) -> Result<(Rooms<'m>, Rooms<'m>), Unreadable> {
    let Item::Map(members) = items.next()? else {
        return Err(Unreadable::NoBroadcast("its opts are no object"));
    };
    let (mut rooms, mut except) = (None, None);
    for _ in 0..members {
        match key(items)? {
            "rooms" => {
                let read = read_rooms(items)?;
                once(&mut rooms, read)?;
            }
            "except" => {
                let read = read_rooms(items)?;
                once(&mut except, read)?;
            }
            // The flags say how to write it to clients, which is flowgate's own affair.
            _ => items.skip(DEEPEST)?,
        }
    }
    let rooms = rooms.ok_or(Unreadable::NoBroadcast("its opts have no rooms"))?;
    Ok((rooms, except.unwrap_or_default()))
}

/// A list of rooms. JavaScript may join numbers too; such a room goes by the number's text.
fn read_rooms<'m>(items: &mut Items<'m>) -> Result<Rooms<'m>, Unreadable> {
    let members = match items.next()? {
        Item::Array(members) => members,
        // What `new Set(…)` takes for an empty list.
        Item::Null | Item::Undefined => 0,
        _ => return Err(Unreadable::NoBroadcast("its rooms are no list")),
    };
    if members > MOST_ROOMS {
        return Err(Unreadable::TooManyRooms);
    }
    let room = |_| match items.next()? {
        Item::Text(room) => Ok(Cow::Borrowed(room)),
        Item::Number(room) => {
            let mut text = Vec::new();
            number::push(&mut text, room);
            Ok(Cow::Owned(String::from_utf8_lossy(&text).into_owned()))
        }
        _ => Err(Unreadable::NoBroadcast("one of its rooms is no text")),
    };
    (0..members).map(room).collect()
}

fn key<'m>(items: &mut Items<'m>) -> Result<&'m str, Unreadable> {
    match items.next()? {
        Item::Text(key) => Ok(key),
        _ => Err(Unreadable::NoBroadcast("one of its keys is no text")),
    }
}

/// Keeps what stands under a key. JavaScript would go by the last of two equal keys, others by the first.
fn once<T>(kept: &mut Option<T>, value: T) -> Result<(), Unreadable> {
    match kept.replace(value) {
        None => Ok(()),
        Some(_) => Err(Unreadable::NoBroadcast("one of its keys stands there twice")),
    }
}
