//! A broadcast as flowgate writes it for Node.js.

use std::fmt;

use rmp::Marker;
use rmp::encode::{
    ByteBuf, write_array_len, write_bool, write_f64, write_map_len, write_nil, write_sint, write_str,
};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::number::SAFE;

/// A payload that cannot be told to Node.js, though it is JSON: a number that is no double (`1e400`), or text with half of a
/// surrogate pair (`"\ud800"`).
#[derive(Debug, thiserror::Error)]
#[error("what JavaScript has no value for: {0}")]
pub struct Unwritable(#[from] serde_json::Error);

/// The message that makes an adapter in Node.js tell all its clients in these rooms the event `emit` with this payload.
///
/// `uid` must begin with [`super::UID_PREFIX`]; `payload` is JSON text. Numbers become doubles, as for every JavaScript client;
/// so an integer beyond 2⁵³ may be rounded.
///
/// # Errors
/// [`Unwritable`].
pub fn write(uid: &str, rooms: &[&str], emit: &str, payload: &str) -> Result<Vec<u8>, Unwritable> {
    // Every head of an array or map in the payload is longer here than there, and little else.
    let mut out = Packer(ByteBuf::with_capacity(payload.len() + payload.len() / 4 + 128));
    out.array(3);
    out.text(uid);
    out.map(3);
    out.text("type");
    out.number(2.0);
    out.text("data");
    out.array(2);
    out.text(emit);
    let mut json = serde_json::Deserializer::from_str(payload);
    Value(&mut out).deserialize(&mut json)?;
    json.end()?;
    out.text("nsp");
    out.text("/");
    out.map(3);
    out.text("rooms");
    out.array(rooms.len());
    for room in rooms {
        out.text(room);
    }
    out.text("except");
    out.array(0);
    out.text("flags");
    out.map(0);
    Ok(out.0.into_vec())
}

/// Writes MessagePack to a buffer, which never fails.
struct Packer(ByteBuf);

impl Packer {
    fn array(&mut self, members: usize) {
        let _ = write_array_len(&mut self.0, members as u32);
    }

    fn map(&mut self, members: usize) {
        let _ = write_map_len(&mut self.0, members as u32);
    }

    fn text(&mut self, text: &str) {
        let _ = write_str(&mut self.0, text);
    }

    /// As short as it can be read back. Integers beyond [`SAFE`] are written as the doubles that they are: `notepack.io` is
    /// wrong about some of the longer ones.
    fn number(&mut self, value: f64) {
        if value.fract() == 0.0 && value.abs() <= SAFE {
            let _ = write_sint(&mut self.0, value as i64);
        } else {
            let _ = write_f64(&mut self.0, value);
        }
    }

    /// Begins an array or map whose length is known at its end; returns where it stands.
    fn open(&mut self, marker: Marker) -> usize {
        let bytes = self.0.as_mut_vec();
        bytes.push(marker.to_u8());
        let at = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        at
    }

    fn close(&mut self, at: usize, members: u32) {
        if let Some(length) = self.0.as_mut_vec().get_mut(at..at + 4) {
            length.copy_from_slice(&members.to_be_bytes());
        }
    }
}

/// Any JSON, written as it is read.
struct Value<'p>(&'p mut Packer);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        let _ = write_nil(&mut self.0.0);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        let _ = write_bool(&mut self.0.0, value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.number(value as f64);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.number(value as f64);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.number(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.text(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let at = self.0.open(Marker::Array32);
        let mut count = 0;
        while members.next_element_seed(Value(self.0))?.is_some() {
            count += 1;
        }
        self.0.close(at, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let at = self.0.open(Marker::Map32);
        let mut count = 0;
        while members.next_key_seed(Value(self.0))?.is_some() {
            members.next_value_seed(Value(self.0))?;
            count += 1;
        }
        self.0.close(at, count);
        Ok(())
    }
}
