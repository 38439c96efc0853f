//! What the tests share.
//!
//! * Vectors: a [`case`](case::case) sends [`packet`]s through a [`twin`], host and [`kernel`] in
//!   step, and an [`oracle`] that is not lb judges what comes out.
//!   A [`real_server`]'s program has a twin of its own, for packets in a [`tunnel`].
//! * End to end: a [`scene`] is a network with clients, a director and real servers; an
//!   [`encapsulator`] is a director by hand.

pub mod arrays;
pub mod case;
pub mod director;
pub mod frame;
pub mod kernel;
mod mapped;
pub mod oracle;
pub mod packet;
pub mod real_server;
pub mod tunnel;
pub mod twin;

pub mod dns;
pub mod encapsulator;
pub mod ftp;
pub mod network;
pub mod nginx;
pub mod scene;
pub mod sniff;
pub mod transfer;
pub mod udp;
