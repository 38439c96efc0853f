//! The directory of services: a hash table without collisions.
//!
//! Hash and displace: a key's hash chooses a displacement, and hash and displacement together
//! choose a slot. The builder picks displacements such that no two keys share a slot, so a
//! lookup is two loads and one comparison, however many services there are.
//!
//! Two directories lie behind each other in the maps; [`Control::directory`] says which counts.
//! A service that fits the directory as it is gets its slot by one store; otherwise a whole new
//! directory is built in the other place and switched to by one store.
//!
//! [`Control::directory`]: crate::layout::Control::directory

#[cfg(feature = "std")]
use super::Key;
use crate::hash::below;
use crate::layout::Directory;

/// Where a key's displacement is, within its directory.
#[inline(always)]
#[must_use]
pub const fn displacement_index(hash: u64, directory: &Directory) -> u32 {
    below(hash as u32, directory.displacements)
}

/// Where a key's slot is, within its directory.
#[inline(always)]
#[must_use]
pub const fn slot_index(hash: u64, displacement: u32, directory: &Directory) -> u32 {
    let mixed = ((hash >> 32) as u32 ^ displacement).wrapping_mul(0x9e37_79b1);
    below(
        mixed ^ (mixed >> 15).wrapping_mul(0x85eb_ca77),
        directory.slots,
    )
}

/// A directory made whole: what to write before switching to it.
#[cfg(feature = "std")]
#[derive(Clone, Debug)]
pub struct Plan {
    /// The directory's parameters.
    pub directory: Directory,
    /// Its displacements.
    pub displacements: Vec<u32>,
    /// For each slot the index of its key, or none.
    pub slots: Vec<Option<u32>>,
}

/// Plans a directory for distinct keys, at most half as many as there are slots.
///
/// `seed` is where the search for a seed begins; with half of the slots empty the first one
/// nearly always does.
///
/// # Panics
///
/// When the keys are not distinct, or more than the slots.
#[cfg(feature = "std")]
#[must_use]
pub fn plan(keys: &[Key], mut seed: u64, most_displacements: u32, most_slots: u32) -> Plan {
    assert!(
        keys.len() <= most_slots as usize / 2,
        "a directory stays half empty"
    );
    let count = u32::try_from(keys.len()).expect("fewer keys than slots");
    if count == 0 {
        return Plan {
            directory: Directory {
                seed,
                displacements: 0,
                slots: 0,
            },
            displacements: Vec::new(),
            slots: Vec::new(),
        };
    }
    // A directory that is small while services are few stays in the cache.
    let directory = Directory {
        seed,
        displacements: (count.div_ceil(2))
            .next_power_of_two()
            .min(most_displacements),
        slots: (count * 4).next_power_of_two().min(most_slots),
    };
    loop {
        if let Some(plan) = attempt(keys, Directory { seed, ..directory }) {
            return plan;
        }
        seed = crate::hash::finish(seed.wrapping_add(1));
    }
}

#[cfg(feature = "std")]
fn attempt(keys: &[Key], directory: Directory) -> Option<Plan> {
    /// Displacements tried for one group of keys before another seed is.
    const TRIES: u32 = 10_000;

    let hashes: Vec<u64> = keys.iter().map(|key| key.hash(directory.seed)).collect();
    let mut groups = vec![Vec::new(); directory.displacements as usize];
    for (index, hash) in hashes.iter().enumerate() {
        groups[displacement_index(*hash, &directory) as usize].push(index as u32);
    }
    let mut order: Vec<u32> = (0..directory.displacements).collect();
    order.sort_by_key(|group| std::cmp::Reverse(groups[*group as usize].len()));

    let mut displacements = vec![0; directory.displacements as usize];
    let mut slots: Vec<Option<u32>> = vec![None; directory.slots as usize];
    for group in order {
        let members = &groups[group as usize];
        if members.is_empty() {
            break;
        }
        let fits = |displacement: u32, taken: &mut Vec<u32>| {
            taken.clear();
            members.iter().all(|member| {
                let slot = slot_index(hashes[*member as usize], displacement, &directory);
                let free = slots[slot as usize].is_none() && !taken.contains(&slot);
                taken.push(slot);
                free
            })
        };
        let mut taken = Vec::with_capacity(members.len());
        let displacement = (0..TRIES)
            .map(|i| i.wrapping_mul(0x9e37_79b9))
            .find(|displacement| fits(*displacement, &mut taken))?;
        displacements[group as usize] = displacement;
        for (member, slot) in members.iter().zip(taken) {
            slots[slot as usize] = Some(*member);
        }
    }
    Some(Plan {
        directory,
        displacements,
        slots,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Addr, Port};
    use std::collections::HashSet;

    fn keys(count: u32) -> Vec<Key> {
        (0..count)
            .map(|i| {
                let addr = Addr::from_v4_word((0x0a00_0000 + i / 3).to_be());
                Key::new(addr, Port::new(80 + (i % 3) as u16), 6)
            })
            .collect()
    }

    #[test]
    fn every_key_is_found_in_a_slot_of_its_own() {
        for count in [0, 1, 2, 3, 10, 1000, 10_000, 16_384] {
            let keys = keys(count);
            let plan = plan(&keys, 42, 4096, 32_768);
            let mut seen = HashSet::new();
            for (index, key) in keys.iter().enumerate() {
                let hash = key.hash(plan.directory.seed);
                let displacement =
                    plan.displacements[displacement_index(hash, &plan.directory) as usize];
                let slot = slot_index(hash, displacement, &plan.directory);
                assert_eq!(plan.slots[slot as usize], Some(index as u32));
                assert!(seen.insert(slot));
            }
        }
    }

    #[test]
    fn ports_and_protocols_tell_keys_apart() {
        let addr = Addr::from_v4_word(1);
        let a = Key::new(addr, Port::new(80), 6);
        assert_ne!(a, Key::new(addr, Port::new(80), 17));
        assert_ne!(a, Key::new(addr, Port::new(81), 6));
        assert_ne!(a.hash(1), a.hash(2));
    }
}
