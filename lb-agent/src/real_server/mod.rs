//! Preparing a machine as a real server, for direct routing and for tunnels: `lb-agent
//! real-server`.
//!
//! Not a daemon: it changes the machine and ends. What it changes:
//!
//! - the virtual addresses come to lo, which answers to nobody;
//! - `arp_ignore` and `arp_announce`, so that the host keeps quiet about them;
//! - with `--decapsulate`, an XDP program that takes packets out of the director's tunnels, and
//!   `rp_filter`, which would drop what comes out of them.
//!
//! All of it is recorded before it is done, so that `--undo` finds its way back even after a kill.
//! Whatever somebody else had set right already is not ours, and stays.
//!
//! | file | holds |
//! |---|---|
//! | `options` | what is asked for |
//! | `machine` | what the machine is like, and changing it |
//! | `plan` | what has to be changed: pure |
//! | `record` | what was changed, on disk |
//! | `check` | what is wrong and how to mend it: pure |

mod check;
mod machine;
mod options;
mod plan;
mod record;
#[cfg(test)]
mod tests;

pub(crate) use options::Options;

use crate::cli::{Conflict, Exit, Usage};
use crate::datapath::{Port, decapsulation};
use crate::net;
use crate::state::Lock;
use crate::told::Told;
use lb_common::api::AttachMode;
use machine::Machine;
use options::{Decapsulation, Form, Wanted};
use plan::{Action, Plan, Step};
use record::{Here, Program, Record};
use std::io::Write;
use std::path::Path;

/// Carries out `lb-agent real-server`.
///
/// # Errors
/// When something stands in the way; what was changed until then is changed back.
pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let wanted = Wanted::new(options)?;
    let out = &mut Told(std::io::stdout().lock());
    let directory = options.state_dir();
    if options.check {
        return check(options, wanted, &directory, out);
    }
    if options.undo {
        return undo(&directory, options.dry_run, out);
    }
    let wanted = wanted.ok_or_else(|| {
        Usage(
            "what for? --vip and --interface set up, --check looks, --undo undoes; see --help"
                .to_owned(),
        )
    })?;
    setup(wanted, &directory, options.dry_run, out)
}

fn setup(
    wanted: Wanted,
    directory: &Path,
    dry_run: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let port = Port::find(&wanted.interface)?;
    let _lock = lock(directory, dry_run)?;
    let result = setup_locked(wanted, &port, directory, dry_run, out);
    if result.is_err() && !dry_run {
        Record::tidy(directory);
    }
    result
}

fn setup_locked(
    wanted: Wanted,
    port: &Port,
    directory: &Path,
    dry_run: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let here = Here::find()?;
    let before = Record::load(directory, &here)?;
    let machine = Machine::look(plan::sysctls(Some(&wanted), before.as_ref()))?;
    let plan = plan::setup(&wanted, &machine, before.as_ref(), &here)?;
    if dry_run {
        tell_plan(&wanted, before.as_ref(), &plan, out)?;
        return Ok(Exit::Ok);
    }
    let program = program(&wanted, port, before.as_ref())?;
    let actions = plan::actions(plan, program, before.as_ref());
    let mut done = Vec::new();
    for action in actions {
        if let Err(error) = carry_out(&action, directory, out) {
            take_back(plan::back(&done, &action, before.as_ref()), directory);
            return Err(error);
        }
        done.push(action);
    }
    // Whatever is left to say is said at once, rather than when clients complain.
    let report = look(&wanted, directory, &here)?;
    for finding in report.troubles() {
        writeln!(out, "{finding}")?;
    }
    Ok(Exit::Ok)
}

/// Where the program will be, if one is wanted.
fn program(
    wanted: &Wanted,
    port: &Port,
    before: Option<&Record>,
) -> anyhow::Result<Option<Program>> {
    let Some(Decapsulation { pin_path, .. }) = &wanted.decapsulation else {
        return Ok(None);
    };
    let old = before.and_then(|before| before.programs().find(|old| old.pin_path == *pin_path));
    let mounted = match old {
        Some(old) => old.mounted,
        None => decapsulation::mounts(pin_path)?,
    };
    Ok(Some(Program {
        pin_path: pin_path.clone(),
        mounted,
        mac: port.mac,
    }))
}

/// Does one thing, and tells of it.
fn carry_out(action: &Action, directory: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    match action {
        Action::Record(record) => record.store(directory)?,
        Action::Forget => Record::remove(directory)?,
        Action::Detach(program, interface) => {
            decapsulation::detach(&program.pin_path, program.mounted)?;
            writeln!(out, "{interface}: takes nothing out of tunnels any more")?;
        }
        Action::Attach(wanted, _) => {
            let Some(decapsulation) = &wanted.decapsulation else {
                return Ok(());
            };
            let mode = attach(wanted, decapsulation, &Port::find(&wanted.interface)?)?;
            let (interface, tunnels) = (&wanted.interface, decapsulation.option());
            writeln!(out, "{interface}: takes packets out of {tunnels} ({mode})")?;
        }
        Action::Step(step) => {
            change(step)?;
            writeln!(out, "{step}")?;
        }
    }
    Ok(())
}

/// Takes back what was done, as far as it goes. The record of both setups stays if that is not all
/// of the way.
fn take_back(back: Vec<Action>, directory: &Path) {
    let mut failed = false;
    for action in back {
        if failed && matches!(action, Action::Record(_) | Action::Forget) {
            continue;
        }
        if let Err(error) = carry_out(&action, directory, &mut std::io::sink()) {
            tracing::error!("{error:#}");
            failed = true;
        }
    }
}

fn attach(
    wanted: &Wanted,
    decapsulation: &Decapsulation,
    port: &Port,
) -> anyhow::Result<&'static str> {
    let mode = decapsulation::attach(
        &decapsulation.pin_path,
        decapsulation::Wanted {
            port,
            mode: decapsulation.xdp_mode,
            tunnels: decapsulation.set(),
            gue_port: decapsulation.gue_port,
            vips: &wanted.vips,
        },
    )?;
    Ok(match mode {
        AttachMode::Native => "native",
        AttachMode::Generic => "generic",
    })
}

fn change(step: &Step) -> anyhow::Result<()> {
    match step {
        Step::Sysctl { key, to, .. } => machine::set_sysctl(key, to),
        Step::Add(address) => machine::add(*address),
        Step::Remove(address) => machine::remove(*address),
    }
}

fn tell_plan(
    wanted: &Wanted,
    before: Option<&Record>,
    plan: &Plan,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let interface = &wanted.interface;
    let told = before.and_then(|before| before.wanted.decapsulation.as_ref());
    match (&wanted.decapsulation, told) {
        (Some(new), _) => writeln!(
            out,
            "{interface}: would take packets out of {}",
            new.option()
        )?,
        (None, Some(old)) => writeln!(
            out,
            "{interface}: would take nothing out of {} any more",
            old.option()
        )?,
        (None, None) => {}
    }
    for step in &plan.steps {
        writeln!(out, "{step}")?;
    }
    Ok(())
}

fn undo(directory: &Path, dry_run: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let nothing = "nothing is recorded, so there is nothing to undo";
    if !directory.exists() {
        writeln!(out, "{nothing}")?;
        return Ok(Exit::Ok);
    }
    let _lock = lock(directory, dry_run)?;
    let Some(record) = Record::load(directory, &Here::find()?)? else {
        if !dry_run {
            // Of an earlier boot, perhaps.
            Record::remove(directory)?;
        }
        writeln!(out, "{nothing}")?;
        return Ok(Exit::Ok);
    };
    let machine = Machine::look(plan::sysctls(None, Some(&record)))?;
    let (steps, stay) = plan::undo(&record, &machine);
    // Addresses are the first of the steps: without them, the rest concerns nobody.
    for step in &steps {
        if !dry_run {
            change(step)?;
        }
        writeln!(out, "{step}")?;
    }
    for program in record.programs() {
        if !dry_run {
            decapsulation::detach(&program.pin_path, program.mounted)?;
        }
    }
    if record.programs().next().is_some() {
        let interface = &record.wanted.interface;
        writeln!(out, "{interface}: takes nothing out of tunnels any more")?;
    }
    for stays in stay {
        writeln!(out, "{stays}")?;
    }
    if !dry_run {
        Record::remove(directory)?;
    }
    Ok(Exit::Ok)
}

fn check(
    options: &Options,
    wanted: Option<Wanted>,
    directory: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let here = Here::find()?;
    let wanted = match wanted {
        Some(wanted) => wanted,
        None => match Record::load(directory, &here)? {
            Some(record) => record.wanted,
            None => {
                return Err(Usage(format!(
                    "nothing was set up (no record in {}): --vip, --interface and --decapsulate \
                     say what to check for",
                    directory.display()
                ))
                .into());
            }
        },
    };
    let report = look(&wanted, directory, &here)?;
    match options.output {
        None | Some(Form::Text) => write!(out, "{report}")?,
        Some(Form::Json) => {
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)?;
        }
    }
    Ok(if report.is_ok() {
        Exit::Ok
    } else {
        Exit::Negative
    })
}

/// Looks at the machine as it is for what is wanted.
fn look(wanted: &Wanted, directory: &Path, here: &Here) -> anyhow::Result<check::Report> {
    let machine = Machine::look(plan::sysctls(Some(wanted), None))?;
    let mut program = check::Program::default();
    if let (Some(decapsulation), Some(link)) =
        (&wanted.decapsulation, machine.link(&wanted.interface))
    {
        let record = Record::load(directory, here)?;
        let told = record.and_then(|record| {
            let mac = record.program?.mac;
            Some((record.wanted.decapsulation?, mac))
        });
        let pin_path = told
            .as_ref()
            .map_or(&decapsulation.pin_path, |(told, _)| &told.pin_path);
        program.on_interface = net::program_id(link.ifindex);
        program.attached = decapsulation::attached(pin_path, link.ifindex)?;
        program.events = decapsulation::events(pin_path)?;
        program.told = told;
    }
    Ok(check::check(wanted, &machine, &program))
}

/// Takes the lock of the record's directory; not for a dry run, which changes nothing.
fn lock(directory: &Path, dry_run: bool) -> anyhow::Result<Option<Lock>> {
    if dry_run {
        return Ok(None);
    }
    Lock::take(directory).map_err(|error| {
        if error.is::<Conflict>() {
            Conflict(format!(
                "another `lb-agent real-server` is at work on {}: wait for its end",
                directory.display()
            ))
            .into()
        } else {
            error.context(directory.display().to_string())
        }
    })
}
