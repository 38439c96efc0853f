//! What has to be changed: decided from what is wanted, what the machine is like and what was
//! changed before, without touching anything.

use super::machine::{LO, Machine, full};
use super::options::Wanted;
use super::record::{Changed, Here, Program, Record};
use crate::cli::Conflict;
use anyhow::{bail, ensure};
use std::fmt;
use std::net::IpAddr;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A setting, by its path below /proc/sys.
    Sysctl {
        key: String,
        from: String,
        to: String,
    },
    /// An address comes to lo.
    Add(IpAddr),
    /// An address leaves lo.
    Remove(IpAddr),
}

impl Step {
    /// The change that takes this one back.
    pub(super) fn reversed(&self) -> Self {
        match self {
            Self::Sysctl { key, from, to } => Self::Sysctl {
                key: key.clone(),
                from: to.clone(),
                to: from.clone(),
            },
            Self::Add(address) => Self::Remove(*address),
            Self::Remove(address) => Self::Add(*address),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl { key, from, to } => write!(f, "{}: {from} -> {to}", dotted(key)),
            Self::Add(address) => write!(f, "{LO}: add {address}/{}", full(*address)),
            Self::Remove(address) => write!(f, "{LO}: remove {address}/{}", full(*address)),
        }
    }
}

/// A setting's name as sysctl(8) prints it.
pub(super) fn dotted(key: &str) -> String {
    // An interface's name may have dots; then the path is what sysctl(8) takes as well.
    if key.contains('.') {
        key.to_owned()
    } else {
        key.replace('/', ".")
    }
}

/// A setting of IPv4 for an interface, or for `all`.
pub(super) fn ipv4(interface: &str, name: &str) -> String {
    format!("net/ipv4/conf/{interface}/{name}")
}

/// IPv6 is off on lo.
pub(super) const DISABLE_IPV6: &str = "net/ipv6/conf/lo/disable_ipv6";

/// The settings that plans and checks look at.
pub(super) fn sysctls(wanted: Option<&Wanted>, record: Option<&Record>) -> Vec<String> {
    let mut keys = vec![
        DISABLE_IPV6.to_owned(),
        "net/ipv4/tcp_syncookies".to_owned(),
    ];
    for interface in wanted
        .map(|wanted| wanted.interface.as_str())
        .into_iter()
        .chain(["all"])
    {
        for name in ["arp_ignore", "arp_announce", "rp_filter"] {
            keys.push(ipv4(interface, name));
        }
    }
    let recorded = record.map_or(&[][..], |record| &record.sysctls);
    keys.extend(recorded.iter().map(|changed| changed.key.clone()));
    keys
}

/// Whether this value of arp_ignore keeps the host from answering for addresses of lo
/// (Documentation/networking/ip-sysctl.rst). 3 does not: it is about addresses' scopes.
pub(super) const fn is_quiet(arp_ignore: i64) -> bool {
    matches!(arp_ignore, 1 | 2 | 8)
}

/// arp_announce of a host that does not name the virtual address as a sender's.
pub(super) const ANNOUNCES_OWN: i64 = 2;

/// The value of a setting that counts: the higher of the interface's and `all`'s.
pub(super) fn effective(machine: &Machine, interface: &str, name: &str) -> i64 {
    machine
        .number(&ipv4(interface, name))
        .max(machine.number(&ipv4("all", name)))
}

/// What is to be done, and the record of it, without the program.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) record: Record,
}

/// One thing that a setup does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The record is written.
    Record(Record),
    /// The record is removed.
    Forget,
    /// A program comes off the interface, or off that of a setup before.
    Detach(Program, String),
    /// A program is put on its interface, or told something else there.
    Attach(Wanted, Program),
    /// Another change.
    Step(Step),
}

/// All that a setup with this program does, in order: a kill after any of it leaves a record of
/// whatever there may be.
pub(super) fn actions(
    plan: Plan,
    program: Option<Program>,
    before: Option<&Record>,
) -> Vec<Action> {
    let Plan { steps, mut record } = plan;
    record.program = program;
    let both = before.map_or_else(|| record.clone(), |before| record.with(before));
    let mut actions = vec![Action::Record(both.clone())];
    let interface = before.map_or(String::new(), |before| before.wanted.interface.clone());
    for program in both.leaving {
        actions.push(Action::Detach(program, interface.clone()));
    }
    // Before the steps, for it is what a machine is likeliest to refuse; without its address on
    // lo, what comes out of a tunnel is nobody's.
    if let Some(program) = &record.program {
        actions.push(Action::Attach(record.wanted.clone(), program.clone()));
    }
    actions.extend(steps.into_iter().map(Action::Step));
    if before.is_some() {
        actions.push(Action::Record(record));
    }
    actions
}

/// What takes back a setup that failed in the action after those that were `done`.
pub(super) fn back(done: &[Action], failed: &Action, before: Option<&Record>) -> Vec<Action> {
    if done.is_empty() {
        return Vec::new();
    }
    let mut back = Vec::new();
    let old = before.and_then(|before| Some((&before.wanted, before.program.as_ref()?)));
    let is_program = |action: &Action| matches!(action, Action::Attach(..) | Action::Detach(..));
    let touched = done.iter().chain([failed]).any(is_program);
    // One that fails to attach leaves nothing by itself.
    let new = done.iter().find_map(|action| match action {
        Action::Attach(wanted, program) => Some((program, &wanted.interface)),
        Action::Record(_) | Action::Forget | Action::Detach(..) | Action::Step(_) => None,
    });
    for action in done.iter().rev() {
        if let Action::Step(step) = action {
            back.push(Action::Step(step.reversed()));
        }
    }
    if let Some((new, interface)) = new
        && old.is_none_or(|(_, old)| old.pin_path != new.pin_path)
    {
        back.push(Action::Detach(new.clone(), interface.clone()));
    }
    if let Some((wanted, program)) = old.filter(|_| touched) {
        back.push(Action::Attach(wanted.clone(), program.clone()));
    }
    back.push(before.map_or(Action::Forget, |before| Action::Record(before.clone())));
    back
}

/// Plans the setup.
///
/// # Errors
/// When something stands in the way; [`Conflict`] when somebody put it there.
pub(super) fn setup(
    wanted: &Wanted,
    machine: &Machine,
    before: Option<&Record>,
    here: &Here,
) -> anyhow::Result<Plan> {
    check_lo(wanted, machine)?;
    let mut plan = Plan {
        steps: Vec::new(),
        record: Record::new(here, wanted.clone()),
    };
    // Settings first: with the address and without them the host answers ARP for it.
    let needed = needed(wanted, machine);
    for need in &needed {
        plan_sysctl(need, machine, before, &mut plan);
    }
    plan_addresses(wanted, machine, before, &mut plan)?;
    let unneeded = before.map_or(&[][..], |before| &before.sysctls);
    for changed in unneeded {
        if !needed.iter().any(|need| need.key == changed.key) {
            plan.steps.extend(restored(changed, machine));
        }
    }
    Ok(plan)
}

/// Plans to undo all that a record holds; says of what was changed by others meanwhile that it
/// stays.
pub(super) fn undo(record: &Record, machine: &Machine) -> (Vec<Step>, Vec<String>) {
    let mut steps: Vec<Step> = record
        .added
        .iter()
        .filter(|address| is_on_lo(machine, **address))
        .map(|address| Step::Remove(*address))
        .collect();
    let mut stay = Vec::new();
    for changed in &record.sysctls {
        steps.extend(restored(changed, machine));
        let now = machine.sysctls.get(&changed.key);
        if let Some(now) = now.filter(|now| **now != changed.set && **now != changed.before) {
            stay.push(format!(
                "{} stays {now}: it was {}, was set to {}, and somebody changed it since",
                dotted(&changed.key),
                changed.before,
                changed.set
            ));
        }
    }
    (steps, stay)
}

/// A setting that has to have one of some values.
struct Need {
    key: String,
    satisfied: bool,
    /// The value to set where it is not.
    value: i64,
}

fn needed(wanted: &Wanted, machine: &Machine) -> Vec<Need> {
    // IPv6 has neither: a host answers for addresses of the very interface only
    // (net/ipv6/ndisc.c: `ndisc_recv_ns`), and does not filter by the path back.
    if !wanted.vips.iter().any(IpAddr::is_ipv4) {
        return Vec::new();
    }
    let mut needs = Vec::new();
    for interface in ["all", &wanted.interface] {
        let (ignore, announce) = (
            ipv4(interface, "arp_ignore"),
            ipv4(interface, "arp_announce"),
        );
        needs.push(Need {
            satisfied: is_quiet(machine.number(&ignore)),
            key: ignore,
            value: 1,
        });
        needs.push(Need {
            satisfied: machine.number(&announce) == ANNOUNCES_OWN,
            key: announce,
            value: ANNOUNCES_OWN,
        });
    }
    if wanted.decapsulation.is_some() {
        // A packet out of a tunnel comes from the client, by an interface that need not be the one
        // of the route to it. 1 drops such packets; 2 asks for any route, and wins over 1.
        needs.push(Need {
            key: ipv4(&wanted.interface, "rp_filter"),
            satisfied: effective(machine, &wanted.interface, "rp_filter") != 1,
            value: 2,
        });
    }
    needs
}

fn plan_sysctl(need: &Need, machine: &Machine, before: Option<&Record>, plan: &mut Plan) {
    let Some(now) = machine.sysctls.get(&need.key) else {
        return;
    };
    let recorded = before.and_then(|before| before.sysctl(&need.key));
    if need.satisfied {
        // Ours if it still is what was set; else somebody else's, who shall find it again.
        let ours = recorded.filter(|recorded| recorded.set == *now);
        plan.record.sysctls.extend(ours.cloned());
        return;
    }
    let step = Step::Sysctl {
        key: need.key.clone(),
        from: now.clone(),
        to: need.value.to_string(),
    };
    plan.steps.push(step);
    plan.record.sysctls.push(Changed {
        key: need.key.clone(),
        before: now.clone(),
        set: need.value.to_string(),
    });
}

fn plan_addresses(
    wanted: &Wanted,
    machine: &Machine,
    before: Option<&Record>,
    plan: &mut Plan,
) -> anyhow::Result<()> {
    let ours = before.map_or(&[][..], |before| &before.added);
    for vip in &wanted.vips {
        check_elsewhere(*vip, machine)?;
        if is_on_lo(machine, *vip) {
            plan.record.added.extend(ours.contains(vip).then_some(*vip));
        } else {
            plan.steps.push(Step::Add(*vip));
            plan.record.added.push(*vip);
        }
    }
    for old in ours.iter().filter(|old| !wanted.vips.contains(old)) {
        if is_on_lo(machine, *old) {
            plan.steps.push(Step::Remove(*old));
        }
    }
    Ok(())
}

/// Refuses what makes a virtual address useless or harmful.
fn check_elsewhere(vip: IpAddr, machine: &Machine) -> anyhow::Result<()> {
    for other in machine
        .addresses
        .iter()
        .filter(|other| other.address == vip)
    {
        let place = format!("{vip}/{} is on {}", other.prefix, other.interface);
        let remove = format!(
            "`ip address del {vip}/{} dev {}`",
            other.prefix, other.interface
        );
        if other.interface != LO {
            bail!(Conflict(format!(
                "{place}, which answers ARP for it in the director's place: {remove}, or run this \
                 on a real server"
            )));
        }
        if other.prefix != full(vip) {
            bail!(Conflict(format!(
                "{place}, which makes all of that network this host's own: {remove}"
            )));
        }
    }
    Ok(())
}

/// Refuses machines whose lo takes no address.
fn check_lo(wanted: &Wanted, machine: &Machine) -> anyhow::Result<()> {
    ensure!(
        machine.link(LO).is_some_and(|lo| lo.up),
        "lo is down, and so would be the virtual addresses: `ip link set lo up`"
    );
    ensure!(
        !wanted.vips.iter().any(IpAddr::is_ipv6) || machine.number(DISABLE_IPV6) == 0,
        "IPv6 is off on lo, which is to have IPv6 addresses: `sysctl -w {}=0`",
        dotted(DISABLE_IPV6)
    );
    Ok(())
}

/// The change back, if the setting still is what was set.
fn restored(changed: &Changed, machine: &Machine) -> Option<Step> {
    let now = machine.sysctls.get(&changed.key)?;
    (*now == changed.set && changed.set != changed.before).then(|| Step::Sysctl {
        key: changed.key.clone(),
        from: now.clone(),
        to: changed.before.clone(),
    })
}

/// Whether an address is on lo, alone.
pub(super) fn is_on_lo(machine: &Machine, address: IpAddr) -> bool {
    machine.addresses.iter().any(|other| {
        other.address == address && other.interface == LO && other.prefix == full(address)
    })
}
