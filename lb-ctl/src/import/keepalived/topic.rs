//! What the keywords are about that ipvs has no word for.

use crate::import::Topic;

/// A keyword outside of all blocks.
pub(super) fn of_root(keyword: &str) -> Topic {
    match keyword {
        "SSL" => Topic::Check,
        "bfd_instance" | "garp_group" | "track_file" | "track_group" => Topic::Failover,
        "net_namespace"
        | "net_namespace_ipvs"
        | "namespace_with_ipsets"
        | "instance"
        | "use_pid_dir"
        | "child_wait_time" => Topic::Program,
        _ if ["vrrp_", "static_", "linkbeat_", "interface_"]
            .iter()
            .any(|start| keyword.starts_with(start)) =>
        {
            Topic::Failover
        }
        _ => unknown(),
    }
}

/// A keyword of `global_defs`.
pub(super) fn of_global(keyword: &str) -> Topic {
    let starts = |starts: &[&str]| starts.iter().any(|start| keyword.starts_with(start));
    match keyword {
        "lvs_sync_daemon" => Topic::Unsaid(
            "keepalived starts it as master or backup with VRRP; \
             lb-ctl --start-daemon starts it by hand"
                .to_owned(),
        ),
        "lvs_flush" => {
            Topic::Unsaid("it clears the table; lb-ctl -C before the rules does".to_owned())
        }
        "nftables_ipvs" | "nftables_ipvs_start_fwmark" | "nftables_ipvs_priority" => {
            Topic::Unsaid("the services of a group are said one by one".to_owned())
        }
        "rs_init_notifies" | "notify_fifo" | "script_user" => Topic::Script,
        "dynamic_interfaces" | "default_interface" | "disable_local_igmp" | "vmac_prefix"
        | "vmac_addr_prefix" | "v3_checksum_as_v2" | "log_unknown_vrids" => Topic::Failover,
        _ if starts(&["vrrp_", "bfd_", "max_auto_", "min_auto_"]) => Topic::Failover,
        _ if keyword.contains("script") || keyword.contains("notify_fifo") => Topic::Script,
        _ if starts(&["notification_", "smtp_", "snmp_", "enable_", "dbus_", "no_"]) => {
            Topic::Alert
        }
        _ if starts(&["checker_"]) => Topic::Check,
        _ => Topic::Program,
    }
}

/// A keyword of `virtual_server` that the table has no place for.
pub(super) fn of_virtual_server(keyword: &str) -> Topic {
    match keyword {
        "retry" | "delay_before_retry" | "warmup" | "connect_timeout" | "delay_loop"
        | "inhibit_on_failure" | "virtualhost" | "alpha" | "omega" | "ha_suspend" => Topic::Check,
        "quorum" | "hysteresis" => Topic::Quorum,
        "quorum_up" | "quorum_down" => Topic::Script,
        "smtp_alert" | "snmp_name" => Topic::Alert,
        _ => unknown(),
    }
}

/// A keyword of `real_server` that the table has no place for.
pub(super) fn of_real_server(keyword: &str) -> Topic {
    match keyword {
        "retry" | "delay_before_retry" | "warmup" | "connect_timeout" | "delay_loop"
        | "inhibit_on_failure" | "virtualhost" | "alpha" | "HTTP_GET" | "SSL_GET" | "TCP_CHECK"
        | "SMTP_CHECK" | "DNS_CHECK" | "MISC_CHECK" | "BFD_CHECK" | "UDP_CHECK" | "PING_CHECK"
        | "FILE_CHECK" => Topic::Check,
        "notify_up" | "notify_down" => Topic::Script,
        "smtp_alert" | "snmp_name" => Topic::Alert,
        _ => unknown(),
    }
}

fn unknown() -> Topic {
    Topic::Ignored("keepalived knows no such word here".to_owned())
}
