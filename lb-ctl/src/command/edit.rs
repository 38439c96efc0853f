//! Edits: what the agent says, in ipvsadm's words.

use super::{Failure, World, complain};
use crate::exit::Exit;
use lb_common::api::{Edit, Refusal, RefusalKind};

/// Carries out edits in order; the exit code is that of the last.
pub(super) fn edits(edits: Vec<Edit>, world: &mut World<'_>) -> Result<Exit, Failure> {
    let objects: Vec<Object> = edits.iter().map(Object::of).collect();
    let outcomes = world.control.edit(edits)?;
    let mut exit = Exit::Success;
    for (object, outcome) in objects.into_iter().zip(outcomes) {
        exit = match outcome {
            None => Exit::Success,
            Some(refusal) => {
                complain(&text(object, &refusal), world)?;
                Exit::Refused
            }
        };
    }
    Ok(exit)
}

/// ipvsadm's words for a refused edit.
#[must_use]
pub fn refusal_text(edit: &Edit, refusal: &Refusal) -> String {
    text(Object::of(edit), refusal)
}

/// What an edit is about, as far as the wording depends on it.
#[derive(Clone, Copy, Debug)]
enum Object {
    Service,
    Server,
    StartDaemon,
    StopDaemon,
    Other,
}

impl Object {
    const fn of(edit: &Edit) -> Self {
        match edit {
            Edit::AddService { .. }
            | Edit::EditService { .. }
            | Edit::DeleteService { .. }
            | Edit::Zero { .. }
            | Edit::SetNoServer { .. } => Self::Service,
            Edit::AddServer { .. } | Edit::EditServer { .. } | Edit::DeleteServer { .. } => {
                Self::Server
            }
            Edit::StartDaemon { .. } => Self::StartDaemon,
            Edit::StopDaemon { .. } => Self::StopDaemon,
            Edit::Clear
            | Edit::SetTimeouts { .. }
            | Edit::AddMarkRule { .. }
            | Edit::DeleteMarkRule { .. }
            | Edit::Set { .. } => Self::Other,
        }
    }
}

fn text(object: Object, refusal: &Refusal) -> String {
    let known = match (refusal.kind, object) {
        (RefusalKind::Exists, Object::Service) => "Service already exists",
        (RefusalKind::Exists, Object::Server) => "Destination already exists",
        (RefusalKind::Exists, Object::StartDaemon) => "Daemon has already run",
        (RefusalKind::Exists, Object::StopDaemon | Object::Other) => "File exists",
        (RefusalKind::NoService, Object::Service) => "No such service",
        (RefusalKind::NoService, Object::Server) => "Service not defined",
        (RefusalKind::NoService, Object::StopDaemon) => "No daemon is running",
        (RefusalKind::NoService, Object::StartDaemon | Object::Other) => "No such process",
        (RefusalKind::NoServer, _) => "No such destination",
        (RefusalKind::NoScheduler, _) => "Scheduler or persistence engine not found",
        (RefusalKind::Invalid, _) => {
            "Invalid operation.  Possibly wrong module version, address not unicast, ..."
        }
        (RefusalKind::Range, _) => "Numerical result out of range",
        (RefusalKind::NoDevice, _) => "No such device",
        (RefusalKind::Full, _) => "Memory allocation problem",
        (RefusalKind::Permission, _) => "Permission denied (you must be root)",
        // lb's own situations, for which ipvsadm has no words.
        (RefusalKind::Unsupported | RefusalKind::Failed, _) => &refusal.message,
    };
    known.to_owned()
}
