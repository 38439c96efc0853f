//! What the program hands to the agent: packets that it cannot decide on by itself.
//!
//! They come through a ring buffer as they came in, and whatever goes on goes through the program
//! once more, which knows it by a token. So there is one datapath and not two: the agent decides
//! when a packet goes and what is in it, never where.
//!
//! | file | holds |
//! |---|---|
//! | `reader` | the thread: ring buffer in, frames out; decides nothing |
//! | `held` | fragments that wait for the first one of their packet; pure |
//! | `path` | links on the way to tunnelled servers that are smaller than was thought; pure |
//! | `helper` | where application helpers plug in |

mod held;
mod helper;
mod path;
mod reader;

pub(crate) use helper::{Ends, Expectation, Side};
pub(crate) use path::TooBig;
pub(crate) use reader::Reader;
