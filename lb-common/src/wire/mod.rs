//! Packets as bytes: the [`Frame`] seam and a view for each header.
//!
//! A view is a fixed-size window onto a frame with accessors by the RFC's names. Constant
//! offsets into an array have no panic path, so in the kernel a window is one bounds check and
//! plain loads. Getters give numbers in host order unless they say "word": a word is the bytes
//! as they lie, for fields that are only compared, hashed and copied.

pub mod checksum;
pub mod crc32c;
mod ethernet;
mod gre;
mod gue;
pub mod icmp;
pub mod ipv4;
mod ipv6;
mod sctp;
mod tcp;
mod udp;
mod vlan;

pub use ethernet::{Ethernet, MacAddr, ethertype};
pub use gre::{Gre, GreChecksum, gre_flags};
pub use gue::Gue;
pub use icmp::Icmp;
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use sctp::Sctp;
pub use tcp::{Tcp, flags as tcp_flags};
pub use udp::Udp;
pub use vlan::Vlan;

use zerocopy::IntoBytes as _;

/// A packet's bytes, from the Ethernet header on.
pub trait Frame {
    /// The length in bytes of the part of the frame that windows see. Headers are within it.
    fn len(&self) -> usize;

    /// The length in bytes of the whole frame, which drivers may keep in several buffers.
    fn total(&self) -> usize {
        self.len()
    }

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A window of `N` bytes at `offset`, or `None` when the frame ends before it.
    ///
    /// Only one window at a time can exist: that two of them overlap is a compile error.
    fn window<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;

    /// Copies `len` bytes from `offset` on to the front of `words`, which hold them as they lie, or
    /// gives `None` when the frame ends before, `len` is 0, or `words` are fewer. Sees the whole
    /// frame, all its buffers, and costs a call where a window costs none.
    fn load<const N: usize>(&mut self, offset: u32, len: u32, words: &mut [u64; N]) -> Option<()>;

    /// Adds `bytes` bytes in front of the Ethernet header, or `None` when there is no room for
    /// them; the frame is then as it was. What the new bytes hold is undefined, and all offsets
    /// known before are off by `bytes`.
    fn grow(&mut self, bytes: usize) -> Option<()>;

    /// Takes `bytes` bytes from the frame's head, or `None` when that would leave less than an
    /// Ethernet header; the frame is then as it was. All offsets known before are off by `bytes`.
    fn shrink(&mut self, bytes: usize) -> Option<()>;

    /// Cuts the frame off behind `len` bytes, or `None` when it cannot be.
    fn truncate(&mut self, len: usize) -> Option<()>;
}

/// Frames of the host that keep their head where it is.
impl Frame for [u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn window<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.get_mut(offset..)?.first_chunk_mut()
    }

    fn load<const N: usize>(&mut self, offset: u32, len: u32, words: &mut [u64; N]) -> Option<()> {
        let bytes = self.get(offset as usize..)?.get(..len as usize)?;
        let place = words.as_mut_bytes().get_mut(..bytes.len())?;
        place.copy_from_slice(bytes);
        (len != 0).then_some(())
    }

    fn grow(&mut self, _bytes: usize) -> Option<()> {
        None
    }

    fn shrink(&mut self, _bytes: usize) -> Option<()> {
        None
    }

    fn truncate(&mut self, _len: usize) -> Option<()> {
        None
    }
}

/// A frame of the host whose head can move, as a driver's buffer has it.
#[cfg(feature = "std")]
#[derive(Clone, Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

#[cfg(feature = "std")]
impl Buffer {
    /// The room in front of a new frame, in bytes: XDP_PACKET_HEADROOM of linux/bpf.h.
    pub const HEADROOM: usize = 256;

    /// A buffer that holds `frame`. Its headroom is not zero, so that a header of which a field
    /// was never written shows.
    #[must_use]
    pub fn new(frame: &[u8]) -> Self {
        let mut bytes = vec![0xee; Self::HEADROOM];
        bytes.extend_from_slice(frame);
        Self {
            bytes,
            start: Self::HEADROOM,
        }
    }

    /// The frame as it is now.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

#[cfg(feature = "std")]
impl Frame for Buffer {
    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn window<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.bytes.get_mut(self.start..)?.window(offset)
    }

    fn load<const N: usize>(&mut self, offset: u32, len: u32, words: &mut [u64; N]) -> Option<()> {
        self.bytes.get_mut(self.start..)?.load(offset, len, words)
    }

    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.start = self.start.checked_sub(bytes)?;
        Some(())
    }

    fn shrink(&mut self, bytes: usize) -> Option<()> {
        let left = self.len().checked_sub(bytes)?;
        if left < Ethernet::LEN {
            return None;
        }
        self.start += bytes;
        Some(())
    }

    fn truncate(&mut self, len: usize) -> Option<()> {
        if len > self.len() {
            return None;
        }
        self.bytes.truncate(self.start + len);
        Some(())
    }
}

/// Defines a view: a window of a fixed size.
macro_rules! view {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        pub struct $name<'a>(&'a mut [u8; $len]);

        impl<'a> $name<'a> {
            /// The header's length in bytes, without options.
            pub const LEN: usize = $len;

            /// The header at `offset`, or `None` when the frame ends before it does.
            #[inline(always)]
            pub fn at<F: $crate::wire::Frame + ?Sized>(
                frame: &'a mut F,
                offset: usize,
            ) -> Option<Self> {
                Some(Self(frame.window::<$len>(offset)?))
            }

            /// The `N` bytes from `AT` on, by one load. Bytes that are read one by one the
            /// compiler may load, and even keep on the stack, one by one.
            #[inline(always)]
            fn bytes<const AT: usize, const N: usize>(&self) -> [u8; N] {
                const { assert!(AT + N <= $len) };
                let mut bytes = [0; N];
                bytes.copy_from_slice(&self.0[AT..AT + N]);
                bytes
            }
        }
    };
}
use view;

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn a_head_moves_within_its_buffer() {
        let frame: Vec<u8> = (0..40).collect();
        let mut buffer = Buffer::new(&frame);
        assert_eq!(buffer.shrink(27), None);
        assert_eq!(buffer.frame(), frame);
        assert_eq!(buffer.shrink(26), Some(()));
        assert_eq!(buffer.frame(), &frame[26..]);
        assert_eq!(buffer.window::<2>(0), Some(&mut [26, 27]));
        assert_eq!(buffer.window::<2>(13), None);
        assert_eq!(buffer.grow(Buffer::HEADROOM + 27), None);
        assert_eq!(buffer.grow(Buffer::HEADROOM + 26), Some(()));
        assert_eq!(buffer.len(), Buffer::HEADROOM + 40);
        assert!(buffer.frame().ends_with(&frame));
    }

    #[test]
    fn the_head_of_a_slice_stays() {
        let mut bytes = [0; 64];
        assert_eq!(bytes.as_mut_slice().grow(1), None);
        assert_eq!(bytes.as_mut_slice().shrink(1), None);
    }
}
