//! The promise to aya that the shared layouts may be copied byte by byte.
#![expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]

use super::layout::{Feed, Server, Tally};

// SAFETY: `repr(C)`, integers and bytes only; `layout` asserts that there is no padding.
unsafe impl aya::Pod for Feed {}
// SAFETY: as above.
unsafe impl aya::Pod for Server {}
// SAFETY: as above.
unsafe impl aya::Pod for Tally {}
