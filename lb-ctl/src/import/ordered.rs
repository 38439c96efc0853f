//! A list in which things are found by what they are.

use std::collections::HashMap;
use std::hash::Hash;

/// What tells a thing from others in its list.
pub trait Keyed {
    /// Its kind.
    type Key: Copy + Eq + Hash;
    /// Its value.
    fn key(&self) -> Self::Key;
}

/// Things in the order they were added, each key once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered<T: Keyed> {
    items: Vec<T>,
    places: HashMap<T::Key, usize>,
}

impl<T: Keyed> Default for Ordered<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<T: Keyed> Ordered<T> {
    /// The things, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.items
    }

    /// Finds one. Its key must stay as it is.
    pub fn get_mut(&mut self, key: &T::Key) -> Option<&mut T> {
        let place = *self.places.get(key)?;
        self.items.get_mut(place)
    }

    /// Adds one behind the others, unless its key is there: then it comes back.
    ///
    /// # Errors
    /// What was to be added.
    pub fn push(&mut self, item: T) -> Result<&mut T, T> {
        let key = item.key();
        if self.places.contains_key(&key) {
            return Err(item);
        }
        let place = self.items.len();
        self.places.insert(key, place);
        self.items.push(item);
        Ok(&mut self.items[place])
    }

    /// Removes one; false if there was none. Those behind it move up, which takes its time.
    pub fn remove(&mut self, key: &T::Key) -> bool {
        let Some(place) = self.places.remove(key) else {
            return false;
        };
        self.items.remove(place);
        for (place, item) in self.items.iter().enumerate().skip(place) {
            self.places.insert(item.key(), place);
        }
        true
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.items.clear();
        self.places.clear();
    }
}

impl<'a, T: Keyed> IntoIterator for &'a Ordered<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::{Keyed, Ordered};

    impl Keyed for (u8, char) {
        type Key = u8;
        fn key(&self) -> u8 {
            self.0
        }
    }

    #[test]
    fn order_and_keys_stay_in_step() {
        let mut list = Ordered::default();
        for item in [(1, 'a'), (2, 'b'), (3, 'c')] {
            assert!(list.push(item).is_ok());
        }
        assert_eq!(list.push((2, 'x')), Err((2, 'x')));
        assert!(list.remove(&1));
        assert!(!list.remove(&1));
        assert_eq!(list.get_mut(&3), Some(&mut (3, 'c')));
        assert!(list.push((1, 'd')).is_ok());
        assert_eq!(list.as_slice(), [(2, 'b'), (3, 'c'), (1, 'd')]);
        list.clear();
        assert_eq!(list, Ordered::default());
    }
}
