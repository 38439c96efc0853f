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
//! | `helper` | whose packets application helpers see |
//! | `ftp`, `sip` | packets to the machines of [`crate::helper`], and what they say into the flow table |
//! | `journal` | what is known of FTP connections, on disk |

mod ftp;
mod held;
mod helper;
mod journal;
mod path;
mod reader;
mod sip;

pub(crate) use helper::{Ends, Side};
pub(crate) use path::TooBig;
pub(crate) use reader::Reader;
