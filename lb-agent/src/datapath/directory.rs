//! The directory of services in its two places.

use super::grace;
use super::maps::Maps;
use lb_common::layout::{Control, Directory, DirectorySlot, Sizes};
use lb_common::service::{Key, directory as place};
use std::collections::{HashMap, HashSet};
use std::mem::{offset_of, size_of};
use std::sync::atomic::Ordering;

/// The writer of the directory: which record each key has.
#[derive(Debug)]
pub(crate) struct Writer {
    sizes: Sizes,
    /// The keys of the directory that counts, with their slots.
    slots: HashMap<Key, u32>,
    /// Slots emptied since the last grace period: a program may have read their key.
    emptied: HashSet<u32>,
    /// The directory was switched since then: a program may still read the other one.
    switched: bool,
}

impl Writer {
    /// Reads the directory that counts; returns each key's record as well.
    pub(crate) fn read(maps: &Maps, sizes: Sizes) -> (Self, Vec<(Key, u32)>) {
        let mut writer = Self {
            sizes,
            slots: HashMap::new(),
            emptied: HashSet::new(),
            switched: true,
        };
        let mut records = Vec::new();
        let (which, directory) = (which(maps), current(maps));
        for slot in 0..directory.slots.max(1) {
            let index = which * sizes.slots() + slot;
            let DirectorySlot {
                key,
                record,
                zero: _,
            } = maps.slots.load(index);
            if let Some(record) = record.checked_sub(1) {
                writer.slots.insert(key, index);
                records.push((key, record));
            }
        }
        (writer, records)
    }

    /// Removes keys and gives others their records, in that order.
    pub(crate) fn write(
        &mut self,
        maps: &Maps,
        removed: &[Key],
        written: &[(Key, u32)],
    ) -> anyhow::Result<()> {
        let placed = self.place(maps, removed, written)?;
        for key in removed {
            if let Some(slot) = self.slots.remove(key) {
                publish(maps, slot, None);
                self.emptied.insert(slot);
            }
        }
        for (key, record) in written {
            if let Some(slot) = placed.get(key).or_else(|| self.slots.get(key)).copied() {
                if !self.slots.contains_key(key) {
                    let slot_value = DirectorySlot {
                        key: *key,
                        ..DirectorySlot::default()
                    };
                    maps.slots.store(slot, slot_value);
                    self.slots.insert(*key, slot);
                }
                publish(maps, slot, Some(*record));
            }
        }
        Ok(())
    }

    /// Slots for the keys that have none, in the directory as it is, or in a new one that is
    /// switched to here.
    fn place(
        &mut self,
        maps: &Maps,
        removed: &[Key],
        written: &[(Key, u32)],
    ) -> anyhow::Result<HashMap<Key, u32>> {
        let new: Vec<Key> = written
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| !self.slots.contains_key(key))
            .collect();
        if new.is_empty() {
            return Ok(HashMap::new());
        }
        if let Some(placed) = self.place_here(maps, &new) {
            if placed.values().any(|slot| self.emptied.contains(slot)) {
                self.wait()?;
            }
            return Ok(placed);
        }
        self.rebuild(maps, removed, &new)?;
        Ok(HashMap::new())
    }

    fn place_here(&self, maps: &Maps, new: &[Key]) -> Option<HashMap<Key, u32>> {
        let (which, directory) = (which(maps), current(maps));
        // Past half full, a new directory is larger.
        if (self.slots.len() + new.len()) * 2 > directory.slots as usize {
            return None;
        }
        let mut placed = HashMap::new();
        for key in new {
            let hash = key.hash(directory.seed);
            let group = place::displacement_index(hash, &directory);
            let displacement = maps
                .displacements
                .load(which * self.sizes.displacements() + group);
            let slot =
                which * self.sizes.slots() + place::slot_index(hash, displacement, &directory);
            let free = maps.slots.load(slot).record == 0 && !placed.values().any(|s| *s == slot);
            if !free {
                return None;
            }
            placed.insert(*key, slot);
        }
        Some(placed)
    }

    /// Builds the other directory with the keys that stay and the new ones, and switches to it.
    /// The new ones have no record yet.
    fn rebuild(&mut self, maps: &Maps, removed: &[Key], new: &[Key]) -> anyhow::Result<()> {
        if self.switched {
            self.wait()?;
        }
        let removed: HashSet<&Key> = removed.iter().collect();
        let mut keys: Vec<Key> = self
            .slots
            .keys()
            .filter(|key| !removed.contains(key))
            .copied()
            .collect();
        keys.extend(new);
        anyhow::ensure!(
            keys.len() <= self.sizes.services as usize,
            "the directory holds {} services; {} are wanted",
            self.sizes.services,
            keys.len()
        );
        let other = 1 - which(maps);
        let seed = current(maps).seed;
        let (displacements, slots) = (self.sizes.displacements(), self.sizes.slots());
        let plan = place::plan(&keys, seed, displacements, slots);

        for (index, displacement) in plan.displacements.iter().enumerate() {
            maps.displacements
                .store(other * displacements + index as u32, *displacement);
        }
        let mut moved = HashMap::new();
        for (index, key) in plan.slots.iter().enumerate() {
            let slot = other * slots + index as u32;
            let mut value = DirectorySlot::default();
            if let Some(key) = key.map(|key| keys[key as usize]) {
                let record = self
                    .slots
                    .get(&key)
                    .map_or(0, |old| maps.slots.load(*old).record);
                value = DirectorySlot {
                    key,
                    record,
                    zero: [0; 2],
                };
                moved.insert(key, slot);
            }
            maps.slots.store(slot, value);
        }
        let at = offset_of!(Control, directories) + other as usize * size_of::<Directory>();
        let Directory {
            seed,
            displacements,
            slots,
        } = plan.directory;
        maps.control.word64(0, at).store(seed, Ordering::Relaxed);
        maps.control
            .word32(0, at + offset_of!(Directory, displacements))
            .store(displacements, Ordering::Relaxed);
        maps.control
            .word32(0, at + offset_of!(Directory, slots))
            .store(slots, Ordering::Relaxed);
        maps.control
            .word32(0, offset_of!(Control, directory))
            .store(other, Ordering::SeqCst);
        self.slots = moved;
        self.switched = true;
        Ok(())
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        grace::wait()?;
        self.emptied.clear();
        self.switched = false;
        Ok(())
    }
}

fn publish(maps: &Maps, slot: u32, record: Option<u32>) {
    let value = record.map_or(0, |record| record + 1);
    maps.slots
        .word32(slot, offset_of!(DirectorySlot, record))
        .store(value, Ordering::Release);
}

fn which(maps: &Maps) -> u32 {
    maps.control.load(0).directory & 1
}

fn current(maps: &Maps) -> Directory {
    maps.control.load(0).directories[which(maps) as usize]
}
