//! The application helpers of ipvs: what it takes to balance protocols that name addresses and
//! ports in their payload, or tell calls apart by it.
//!
//! Machines without I/O, for the slow path: the datapath hands packets of helped services to the
//! agent as whole frames, before it translates any address, and gets back what is to go on.
//!
//! - [`ftp`] (`net/netfilter/ipvs/ip_vs_ftp.c`): FTP control connections of masqueraded servers.
//! - [`sip`] (`net/netfilter/ipvs/ip_vs_pe_sip.c`): the persistence engine `sip`.
//!
//! [`segment`] finds TCP in a frame and writes it anew; it knows no application.

#[cfg(test)]
mod frames;
pub(crate) mod ftp;
mod segment;
pub(crate) mod sip;
