//! Packets as bytes: the [`Frame`] seam and a view for each header.
//!
//! A view is a fixed-size window onto a frame with accessors by the RFC's names. Constant
//! offsets into an array have no panic path, so in the kernel a window is one bounds check and
//! plain loads. Getters give numbers in host order unless they say "word": a word is the bytes
//! as they lie, for fields that are only compared, hashed and copied.

pub mod checksum;
mod ethernet;
mod ipv4;
mod tcp;
mod udp;

pub use ethernet::{Ethernet, MacAddr, ethertype};
pub use ipv4::Ipv4;
pub use tcp::{Tcp, flags as tcp_flags};
pub use udp::Udp;

/// A packet's bytes, from the Ethernet header on.
pub trait Frame {
    /// The frame's length in bytes.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A window of `N` bytes at `offset`, or `None` when the frame ends before it.
    ///
    /// Only one window at a time can exist: that two of them overlap is a compile error.
    fn window<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;
}

/// Frames of the host.
impl Frame for [u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn window<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.get_mut(offset..)?.first_chunk_mut()
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
