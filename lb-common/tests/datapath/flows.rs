//! The flow table against a map that forgets nothing but what is over.

use crate::frames::{Flow, TCP, UDP, send, tables};
use lb_common::flow::Word;
use lb_common::layout::Sizes;
use lb_common::memory::Memory;
use lb_common::reason::Reason;
use lb_common::state::Class;
use lb_common::state::Direction;
use lb_common::state::tcp::{State, next};
use lb_common::time::Tick;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SERVERS: u32 = 5;
const CLIENT: u32 = 0xc000_0200;

#[derive(Clone, Copy, Debug)]
enum Step {
    Packet {
        client: u32,
        protocol: u8,
        flags: u8,
    },
    Pass(u32),
}

fn step(clients: u32, pass: u32) -> impl Strategy<Value = Step> {
    let flags = prop::sample::select(vec![0x02u8, 0x02, 0x10, 0x10, 0x18, 0x11, 0x04, 0x12, 0x00]);
    let protocol = prop::sample::select(vec![TCP, TCP, UDP]);
    prop_oneof![
        9 => (0..clients, protocol, flags).prop_map(|(client, protocol, flags)| Step::Packet {
            client,
            protocol,
            flags,
        }),
        1 => (0..pass).prop_map(Step::Pass),
    ]
}

/// What the map knows of a flow. Time is a number that does not wrap.
#[derive(Clone, Copy, Debug)]
struct Known {
    server: u32,
    class: Class,
    deadline: u64,
}

struct Model {
    flows: BTreeMap<Flow, Known>,
    /// The next server of each service, as round robin has it.
    next: BTreeMap<u8, u32>,
    now: u64,
}

impl Model {
    fn packet(&mut self, memory: &Memory, flow: Flow, flags: u8) -> Result<u32, Reason> {
        let after = |class: Option<Class>| match flow.protocol {
            TCP => next(
                Direction::InputOnly,
                class.unwrap_or(State::None.into()),
                flags,
            ),
            _ if class.is_some() => Class::UDP,
            _ => Class::UDP_FIRST,
        };
        let opens = flow.protocol == UDP || flags & 0b110 == 0b010;
        let over = |known: &Known| {
            flow.protocol == TCP && matches!(known.class.name(), "TIME_WAIT" | "CLOSE")
        };
        let known = self
            .flows
            .get(&flow)
            .filter(|known| known.deadline >= self.now);
        let (server, class) = match known {
            Some(known) if !(opens && over(known)) => (known.server, after(Some(known.class))),
            _ if opens => {
                let next = self.next.entry(flow.protocol).or_insert(0);
                let first = if flow.protocol == TCP { 0 } else { SERVERS };
                let server = first + *next;
                *next = (*next + 1) % SERVERS;
                (server, after(None))
            }
            _ => return Err(Reason::NoFlow),
        };
        let timeout = memory.control.timeouts[usize::from(class.number())];
        let deadline = self.now + u64::from(timeout);
        self.flows.insert(
            flow,
            Known {
                server,
                class,
                deadline,
            },
        );
        Ok(server)
    }
}

/// Every entry, live or not, by server: what the counts must say.
fn recount(memory: &Memory) -> Vec<(u32, u32)> {
    let mut counts = vec![(0, 0); memory.sizes.servers as usize];
    for [_, bits] in memory.flows.iter().flat_map(|bucket| bucket.get().entries) {
        let word = Word::from_bits(bits);
        if word != Word::VOID {
            let (active, inactive) = &mut counts[word.server() as usize];
            *(if word.class().is_active() {
                active
            } else {
                inactive
            }) += 1;
        }
    }
    counts
}

fn counted(memory: &Memory) -> Vec<(u32, u32)> {
    let counts = memory.server_states.iter().map(|state| state.get());
    counts.map(|state| (state.active, state.inactive)).collect()
}

fn live(memory: &Memory) -> BTreeMap<Flow, Word> {
    let mut flows = BTreeMap::new();
    for (word, details) in memory.live_flows() {
        let [a, b, c, d] = details.ports.to_ne_bytes();
        let address = |addr| match std::net::IpAddr::from(addr) {
            std::net::IpAddr::V4(v4) => v4,
            std::net::IpAddr::V6(v6) => panic!("{v6}"),
        };
        let flow = Flow {
            client: address(details.client),
            port: u16::from_be_bytes([a, b]),
            to: address(details.address),
            to_port: u16::from_be_bytes([c, d]),
            protocol: details.protocol as u8,
        };
        let twice = flows.insert(flow, word);
        assert_eq!(twice, None, "{flow:?} has two entries");
    }
    flows
}

proptest! {
    #[test]
    fn a_table_with_room_is_a_map(
        start in any::<u32>(),
        steps in prop::collection::vec(step(12, 400), 1..300),
    ) {
        let sizes = Sizes { services: 2, servers: 2 * SERVERS, flows: 1000 };
        let mut memory = tables(sizes, &[1; SERVERS as usize]);
        memory.now = Tick::new(start);
        let mut model = Model { flows: BTreeMap::new(), next: BTreeMap::new(), now: 0 };
        for step in steps {
            match step {
                Step::Pass(ticks) => {
                    memory.now = memory.now.after(ticks);
                    model.now += u64::from(ticks);
                }
                Step::Packet { client, protocol, flags } => {
                    let flow = Flow::new(CLIENT + client, 1000, protocol);
                    let expected = model.packet(&memory, flow, flags);
                    prop_assert_eq!(send(&memory, &mut flow.frame(flags)), expected);
                }
            }
            prop_assert_eq!(counted(&memory), recount(&memory));
            let expected: BTreeMap<Flow, (u32, u8, u32)> = model
                .flows
                .iter()
                .filter(|(_, known)| known.deadline >= model.now)
                .map(|(flow, known)| {
                    let left = (known.deadline - model.now) as u32;
                    (*flow, (known.server, known.class.number(), left))
                })
                .collect();
            let found: BTreeMap<Flow, (u32, u8, u32)> = live(&memory)
                .into_iter()
                .map(|(flow, word)| {
                    let left = word.deadline().remaining(memory.now);
                    (flow, (word.server(), word.class().number(), left))
                })
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_full_table_keeps_its_promises(
        start in any::<u32>(),
        steps in prop::collection::vec(step(40, 20), 1..400),
    ) {
        // Eight entries for up to eighty flows.
        let sizes = Sizes { services: 2, servers: 2 * SERVERS, flows: 4 };
        let mut memory = tables(sizes, &[1; SERVERS as usize]);
        memory.now = Tick::new(start);
        let longest = u64::from(memory.control.timeouts[State::Established as usize]);
        let (mut by_hash, mut while_ends) = (BTreeMap::new(), BTreeMap::new());
        let mut now = 0;
        for step in steps {
            let before = live(&memory);
            let (flow, flags) = match step {
                Step::Pass(ticks) => {
                    memory.now = memory.now.after(ticks);
                    now += u64::from(ticks);
                    continue;
                }
                Step::Packet { client, protocol, flags } => {
                    (Flow::new(CLIENT + client, 1000, protocol), flags)
                }
            };
            let sent = send(&memory, &mut flow.frame(flags));
            let after = live(&memory);
            prop_assert_eq!(counted(&memory), recount(&memory));
            for (other, word) in &before {
                if word.class().is_established() && *other != flow {
                    prop_assert_eq!(after.get(other), Some(word), "an established flow moved");
                }
            }
            match (sent, after.get(&flow)) {
                (Ok(server), Some(word)) => prop_assert_eq!(server, word.server()),
                (Ok(server), None) => {
                    let known = *by_hash.entry(flow).or_insert(server);
                    prop_assert_eq!(server, known, "a flow without an entry moved");
                    while_ends.insert(flow.protocol, now + longest);
                }
                (Err(reason), entry) => {
                    prop_assert_eq!(reason, Reason::NoFlow);
                    prop_assert_eq!(entry, None);
                    let expected = while_ends.get(&flow.protocol).is_some_and(|end| now <= *end);
                    prop_assert!(!expected, "a flow may be without an entry, and is refused");
                }
            }
        }
    }
}
