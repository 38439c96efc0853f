//! The datapath over ordinary memory, under random packets, and a full table.

mod delivery;
mod fit;
mod flows;
mod frames;
