//! The maps as [`Tables`]; flows apart, which are in `buckets`.
#![expect(
    unsafe_code,
    reason = "map memory is raw pointers, and bpf_loop wants a callback"
)]

use crate::atomic::field;
use crate::maps;
use aya_ebpf::{
    helpers::{bpf_jiffies64, bpf_loop},
    programs::XdpContext,
};
use core::ffi::c_void;
use core::ptr::from_mut;
use lb_common::datapath::Tables;
use lb_common::flow::Counts;
use lb_common::layout::{Control, Directory, DirectorySlot, Member, Service, port_index};
use lb_common::reason::Reason;
use lb_common::repeat::{Body, Repeat};
use lb_common::state::Class;
use lb_common::time::Tick;
use lb_common::wire::MacAddr;

/// The maps, for one packet.
pub(crate) struct Maps<'a> {
    context: &'a XdpContext,
    control: *mut Control,
    /// Which directory counts; read once, so that all of a lookup is of one directory.
    which: u32,
}

impl<'a> Maps<'a> {
    /// The maps; none before the agent wrote the control value.
    #[inline(always)]
    pub(crate) fn open(context: &'a XdpContext) -> Option<Self> {
        let control = maps::control(0)?;
        let which = field!(control, directory).get() & 1;
        Some(Self {
            context,
            control,
            which,
        })
    }
}

impl Tables for Maps<'_> {
    #[inline(always)]
    fn now(&self) -> Tick {
        // SAFETY: a helper without arguments, inlined by the JIT.
        let jiffies = unsafe { bpf_jiffies64() };
        Tick::new((jiffies >> (maps::TICK_SHIFT.get() & 63)) as u32)
    }

    #[inline(always)]
    fn flow_seed(&self) -> [u64; 2] {
        [
            field!(self.control, flow_seed[0]).get(),
            field!(self.control, flow_seed[1]).get(),
        ]
    }

    #[inline(always)]
    fn timeout(&self, class: Class) -> u32 {
        field!(self.control, timeouts[usize::from(class.number() & 63)]).get()
    }

    #[inline(always)]
    fn directory(&self) -> Directory {
        field!(self.control, directories[self.which as usize]).get()
    }

    #[inline(always)]
    fn displacement(&self, index: u32) -> Option<u32> {
        let base = self.which * maps::DIRECTORY_DISPLACEMENTS.get();
        maps::displacement(base + index).map(|displacement| field!(displacement).get())
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<DirectorySlot> {
        let slot = maps::slot(self.which * maps::DIRECTORY_SLOTS.get() + index)?;
        Some(DirectorySlot {
            key: field!(slot, key).get(),
            record: field!(slot, record).get(),
            zero: [0; 2],
        })
    }

    #[inline(always)]
    fn service(&self, record: u32) -> Option<&Service> {
        maps::service(record).map(|service| {
            // SAFETY: a value in map memory; the agent does not write a record that a slot names,
            // nor one that a running program may have found through a slot.
            unsafe { &*service }
        })
    }

    #[inline(always)]
    fn turn(&self, service: u32) -> u64 {
        maps::service_state(service).map_or(0, |state| field!(state, turn).get())
    }

    #[inline(always)]
    fn swap_turn(&self, service: u32, old: u64, new: u64) -> bool {
        maps::service_state(service).is_some_and(|state| field!(state, turn).swap_if(old, new))
    }

    #[inline(always)]
    fn untracked(&self, service: u32) -> Option<Tick> {
        let until = field!(maps::service_state(service)?, untracked).get();
        until.checked_sub(1).map(Tick::new)
    }

    #[inline(always)]
    fn set_untracked(&self, service: u32, until: Tick) {
        if let Some(state) = maps::service_state(service) {
            field!(state, untracked).set(until.bits() + 1);
        }
    }

    #[inline(always)]
    fn member(&self, index: u32) -> Option<Member> {
        maps::member(index).map(|member| field!(member).get())
    }

    #[inline(always)]
    fn server(&self, server: u32) -> Option<(u32, [u64; 3])> {
        let server = maps::server(server)?;
        let way = [0, 1, 2].map(|i| field!(server, way[i]).get());
        Some((field!(server, flags).get(), way))
    }

    #[inline(always)]
    fn count_flow(&self, server: u32, counts: Counts) {
        let Some(state) = maps::server_state(server) else {
            return;
        };
        if counts.connections != 0 {
            field!(state, connections).add(counts.connections.into());
        }
        if counts.active != 0 {
            field!(state, active).add(counts.active);
        }
        if counts.inactive != 0 {
            field!(state, inactive).add(counts.inactive);
        }
    }

    #[inline(always)]
    fn count_packet(&self, server: u32, bytes: u32) {
        // This CPU's own counters: no one else writes them, and XDP does not nest.
        let Some(traffic) = maps::traffic(server) else {
            return;
        };
        let (packets, total) = (field!(traffic, packets), field!(traffic, bytes));
        packets.set(packets.get() + 1);
        total.set(total.get() + u64::from(bytes));
    }

    #[inline(always)]
    fn count_event(&self, reason: Reason) {
        maps::count_reason(reason);
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: a read of the program's context, which lives as long as the program runs.
        unsafe { (*self.context.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn ingress_mac(&self) -> MacAddr {
        let port = maps::port(port_index(self.ingress()));
        MacAddr::from_word(port.map_or(0, |port| field!(port).get()))
    }
}

impl Repeat for Maps<'_> {
    #[inline(always)]
    fn repeat<B: Body>(&self, turns: u32, body: &mut B) {
        let callback: unsafe extern "C" fn(u64, *mut B) -> i64 = turn::<B>;
        // SAFETY: the helper calls `callback` with a pointer to `body`, which outlives the call.
        // The function is transmuted as it stands: through an integer its relocation would be
        // lost.
        unsafe {
            let callback = core::mem::transmute::<
                unsafe extern "C" fn(u64, *mut B) -> i64,
                *mut c_void,
            >(callback);
            bpf_loop(turns, callback, from_mut(body).cast(), 0);
        }
    }
}

/// One turn of a loop; 1 ends it.
unsafe extern "C" fn turn<B: Body>(_: u64, body: *mut B) -> i64 {
    // SAFETY: `repeat` passes a pointer to a body that nothing else touches while bpf_loop runs.
    let body = unsafe { &mut *body };
    i64::from(body.turn())
}
