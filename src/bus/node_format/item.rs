//! MessagePack, one item at a time, without copying and within the message.

use rmp::Marker;

use super::Unreadable;

/// One item. Of an array or a map only the head, whose members follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Item<'m> {
    Null,
    /// What `notepack.io` 2 wrote for `undefined`; since 3 that is a null.
    Undefined,
    Boolean(bool),
    /// As JavaScript reads it: every number is a double.
    Number(f64),
    Text(&'m str),
    /// A moment in milliseconds since the Unix epoch: a timestamp as MessagePack has it, or a `Date` as `notepack.io` 2 wrote it.
    Date(i64),
    /// Bytes, and every other extension.
    Binary,
    /// With so many members.
    Array(usize),
    /// With so many keys, each followed by its value.
    Map(usize),
}

/// The extension that `notepack.io` 2 used for what MessagePack had no word for.
const OF_NOTEPACK: i8 = 0;

/// MessagePack's own extension, "Timestamp extension type".
const TIMESTAMP: i8 = -1;

/// What has not been read of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Items<'m> {
    rest: &'m [u8],
}

impl<'m> Items<'m> {
    pub fn new(message: &'m [u8]) -> Self {
        Items { rest: message }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next item.
    pub fn next(&mut self) -> Result<Item<'m>, Unreadable> {
        let [marker] = self.take()?;
        Ok(match Marker::from_u8(marker) {
            Marker::Null => Item::Null,
            Marker::False => Item::Boolean(false),
            Marker::True => Item::Boolean(true),
            Marker::FixPos(value) => Item::Number(value.into()),
            Marker::FixNeg(value) => Item::Number(value.into()),
            Marker::U8 => Item::Number(u8::from_be_bytes(self.take()?).into()),
            Marker::U16 => Item::Number(u16::from_be_bytes(self.take()?).into()),
            Marker::U32 => Item::Number(u32::from_be_bytes(self.take()?).into()),
            Marker::U64 => Item::Number(u64::from_be_bytes(self.take()?) as f64),
            Marker::I8 => Item::Number(i8::from_be_bytes(self.take()?).into()),
            Marker::I16 => Item::Number(i16::from_be_bytes(self.take()?).into()),
            Marker::I32 => Item::Number(i32::from_be_bytes(self.take()?).into()),
            Marker::I64 => Item::Number(i64::from_be_bytes(self.take()?) as f64),
            Marker::F32 => Item::Number(f32::from_be_bytes(self.take()?).into()),
            Marker::F64 => Item::Number(f64::from_be_bytes(self.take()?)),
            Marker::FixStr(length) => self.text(length.into())?,
            Marker::Str8 => self.length8().and_then(|length| self.text(length))?,
            Marker::Str16 => self.length16().and_then(|length| self.text(length))?,
            Marker::Str32 => self.length32().and_then(|length| self.text(length))?,
            Marker::FixArray(members) => Item::Array(self.holds(members.into(), 1)?),
            Marker::Array16 => Item::Array(self.length16().and_then(|members| self.holds(members, 1))?),
            Marker::Array32 => Item::Array(self.length32().and_then(|members| self.holds(members, 1))?),
            Marker::FixMap(members) => Item::Map(self.holds(members.into(), 2)?),
            Marker::Map16 => Item::Map(self.length16().and_then(|members| self.holds(members, 2))?),
            Marker::Map32 => Item::Map(self.length32().and_then(|members| self.holds(members, 2))?),
            Marker::Bin8 => self.length8().and_then(|length| self.binary(length))?,
            Marker::Bin16 => self.length16().and_then(|length| self.binary(length))?,
            Marker::Bin32 => self.length32().and_then(|length| self.binary(length))?,
            Marker::Ext8 => match self.length8()? {
                12 => {
                    let [kind] = self.take()?;
                    let nanoseconds = u32::from_be_bytes(self.take()?);
                    let seconds = i64::from_be_bytes(self.take()?);
                    if kind as i8 == TIMESTAMP { moment(seconds, nanoseconds) } else { Item::Binary }
                }
                length => self.binary(1 + length)?,
            },
            Marker::Ext16 => self.length16().and_then(|length| self.binary(1 + length))?,
            Marker::Ext32 => self.length32().and_then(|length| self.binary(1 + length))?,
            Marker::FixExt1 => match self.take()? {
                [kind, _] if kind as i8 == OF_NOTEPACK => Item::Undefined,
                _ => Item::Binary,
            },
            Marker::FixExt2 => self.binary(1 + 2)?,
            Marker::FixExt4 => {
                let [kind] = self.take()?;
                let seconds = u32::from_be_bytes(self.take()?);
                if kind as i8 == TIMESTAMP { moment(seconds.into(), 0) } else { Item::Binary }
            }
            Marker::FixExt8 => {
                let [kind] = self.take()?;
                let data = u64::from_be_bytes(self.take()?);
                match kind as i8 {
                    OF_NOTEPACK => Item::Date(data as i64),
                    // 30 bits and 34.
                    TIMESTAMP => moment((data & 0x3_ffff_ffff) as i64, (data >> 34) as u32),
                    _ => Item::Binary,
                }
            }
            Marker::FixExt16 => self.binary(1 + 16)?,
            Marker::Reserved => return Err(Unreadable::NoMessagePack),
        })
    }

    /// Reads past one item and everything in it, `depth` being how deep arrays and maps may still be nested.
    pub fn skip(&mut self, depth: usize) -> Result<(), Unreadable> {
        let within = match self.next()? {
            Item::Array(members) => members,
            Item::Map(members) => 2 * members,
            _ => return Ok(()),
        };
        let depth = depth.checked_sub(1).ok_or(Unreadable::TooDeep)?;
        (0..within).try_for_each(|_| self.skip(depth))
    }

    /// The next `N` bytes.
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Unreadable::NoMessagePack)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn length8(&mut self) -> Result<usize, Unreadable> {
        Ok(u8::from_be_bytes(self.take()?).into())
    }

    fn length16(&mut self) -> Result<usize, Unreadable> {
        Ok(u16::from_be_bytes(self.take()?).into())
    }

    fn length32(&mut self) -> Result<usize, Unreadable> {
        Ok(u32::from_be_bytes(self.take()?) as usize)
    }

    /// The next bytes, so many.
    fn bytes(&mut self, length: usize) -> Result<&'m [u8], Unreadable> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Unreadable::NoMessagePack)?;
        self.rest = rest;
        Ok(taken)
    }

    fn text(&mut self, length: usize) -> Result<Item<'m>, Unreadable> {
        let text = std::str::from_utf8(self.bytes(length)?);
        text.map(Item::Text).map_err(|_| Unreadable::NoMessagePack)
    }

    fn binary(&mut self, length: usize) -> Result<Item<'m>, Unreadable> {
        self.bytes(length).map(|_| Item::Binary)
    }

    /// So many members, each of that many items, if there are bytes for them at all: so nobody can ask for room for more
    /// than was sent.
    fn holds(&self, members: usize, of: usize) -> Result<usize, Unreadable> {
        let least = members.checked_mul(of).ok_or(Unreadable::NoMessagePack)?;
        if least > self.rest.len() { Err(Unreadable::NoMessagePack) } else { Ok(members) }
    }
}

/// The moment as a `Date` has it: calculated in doubles, its fraction of a millisecond cut off.
fn moment<'m>(seconds: i64, nanoseconds: u32) -> Item<'m> {
    let milliseconds = seconds as f64 * 1e3 + f64::from(nanoseconds) / 1e6;
    Item::Date(milliseconds as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(message: &[u8]) -> Result<Vec<Item<'_>>, Unreadable> {
        let mut items = Items::new(message);
        let mut all = Vec::new();
        while !items.is_empty() {
            all.push(items.next()?);
        }
        Ok(all)
    }

    #[test]
    fn every_number_becomes_a_double() {
        let numbers: &[(&[u8], f64)] = &[
            (&[0x7f], 127.0),
            (&[0xff], -1.0),
            (&[0xe0], -32.0),
            (&[0xcc, 0xff], 255.0),
            (&[0xcd, 0x12, 0x34], 4660.0),
            (&[0xce, 0xff, 0xff, 0xff, 0xff], 4_294_967_295.0),
            (&[0xcf, 0, 0x20, 0, 0, 0, 0, 0, 1], 9_007_199_254_740_992.0),
            (&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 18_446_744_073_709_551_616.0),
            (&[0xd0, 0x80], -128.0),
            (&[0xd1, 0x80, 0], -32768.0),
            (&[0xd2, 0x80, 0, 0, 0], -2_147_483_648.0),
            (&[0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], -2.0),
            (&[0xca, 0x3f, 0xc0, 0, 0], 1.5),
            (&[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], 1.5),
        ];
        for (bytes, number) in numbers {
            assert_eq!(items(bytes), Ok(vec![Item::Number(*number)]), "{bytes:?}");
        }
    }

    #[test]
    fn lengths_are_never_believed_beyond_the_message() {
        let too_long: &[&[u8]] = &[
            &[0xa2, b'a'],
            &[0xd9, 5, b'a'],
            &[0xda, 0xff, 0xff],
            &[0xdb, 0xff, 0xff, 0xff, 0xff, b'a'],
            &[0x92, 1],
            &[0xdd, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x81, 1],
            &[0xdf, 0xff, 0xff, 0xff, 0xff, 1],
            &[0xc6, 0xff, 0xff, 0xff, 0xff, 1],
            &[0xc9, 0xff, 0xff, 0xff, 0xff, 0],
            &[0xcb, 0],
            &[0xd4, 0],
            &[0xd7, 0, 0],
        ];
        for bytes in too_long {
            assert_eq!(items(bytes), Err(Unreadable::NoMessagePack), "{bytes:?}");
        }
        assert_eq!(items(&[0xc1]), Err(Unreadable::NoMessagePack));
        assert_eq!(items(&[0xa1, 0xff]), Err(Unreadable::NoMessagePack));
    }

    #[test]
    fn what_is_no_json_is_told_apart() {
        assert_eq!(items(&[0xd4, 0, 0]), Ok(vec![Item::Undefined]));
        assert_eq!(items(&[0xd4, 1, 0]), Ok(vec![Item::Binary]));
        assert_eq!(items(&[0xd7, 0, 0, 0, 0, 0, 0, 0, 0, 9]), Ok(vec![Item::Date(9)]));
        assert_eq!(items(&[0xd7, 1, 0, 0, 0, 0, 0, 0, 0, 9]), Ok(vec![Item::Binary]));
        assert_eq!(items(&[0xd6, 0xff, 0x39, 0x45, 0x79, 0x80]), Ok(vec![Item::Date(960_854_400_000)]));
        assert_eq!(items(&[0xd6, 1, 0, 0, 0, 0]), Ok(vec![Item::Binary]));
        assert_eq!(items(&[0xc4, 1, 7, 0xc0]), Ok(vec![Item::Binary, Item::Null]));
        assert_eq!(items(&[0xc7, 1, 0, 7, 0xc0]), Ok(vec![Item::Binary, Item::Null]));
    }

    #[test]
    fn skipping_goes_no_deeper_than_it_may() {
        let nested = [&[0x91; 5][..], &[0xc0]].concat();
        assert_eq!(Items::new(&nested).skip(5), Ok(()));
        assert_eq!(Items::new(&nested).skip(4), Err(Unreadable::TooDeep));
        let mut map = Items::new(&[0x82, 0xa1, b'a', 0x92, 1, 2, 0xa1, b'b', 0xc0, 0xc3]);
        map.skip(2).unwrap();
        assert_eq!(map.next(), Ok(Item::Boolean(true)));
        let bomb = [0x91; 100_000];
        assert_eq!(Items::new(&bomb).skip(128), Err(Unreadable::TooDeep));
    }
}
