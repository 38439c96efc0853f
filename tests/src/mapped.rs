//! A BPF array as bytes.
//!
//! Whole arrays are copied in and out. The programs under test run only when a test asks for it,
//! so nothing changes during a copy.
#![expect(unsafe_code, reason = "the kernel's arrays are mapped memory")]

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::slice;

/// An array map made with BPF_F_MMAPABLE.
#[derive(Debug)]
pub(crate) struct Mapped {
    base: NonNull<c_void>,
    len: usize,
    value: usize,
    /// Distance between two values (kernel/bpf/arraymap.c: `array_map_alloc`).
    stride: usize,
    _map: MapData,
}

impl Mapped {
    /// Maps an array whose values have `value` bytes.
    ///
    /// # Errors
    ///
    /// When its values are of another size, or the kernel refuses.
    pub(crate) fn new(map: MapData, value: usize) -> Result<Self> {
        let info = map.info()?;
        let (len, size) = (info.max_entries() as usize, info.value_size() as usize);
        ensure!(
            size == value,
            "the object's values have {size} bytes, not {value}"
        );
        let stride = value.next_multiple_of(8);
        let bytes = NonZeroUsize::new(stride * len).context("the map is empty")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping of a map's memory at an address of the kernel's choice.
        let base = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, map.fd(), 0) }?;
        Ok(Self {
            base,
            len,
            value,
            stride,
            _map: map,
        })
    }

    /// The values, one behind the other.
    pub(crate) fn read(&self) -> Vec<u8> {
        // SAFETY: the mapping made in `new`; no program runs during the copy.
        let bytes = unsafe {
            slice::from_raw_parts(self.base.as_ptr().cast::<u8>(), self.stride * self.len)
        };
        if self.stride == self.value {
            return bytes.to_vec();
        }
        let values = bytes.chunks_exact(self.stride);
        values
            .flat_map(|value| &value[..self.value])
            .copied()
            .collect()
    }

    /// Writes the first values, and zeros behind them.
    pub(crate) fn write(&mut self, values: &[u8]) {
        // SAFETY: the mapping made in `new`; no program runs during the copy, and `&mut self`
        // makes it this process's only access.
        let bytes = unsafe {
            slice::from_raw_parts_mut(self.base.as_ptr().cast::<u8>(), self.stride * self.len)
        };
        assert!(values.len() <= self.value * self.len, "more than fits");
        bytes.fill(0);
        for (to, from) in bytes
            .chunks_exact_mut(self.stride)
            .zip(values.chunks_exact(self.value))
        {
            to[..self.value].copy_from_slice(from);
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, of which no pointer outlives `self`.
        let unmapped = unsafe { munmap(self.base, self.stride * self.len) };
        debug_assert!(unmapped.is_ok());
    }
}
