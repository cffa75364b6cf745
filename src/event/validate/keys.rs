//! The keys met so far in one object.

use std::borrow::Cow;
use std::collections::HashSet;

use smallvec::SmallVec;

/// How many keys are compared one by one. More of them are hashed, so that thousands cost no more than linear time.
const FEW: usize = 8;

/// A set of keys that allocates only when there are many.
#[derive(Default)]
pub(super) struct Keys<'e> {
    few: SmallVec<[Cow<'e, str>; FEW]>,
    many: HashSet<Cow<'e, str>>,
}

impl<'e> Keys<'e> {
    /// Adds a key; `false` if it was there.
    pub fn insert(&mut self, key: Cow<'e, str>) -> bool {
        if self.few.contains(&key) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(key);
            return true;
        }
        self.many.insert(key)
    }

    /// Whether the key was met.
    pub fn contains(&self, key: &str) -> bool {
        self.few.iter().any(|met| met == key) || self.many.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_duplicate() {
        let mut keys = Keys::default();
        for number in 0..100 {
            assert!(keys.insert(Cow::Owned(number.to_string())));
            assert!(!keys.insert(Cow::Owned(number.to_string())));
        }
        assert!(
            (0..100)
                .all(|number| keys.contains(&number.to_string()) && !keys.insert(number.to_string().into()))
        );
        assert!(!keys.contains("100"));
    }
}
