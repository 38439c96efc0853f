//! Sync daemons: what the kernel knows of their interfaces.
//!
//! No peer is served yet: daemons are kept, listed and refused as in ipvs, and nothing is sent or
//! received. That is said when one starts, and in every listing but ipvsadm's own.

use crate::net;
use lb_common::api::{DaemonRole, Edit, Family, Refusal, RefusalKind, SyncDaemon};

/// Asks the kernel for the interfaces of daemons that are to start. Returns the edits with the
/// length of messages filled in, without those whose interface does not exist; and those, by
/// their place among all.
pub(super) async fn settled(edits: Vec<Edit>) -> (Vec<Edit>, Vec<(usize, Refusal)>) {
    let mut kept = Vec::with_capacity(edits.len());
    let mut refused = Vec::new();
    for (place, edit) in edits.into_iter().enumerate() {
        let Edit::StartDaemon { role, daemon } = edit else {
            kept.push(edit);
            continue;
        };
        match net::interface_mtu(&daemon.interface).await {
            Ok(Some(mtu)) => kept.push(Edit::StartDaemon {
                role,
                daemon: SyncDaemon {
                    max_length: message_length(role, &daemon, mtu),
                    ..daemon
                },
            }),
            Ok(None) => refused.push((place, no_device(&daemon.interface))),
            Err(error) => refused.push((place, unanswered(&daemon.interface, &error))),
        }
    }
    (kept, refused)
}

/// The outcomes of all edits, from those of the kept ones and the refused ones.
pub(super) fn joined(
    mut outcomes: Vec<Option<Refusal>>,
    refused: Vec<(usize, Refusal)>,
) -> Vec<Option<Refusal>> {
    for (place, refusal) in refused {
        outcomes.insert(place, Some(refusal));
    }
    outcomes
}

/// Says of daemons that started what they do not do.
pub(super) fn tell(edits: &[Edit], outcomes: &[Option<Refusal>]) {
    for (edit, outcome) in edits.iter().zip(outcomes) {
        if let (Edit::StartDaemon { role, daemon }, None) = (edit, outcome) {
            let (role, what) = match role {
                DaemonRole::Master => ("master", "sends no connection to"),
                DaemonRole::Backup => ("backup", "takes no connection from"),
            };
            tracing::warn!(
                "the {role} sync daemon on {} is kept, but this version {what} a peer: on a \
                 failover connections are not continued",
                daemon.interface
            );
        }
    }
}

/// The longest message, in bytes of payload: the wanted one as far as it fits, by default that of
/// an Ethernet; a backup takes what its interface brings.
///
/// ipvs: net/netfilter/ipvs/ip_vs_sync.c:start_sync_thread
fn message_length(role: DaemonRole, daemon: &SyncDaemon, mtu: u32) -> u16 {
    const UDP: u16 = 8;
    const ETHERNET: u16 = 1500;
    let headers = UDP
        + match Family::of(daemon.group) {
            Family::Ipv4 => 20,
            Family::Ipv6 => 40,
        };
    let (least, mtu) = match role {
        DaemonRole::Master => (1, ETHERNET),
        DaemonRole::Backup => (1024, u16::try_from(mtu).unwrap_or(u16::MAX).max(ETHERNET)),
    };
    match daemon.max_length {
        0 => mtu - headers,
        wanted => wanted.clamp(least, u16::MAX - headers),
    }
}

fn no_device(interface: &str) -> Refusal {
    Refusal {
        kind: RefusalKind::NoDevice,
        message: format!(
            "there is no interface {interface:?} for a sync daemon: name one with --mcast-interface"
        ),
    }
}

fn unanswered(interface: &str, error: &std::io::Error) -> Refusal {
    Refusal {
        kind: RefusalKind::Failed,
        message: format!("cannot ask the kernel for interface {interface}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(max_length: u16, group: &str) -> SyncDaemon {
        SyncDaemon {
            interface: "eth0".to_owned(),
            sync_id: 0,
            max_length,
            group: group.parse().expect("an address"),
            port: 8848,
            ttl: 1,
        }
    }

    #[test]
    fn messages_are_as_long_as_ipvs_makes_them() {
        use DaemonRole::{Backup, Master};
        const V4: &str = "224.0.0.81";
        for (role, wanted, group, mtu, expected) in [
            (Master, 0, V4, 1500, 1472),
            (Master, 0, V4, 9000, 1472),
            (Master, 0, "ff02::81", 1500, 1452),
            (Master, 1, V4, 1500, 1),
            (Master, 65507, V4, 1500, 65507),
            (Master, 65507, "ff02::81", 1500, 65487),
            (Backup, 0, V4, 9000, 8972),
            (Backup, 0, V4, 576, 1472),
            (Backup, 0, V4, 1 << 20, 65507),
            (Backup, 1, V4, 1500, 1024),
            (Backup, 1400, V4, 1500, 1400),
        ] {
            let found = message_length(role, &daemon(wanted, group), mtu);
            assert_eq!(found, expected, "{role:?} {wanted} {group} {mtu}");
        }
    }

    #[test]
    fn refusals_stand_where_their_edits_stood() {
        let refusal = || no_device("eth7");
        let outcomes = joined(vec![None, None], vec![(0, refusal()), (2, refusal())]);
        let expected = [Some(refusal()), None, Some(refusal()), None];
        assert_eq!(outcomes, expected);
    }
}
