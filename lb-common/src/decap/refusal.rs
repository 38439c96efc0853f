//! Why a packet stayed in its tunnel, or has none.

/// Declares [`Refusal`] from one table, so that code, action, label and text cannot part.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $action:ident, $label:literal, $text:literal;)*) => {
        /// Why a packet was not taken out of a tunnel: return value, counter, label and text.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Refusal { $($(#[$doc])* $name = $code,)* }

        impl Refusal {
            /// Every refusal, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What becomes of the packet.
            #[inline(always)]
            #[must_use]
            pub const fn action(self) -> Action {
                match self { $(Self::$name => Action::$action,)* }
            }

            /// The counter's label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// A sentence for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

pub use crate::reason::Action;

refusals! {
    /// No packet of a tunnel that ends here.
    Plain = 0, Pass, "plain", "not a packet of these tunnels";
    /// An outer header is cut short, contradicts the packet's length or has a wrong checksum.
    Malformed = 1, Pass, "malformed", "an outer header is cut short, inconsistent or has a wrong checksum";
    /// A fragment of what may be a tunnel's packet. The stack puts it together, but what comes of
    /// it does not pass here again.
    Fragment = 2, Pass, "fragment", "a fragment of an outer packet: the path to this host is too narrow";
    /// An outer IPv4 header with options, or a tunnel header with a version, a flag or a payload
    /// that is not taken off here.
    Unsupported = 3, Pass, "unsupported", "an outer header with an option, a version or a payload that is not known";
    /// The inner destination is none of the virtual addresses.
    NotVirtual = 4, Pass, "not_virtual", "the inner destination is none of the virtual addresses";
    /// The packet was sent to another host.
    OtherHost = 5, Pass, "other_host", "the outer packet is for another host";
    /// The inner packet contradicts its own or the outer packet's length.
    Inner = 6, Drop, "inner", "the inner packet contradicts its own or the outer length";
    /// The outer header says that congestion was met, and the inner packet's sender does not know
    /// of such marks: a loss tells it.
    Congestion = 7, Drop, "congestion", "congestion was met, of which the sender learns by the loss";
    /// The kernel did not let the outer headers go.
    NoHead = 8, Drop, "no_head", "the kernel did not let the outer headers go";
}

#[cfg(test)]
mod tests {
    use super::super::{EVENTS, Tunnel, event_index};
    use super::*;

    #[test]
    fn every_event_has_a_counter_and_a_label_of_its_own() {
        let indices: Vec<u32> = (Tunnel::ALL.into_iter().map(Ok))
            .chain(Refusal::ALL.iter().copied().map(Err))
            .map(event_index)
            .collect();
        assert_eq!(indices, (0..EVENTS).collect::<Vec<_>>());
        let mut labels: Vec<_> = (Refusal::ALL.iter().map(|refusal| refusal.label()))
            .chain(Tunnel::ALL.map(Tunnel::name))
            .collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), EVENTS as usize);
    }
}
