//! JSON as CEL values.
//!
//! A number without fraction or exponent that 64 bits hold is an `int`, every other a `double`. A key that an object holds
//! twice is refused: whoever reads the event next may take the other one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::Val;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::Fields;

/// What the claims of one peer that rules read may take, about; bytes. Each connection keeps them.
pub const MAX_CLAIMS: usize = 4096;

/// What a value takes beside its text, about; bytes.
const VALUE_BYTES: usize = 64;

/// The claims of one peer that rules read. Never shown, since claims may be private.
pub struct Claims(CelMap<'static>);

impl Claims {
    /// Those of `claims` that are named, or how many bytes they would take if that is more than [`MAX_CLAIMS`].
    ///
    /// `null` counts as absent, as it does everywhere in claims.
    pub fn keep<'n>(
        claims: &Map<String, Value>,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Self, usize> {
        let named = names.into_iter().filter_map(|name| claims.get_key_value(name));
        let kept: Vec<(&String, &Value)> = named.filter(|(_, value)| !value.is_null()).collect();
        let bytes = kept.iter().map(|(name, value)| name.len() + weight(value)).sum();
        if bytes > MAX_CLAIMS {
            return Err(bytes);
        }
        let values = kept.into_iter().filter_map(|(name, value)| {
            let value: Result<Made<'static>, serde_json::Error> = Any.deserialize(value.clone());
            Some((CelMapKey::from(name.clone()), value.ok()?.boxed()))
        });
        Ok(Claims(values.collect::<HashMap<_, _>>().into()))
    }

    pub(super) fn as_map(&self) -> &CelMap<'static> {
        &self.0
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claims({})", self.0.inner().len())
    }
}

fn weight(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(weight).sum(),
            Value::Object(members) => members.iter().map(|(name, value)| name.len() + weight(value)).sum(),
            _ => 0,
        }
}

/// The named fields of the JSON object `text`. Texts without escapes are borrowed from it.
///
/// # Errors
/// Text that is no object, holds one of those keys twice, or holds half of a surrogate pair in what is read.
pub(super) fn fields<'a>(text: &'a str, named: &'a Fields) -> Result<Members<'a>, serde_json::Error> {
    serde_json::Deserializer::from_str(text).deserialize_map(NamedMembers(named))
}

/// All fields of it, under the same conditions.
pub(super) fn object(text: &str) -> Result<CelMap<'_>, serde_json::Error> {
    serde_json::Deserializer::from_str(text).deserialize_map(AllMembers)
}

/// The JSON value `text`, under the same conditions.
pub(super) fn value(text: &str) -> Result<Made<'_>, serde_json::Error> {
    Any.deserialize(&mut serde_json::Deserializer::from_str(text))
}

/// A value; what holds no others has no allocation of its own.
#[derive(Clone, Debug)]
pub(super) enum Made<'a> {
    Null,
    Bool(CelBool),
    Int(CelInt),
    Double(CelDouble),
    Text(CelString<'a>),
    Other(Box<dyn Val + 'a>),
}

impl<'a> Made<'a> {
    /// For looking at.
    pub fn as_val<'b, 'v>(&'b self) -> &'b (dyn Val + 'v)
    where
        'a: 'v,
    {
        match self {
            Made::Null => &CelNull,
            Made::Bool(value) => value,
            Made::Int(value) => value,
            Made::Double(value) => value,
            Made::Text(value) => value,
            Made::Other(value) => &**value,
        }
    }

    /// For keeping.
    pub fn boxed(self) -> Box<dyn Val + 'a> {
        match self {
            Made::Null => Box::new(CelNull),
            Made::Bool(value) => Box::new(value),
            Made::Int(value) => Box::new(value),
            Made::Double(value) => Box::new(value),
            Made::Text(value) => Box::new(value),
            Made::Other(value) => value,
        }
    }
}

/// Some fields of a payload that rules usually name at most; more allocate.
const USUAL_FIELDS: usize = 4;

/// Fields of an object by their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Members<'a>(SmallVec<[(&'a str, Made<'a>); USUAL_FIELDS]>);

impl<'a> Members<'a> {
    /// The value of this field.
    pub fn get(&self, name: &str) -> Option<&Made<'a>> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// Any value.
struct Any;

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Made<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Made<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Made::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Made::Bool(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Made::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(match i64::try_from(value) {
            Ok(value) => Made::Int(value.into()),
            Err(_) => Made::Double((value as f64).into()),
        })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Made::Double(value.into()))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Made::Text(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Made::Text(value.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Any)? {
            list.push(item.boxed());
        }
        Ok(Made::Other(Box::new(CelList::from(list))))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        Ok(Made::Other(Box::new(AllMembers.visit_map(members)?)))
    }
}

/// An object with all its members.
struct AllMembers;

impl<'de> Visitor<'de> for AllMembers {
    type Value = CelMap<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map = HashMap::new();
        while let Some(key) = members.next_key_seed(Key)? {
            let key = match key {
                Cow::Borrowed(key) => CelMapKey::from(key),
                Cow::Owned(key) => CelMapKey::from(key),
            };
            if map.insert(key, members.next_value_seed(Any)?.boxed()).is_some() {
                return Err(twice());
            }
        }
        Ok(map.into())
    }
}

/// An object with those of its members that are named.
struct NamedMembers<'n>(&'n Fields);

impl<'de: 'n, 'n> Visitor<'de> for NamedMembers<'n> {
    type Value = Members<'n>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut read = Members::default();
        while let Some(key) = members.next_key_seed(Key)? {
            let Some(name) = self.0.names.get(&*key) else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            if read.get(name).is_some() {
                return Err(twice());
            }
            read.0.push((name, members.next_value_seed(Any)?));
        }
        Ok(read)
    }
}

fn twice<E: Error>() -> E {
    E::custom("an object holds a key twice")
}

/// An object's key, borrowed where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
