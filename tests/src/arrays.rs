//! The arrays of [`Memory`] as the bytes that maps hold.

use lb_common::layout::maps;
use lb_common::memory::Memory;
use std::cell::Cell;
use zerocopy::{Immutable, IntoBytes};

/// One of the arrays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// The map's name.
    pub name: &'static str,
    /// Bytes of a value.
    pub value: usize,
    /// Every value, one behind the other.
    pub bytes: Vec<u8>,
    /// Whether the map has such an array for each CPU.
    pub per_cpu: bool,
}

impl Array {
    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.value
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Says how `other`'s bytes differ from this array's; none when they do not.
    #[must_use]
    pub fn difference(&self, other: &[u8]) -> Option<String> {
        let values = self.bytes.chunks(self.value).zip(other.chunks(self.value));
        let mut differing = values.enumerate().filter(|(_, (a, b))| a != b);
        if let Some((index, (a, b))) = differing.next() {
            return Some(format!("{}[{index}]: {a:02x?} and {b:02x?}", self.name));
        }
        (self.bytes.len() != other.len()).then(|| format!("{}: other lengths", self.name))
    }
}

/// Every array, in the order of the maps' names in the layout.
#[must_use]
pub fn arrays(memory: &Memory) -> [Array; 18] {
    let Memory {
        control,
        displacements,
        slots,
        services,
        service_states,
        members,
        servers,
        server_states,
        traffic,
        reasons,
        flows,
        flow_details,
        ports,
        tables,
        hints,
        rules,
        back_ways,
        answers,
        punts: _,
        route: _,
        resent: _,
        random: _,
        mtu: _,
        now: _,
        ingress: _,
        sizes: _,
    } = memory;
    let per_cpu = |array| Array {
        per_cpu: true,
        ..array
    };
    [
        plain(maps::CONTROL, std::slice::from_ref(control)),
        plain(maps::DISPLACEMENTS, displacements),
        plain(maps::SLOTS, slots),
        plain(maps::SERVICES, services),
        cells(maps::SERVICE_STATES, service_states),
        plain(maps::MEMBERS, members),
        plain(maps::SERVERS, servers),
        cells(maps::SERVER_STATES, server_states),
        per_cpu(cells(maps::TRAFFIC, traffic)),
        per_cpu(cells(maps::REASONS, reasons)),
        cells(maps::FLOWS, flows),
        cells(maps::FLOW_DETAILS, flow_details),
        plain(maps::PORTS, ports),
        plain(maps::TABLES, tables),
        plain(maps::HINTS, hints),
        plain(maps::RULES, rules),
        cells(maps::BACK_WAYS, back_ways),
        per_cpu(cells(maps::ANSWERS, answers)),
    ]
}

fn plain<T: IntoBytes + Immutable>(name: &'static str, values: &[T]) -> Array {
    Array {
        name,
        value: size_of::<T>(),
        bytes: values.as_bytes().to_vec(),
        per_cpu: false,
    }
}

fn cells<T: IntoBytes + Immutable + Copy>(name: &'static str, values: &[Cell<T>]) -> Array {
    let values: Vec<T> = values.iter().map(Cell::get).collect();
    plain(name, &values)
}
