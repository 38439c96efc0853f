//! The maps as [`Tables`]; flows apart, which are in `buckets`.
#![expect(
    unsafe_code,
    reason = "map memory is raw pointers, and bpf_loop wants a callback"
)]

use crate::atomic::field;
use crate::maps;
use aya_ebpf::{
    bindings::{bpf_fib_lookup as FibLookup, xdp_md},
    helpers::{bpf_fib_lookup, bpf_get_prandom_u32, bpf_jiffies64, bpf_loop, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use core::ffi::c_void;
use core::ptr::from_mut;
use lb_common::addr::Addr;
use lb_common::datapath::{Packet, Tables, Tunnel};
use lb_common::flow::{Counts, Tuple};
use lb_common::layout::{
    Answers, BackWay, Control, Directory, DirectorySlot, Hint, Interface, MARK_RULES, MarkRule,
    Member, ServerState, Service, hint_bit, port_index, punt,
};
use lb_common::reason::Reason;
use lb_common::repeat::{Body, Repeat};
use lb_common::state::Class;
use lb_common::time::Tick;
use lb_common::wire::MacAddr;

/// The maps, for one packet.
pub(crate) struct Maps<'a> {
    context: &'a XdpContext,
    control: *mut Control,
    /// This CPU's scratch place, or null: the packets of known flows have no need of it.
    scratch: *mut maps::Scratch,
    /// Which directory counts; read once, so that all of a lookup is of one directory.
    which: u32,
}

impl<'a> Maps<'a> {
    /// The maps; none before the agent wrote the control value.
    #[inline(always)]
    pub(crate) fn open(context: &'a XdpContext) -> Option<Self> {
        let scratch = maps::scratch()?;
        Some(Self {
            scratch,
            ..Self::open_for_known(context)?
        })
    }

    /// The same for [`lb_common::datapath::known`], where nothing is handed from stage to stage.
    #[inline(always)]
    pub(crate) fn open_for_known(context: &'a XdpContext) -> Option<Self> {
        let control = maps::control(0)?;
        let which = field!(control, directory).get() & 1;
        Some(Self {
            context,
            control,
            scratch: core::ptr::null_mut(),
            which,
        })
    }
}

impl<'a> Maps<'a> {
    /// The program's context, for functions out of line.
    #[inline(always)]
    pub(crate) fn context(&self) -> *mut xdp_md {
        self.context.ctx
    }

    /// The packet in hand.
    #[inline(always)]
    pub(crate) fn packet(&self) -> &'a Packet {
        // SAFETY: this CPU's own place, which parsing wrote; nothing writes it any more.
        unsafe { &(*self.scratch).packet }
    }

    /// Hands a tuple to a function.
    #[inline(always)]
    pub(crate) fn lend_tuple(&self, tuple: &Tuple) {
        // SAFETY: this CPU's own place; only copies leave it.
        unsafe { (&raw mut (*self.scratch).tuple).write(*tuple) }
    }

    /// The tuple that was handed over.
    #[inline(always)]
    pub(crate) fn lent(&self) -> &'a Tuple {
        // SAFETY: this CPU's own place; a function that was handed a tuple hands over none.
        unsafe { &(*self.scratch).tuple }
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
        field!(self.control, directories[(self.which & 1) as usize]).get()
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
        if counts.persistent != 0 {
            field!(state, persistent).add(counts.persistent);
        }
    }

    #[inline(always)]
    fn count_packet(&self, server: u32, bytes: u32, reply: bool) {
        // This CPU's own counters: no one else writes them, and XDP does not nest.
        let Some(traffic) = maps::traffic(server, reply) else {
            return;
        };
        let (packets, total) = (field!(traffic, packets), field!(traffic, bytes));
        packets.set(packets.get() + 1);
        total.set(total.get() + u64::from(bytes));
    }

    #[inline(always)]
    fn count_event(&self, reason: Reason) {
        maps::count_reason(reason as u32);
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: a read of the program's context, which lives as long as the program runs.
        unsafe { (*self.context.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn ingress_mac(&self) -> MacAddr {
        let port = maps::port(port_index(self.ingress()));
        MacAddr::from_word(port.map_or(0, |port| field!(port, mac_and_mtu).get()))
    }

    #[inline(always)]
    fn egress(&self, port: u32) -> Option<(u32, u64)> {
        let port = maps::port(port)?;
        Some((field!(port, ifindex).get(), field!(port, mac_and_mtu).get()))
    }

    #[inline(always)]
    fn interface(&self, port: u32) -> Option<Interface> {
        maps::port(port).map(|port| field!(port).get())
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn features(&self) -> u32 {
        field!(self.control, features).get()
    }

    #[inline(always)]
    fn settings(&self) -> u32 {
        field!(self.control, settings).get()
    }

    #[inline(always)]
    fn rules(&self) -> u32 {
        (field!(self.control, rules).get() >> 1).min(MARK_RULES)
    }

    #[inline(always)]
    fn rule(&self, index: u32) -> Option<MarkRule> {
        let list = field!(self.control, rules).get() & 1;
        maps::rule(list * MARK_RULES + index).map(|rule| field!(rule).get())
    }

    #[inline(always)]
    fn hint(&self, hint: Hint, address: Addr) -> bool {
        let (word, bit) = hint_bit(hint, address);
        maps::hint_word(word).is_some_and(|word| field!(word).get() >> (bit & 63) & 1 != 0)
    }

    #[inline(always)]
    fn record(&self, service: u32) -> Option<u32> {
        let state = maps::service_state(service)?;
        field!(state, record).get().checked_sub(1)
    }

    #[inline(always)]
    fn table_slot(&self, index: u32) -> Option<u16> {
        let word = maps::table_word(index / 4)?;
        let slots = field!(word).get();
        Some(slots[(index % 4) as usize])
    }

    #[inline(always)]
    fn server_end(&self, server: u32) -> Option<(Addr, u16)> {
        let server = maps::server(server)?;
        Some((
            field!(server, addr).halves(),
            field!(server, port).get() as u16,
        ))
    }

    #[inline(always)]
    fn server_service(&self, server: u32) -> Option<u32> {
        maps::server(server).map(|server| field!(server, service).get())
    }

    #[inline(always)]
    fn tunnel(&self, server: u32) -> Option<Tunnel> {
        let server = maps::server(server)?;
        Some(Tunnel {
            destination: field!(server, addr).halves(),
            source: field!(server, source).halves(),
            port: field!(server, tunnel_port).get() as u16,
        })
    }

    #[inline(always)]
    fn server_weight(&self, server: u32) -> Option<u32> {
        maps::server(server).map(|server| field!(server, weight).get())
    }

    #[inline(always)]
    fn thresholds(&self, server: u32) -> Option<(u32, u32)> {
        let server = maps::server(server)?;
        Some((field!(server, upper).get(), field!(server, lower).get()))
    }

    #[inline(always)]
    fn server_state(&self, server: u32) -> Option<ServerState> {
        let state = maps::server_state(server)?;
        Some(ServerState {
            connections: field!(state, connections).get(),
            active: field!(state, active).get(),
            inactive: field!(state, inactive).get(),
            persistent: field!(state, persistent).get(),
            overloaded: field!(state, overloaded).get(),
        })
    }

    #[inline(always)]
    fn set_overloaded(&self, server: u32, overloaded: bool) {
        if let Some(state) = maps::server_state(server) {
            field!(state, overloaded).set(overloaded.into());
        }
    }

    #[inline(always)]
    fn route(&self, source: Addr, destination: Addr, bytes: u16) -> Option<BackWay> {
        route(self.context, &source, &destination, bytes)
    }

    #[inline(always)]
    fn back_way(&self, index: u32) -> BackWay {
        maps::back_way(index).map_or(0, |way| field!(way).get())
    }

    #[inline(always)]
    fn set_back_way(&self, index: u32, way: BackWay) -> bool {
        maps::back_way(index).is_some_and(|place| field!(place).swap_if(0, way))
    }

    #[inline(always)]
    fn set_mtu(&self, bytes: u16) {
        if !self.scratch.is_null() {
            // SAFETY: this CPU's own place.
            unsafe { (&raw mut (*self.scratch).mtu).write(bytes.into()) }
        }
    }

    #[inline(always)]
    fn mtu(&self) -> u16 {
        // SAFETY: this CPU's own place.
        unsafe { (&raw const (*self.scratch).mtu).read() as u16 }
    }

    #[inline(always)]
    fn may_answer(&self, now: Tick) -> bool {
        // This CPU's own: no one else writes it, and XDP does not nest.
        let Some(answers) = maps::answers() else {
            return false;
        };
        let Some(next) = Answers::from_bits(field!(answers).get()).another(now) else {
            return false;
        };
        field!(answers).set(next.bits());
        true
    }

    #[inline(always)]
    fn punt(&self, why: punt::Why, id: u32) -> bool {
        let header = punt::Header {
            why: why as u32,
            ifindex: self.ingress(),
            // SAFETY: the helper reads the program's own context.
            len: unsafe { bpf_xdp_get_buff_len(self.context.ctx) as u32 },
            id,
        };
        maps::punt(self.context, &header)
    }

    #[inline(always)]
    fn is_resent(&self) -> bool {
        let token = field!(self.control, token).get();
        let meta = self.context.metadata();
        if token == 0 || meta + size_of::<u64>() > self.context.metadata_end() {
            return false;
        }
        // SAFETY: the metadata has eight bytes, just checked on this very pointer.
        unsafe { *(meta as *const u64) == token }
    }
}

impl Repeat for Maps<'_> {
    #[inline(always)]
    fn blur(&self) -> u8 {
        // SAFETY: a helper without arguments, inlined by the JIT.
        let jiffies = unsafe { bpf_jiffies64() };
        // The top bits of the jiffies are zero for the next million years.
        (jiffies >> 56) as u8
    }

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

/// The kernel's routing decision for a packet that is forwarded.
#[inline(never)]
fn route(context: &XdpContext, source: &Addr, destination: &Addr, bytes: u16) -> Option<BackWay> {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;

    // SAFETY: all of its bits may be zero.
    let mut lookup: FibLookup = unsafe { core::mem::zeroed() };
    // SAFETY: reads of the program's own context.
    lookup.ifindex = unsafe { (*context.ctx).ingress_ifindex };
    lookup.__bindgen_anon_1.tot_len = bytes;
    if destination.is_v4() {
        lookup.family = AF_INET;
        lookup.__bindgen_anon_3.ipv4_src = source.v4_word();
        lookup.__bindgen_anon_4.ipv4_dst = destination.v4_word();
    } else {
        lookup.family = AF_INET6;
        lookup.__bindgen_anon_3.ipv6_src = source.words();
        lookup.__bindgen_anon_4.ipv6_dst = destination.words();
    }
    let len = size_of::<FibLookup>() as i32;
    // SAFETY: `lookup` is this function's, and `len` its size.
    let found = unsafe { bpf_fib_lookup(context.ctx.cast(), &raw mut lookup, len, 0) };
    if found != 0 {
        return None;
    }
    let [a, b, c, d, e, f] = lookup.dmac;
    let mac = MacAddr::new([a, b, c, d, e, f]);
    // Only interfaces that carry the program have a place.
    let index = port_index(lookup.ifindex);
    let port = maps::port(index)?;
    (field!(port, ifindex).get() == lookup.ifindex).then(|| mac.word() | u64::from(index + 1) << 48)
}
