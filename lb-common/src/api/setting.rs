//! Settings by the names of ipvs's sysctls, for the whole director.

use super::{Refusal, RefusalKind};
use crate::layout::settings;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A setting; its values are numbers, as a sysctl's are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// What a new connection from the ports of an old one does, as bits.
    ConnReuseMode,
    /// Whether packets of connections whose server is gone are scheduled anew.
    ExpireNodestConn,
    /// Whether templates of quiesced servers stop to count.
    ExpireQuiescentTemplate,
    /// Whether TCP connections are taken up in their middle.
    SloppyTcp,
    /// Whether SCTP associations are taken up in their middle.
    SloppySctp,
    /// Whether tunnels honour DF and their paths' MTU.
    PmtuDisc,
    /// Whether ICMP errors about no known connection are scheduled as what they quote.
    /// lb does not: only 0 is taken.
    ScheduleIcmp,
    /// Whether servers are told when they send for connections that are not known. lb does not:
    /// only 0 is taken.
    NatIcmpSend,
}

impl Setting {
    /// Every setting, by name.
    pub const ALL: [Self; 8] = [
        Self::ConnReuseMode,
        Self::ExpireNodestConn,
        Self::ExpireQuiescentTemplate,
        Self::NatIcmpSend,
        Self::PmtuDisc,
        Self::ScheduleIcmp,
        Self::SloppySctp,
        Self::SloppyTcp,
    ];

    /// The sysctl's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnReuseMode => "conn_reuse_mode",
            Self::ExpireNodestConn => "expire_nodest_conn",
            Self::ExpireQuiescentTemplate => "expire_quiescent_template",
            Self::SloppyTcp => "sloppy_tcp",
            Self::SloppySctp => "sloppy_sctp",
            Self::PmtuDisc => "pmtu_disc",
            Self::ScheduleIcmp => "schedule_icmp",
            Self::NatIcmpSend => "nat_icmp_send",
        }
    }

    /// What it means, for people.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::ConnReuseMode => {
                "a new connection from the ports of an old one: 0 goes to the old one's server, \
                 1 is scheduled anew when that one is over, 2 also when it waits for the last FIN"
            }
            Self::ExpireNodestConn => {
                "connections whose server was removed: 0 are dropped, 1 are scheduled anew"
            }
            Self::ExpireQuiescentTemplate => {
                "clients that persist on a server of weight 0: 0 stay, 1 are scheduled anew"
            }
            Self::SloppyTcp => "1 takes TCP connections up in their middle",
            Self::SloppySctp => "1 takes SCTP associations up in their middle",
            Self::PmtuDisc => "1 has tunnels honour DF and the MTU of their paths",
            Self::ScheduleIcmp => {
                "0: ICMP errors about no known connection are not scheduled; lb has no 1 yet"
            }
            Self::NatIcmpSend => {
                "0: masqueraded servers are not told that no connection is known to what they \
                 send; lb has no 1 yet"
            }
        }
    }

    /// The setting with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }

    /// The greatest value.
    #[must_use]
    pub const fn most(self) -> u32 {
        match self {
            Self::ConnReuseMode => 3,
            Self::ScheduleIcmp | Self::NatIcmpSend => 0,
            Self::ExpireNodestConn
            | Self::ExpireQuiescentTemplate
            | Self::SloppyTcp
            | Self::SloppySctp
            | Self::PmtuDisc => 1,
        }
    }

    /// The value that ipvs starts with.
    #[must_use]
    pub const fn default(self) -> u32 {
        match self {
            Self::ConnReuseMode | Self::PmtuDisc => 1,
            Self::ExpireNodestConn
            | Self::ExpireQuiescentTemplate
            | Self::SloppyTcp
            | Self::SloppySctp
            | Self::ScheduleIcmp
            | Self::NatIcmpSend => 0,
        }
    }

    /// The value's bits of [`settings`], for a value that [`Setting::check`] finds good.
    #[must_use]
    pub const fn bits(self, value: u32) -> u32 {
        let bit = match self {
            Self::ConnReuseMode => {
                let mode = settings::CONN_REUSE_MODE * (value & 1);
                return mode | (settings::CONN_REUSE_FIN_WAIT * (value >> 1 & 1));
            }
            Self::ExpireNodestConn => settings::EXPIRE_NODEST_CONN,
            Self::ExpireQuiescentTemplate => settings::EXPIRE_QUIESCENT_TEMPLATE,
            Self::SloppyTcp => settings::SLOPPY_TCP,
            Self::SloppySctp => settings::SLOPPY_SCTP,
            Self::PmtuDisc => settings::PMTU_DISC,
            Self::ScheduleIcmp | Self::NatIcmpSend => 0,
        };
        if value == 0 { 0 } else { bit }
    }

    /// The setting of a name, if it takes the value.
    ///
    /// # Errors
    /// Names what there is instead.
    pub fn check(name: &str, value: Option<u32>) -> Result<Self, Refusal> {
        let Some(setting) = Self::from_name(name) else {
            let names = Self::ALL.map(Self::name).join(", ");
            return Err(Refusal {
                kind: RefusalKind::Invalid,
                message: format!("no setting {name}: there are {names}"),
            });
        };
        match (value, setting.most()) {
            (Some(1..), 0) => Err(Refusal {
                kind: RefusalKind::Unsupported,
                message: format!("{name}: lb does not have it yet, and takes 0 only"),
            }),
            (Some(value), most) if value > most => Err(Refusal {
                kind: RefusalKind::Range,
                message: format!("{name}: {value} is not within 0 to {most}"),
            }),
            (Some(_) | None, _) => Ok(setting),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The answer to `GET /v1/settings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Every setting.
    pub settings: Vec<SettingStatus>,
}

/// One setting as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingStatus {
    /// Which setting.
    pub name: Setting,
    /// Its value.
    pub value: u32,
    /// Who chose the value.
    pub origin: Origin,
}

/// Who chose a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody: it is what ipvs starts with.
    Default,
    /// The agent's configuration file.
    Configuration,
    /// An edit.
    Edit,
}

/// The body of `POST /v1/settings`: new values by name, null for what the configuration says.
/// Answered as `POST /v1/edits` is, each value being an edit, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingValues {
    /// The values.
    pub settings: std::collections::BTreeMap<String, Option<u32>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_datapaths() {
        let bits = Setting::ALL
            .iter()
            .fold(0, |bits, setting| bits | setting.bits(setting.default()));
        assert_eq!(bits, settings::DEFAULT);
    }

    #[test]
    fn no_two_settings_share_a_bit() {
        let mut seen = 0;
        for setting in Setting::ALL {
            let bits = setting.bits(setting.most());
            assert_eq!(
                (seen & bits, bits == 0),
                (0, setting.most() == 0),
                "{setting}"
            );
            seen |= bits;
        }
    }

    #[test]
    fn names_are_told_as_they_are_written() {
        for setting in Setting::ALL {
            assert_eq!(Setting::from_name(setting.name()), Some(setting));
            let json = serde_json::to_string(&setting).unwrap();
            assert_eq!(json, format!("\"{setting}\""));
        }
        let refusal = Setting::check("sloppy", None).unwrap_err();
        assert!(
            refusal.message.contains("sloppy_tcp"),
            "{}",
            refusal.message
        );
        let refusal = Setting::check("pmtu_disc", Some(2)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Range);
    }

    #[test]
    fn what_ipvs_has_and_lb_has_not_takes_only_what_lb_does() {
        for name in ["nat_icmp_send", "schedule_icmp"] {
            let refusal = Setting::check(name, Some(1)).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Unsupported);
            assert!(
                refusal.message.contains("does not have it yet"),
                "{}",
                refusal.message
            );
            for value in [None, Some(0)] {
                assert_eq!(Setting::check(name, value).unwrap().name(), name);
            }
        }
    }
}
