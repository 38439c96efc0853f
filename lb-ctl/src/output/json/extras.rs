//! What ipvsadm does not know: mark rules, settings, answers without a server.

use lb_common::api::{
    Family, MarkRule, Marks, Origin, Protocol, ServiceAddress, ServiceStatus, SettingStatus,
    Settings,
};
use serde::Serialize;
use std::net::IpAddr;

/// [`Marks`] as a document.
#[derive(Clone, Debug, Serialize)]
pub struct MarksBody {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Serialize)]
struct Rule {
    number: usize,
    protocol: Option<Protocol>,
    from: Option<String>,
    to: Option<String>,
    first_port: Option<u16>,
    last_port: Option<u16>,
    interface: Option<String>,
    mark: u32,
}

impl From<Marks> for MarksBody {
    fn from(Marks { rules }: Marks) -> Self {
        let rule = |(number, rule)| {
            let MarkRule {
                protocol,
                from,
                to,
                ports,
                interface,
                mark,
            } = rule;
            Rule {
                number,
                protocol,
                from: from.map(|prefix| prefix.to_string()),
                to: to.map(|prefix| prefix.to_string()),
                first_port: ports.map(|(first, _)| first),
                last_port: ports.map(|(_, last)| last),
                interface,
                mark,
            }
        };
        Self {
            rules: (1..).zip(rules).map(rule).collect(),
        }
    }
}

/// [`Settings`] as a document.
#[derive(Clone, Debug, Serialize)]
pub struct SettingsBody {
    settings: Vec<SettingValue>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct SettingValue {
    name: &'static str,
    value: u32,
    origin: &'static str,
}

impl From<Settings> for SettingsBody {
    fn from(Settings { settings }: Settings) -> Self {
        let value = |status| {
            let SettingStatus {
                name,
                value,
                origin,
            } = status;
            SettingValue {
                name: name.name(),
                value,
                origin: match origin {
                    Origin::Default => "default",
                    Origin::Configuration => "configuration",
                    Origin::Edit => "edit",
                },
            }
        };
        Self {
            settings: settings.into_iter().map(value).collect(),
        }
    }
}

/// What services have that ipvsadm does not know, as a document.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceExtrasBody {
    services: Vec<ServiceExtras>,
}

#[derive(Clone, Debug, Serialize)]
struct ServiceExtras {
    protocol: Option<Protocol>,
    address: Option<IpAddr>,
    port: Option<u16>,
    mark: Option<u32>,
    family: Family,
    no_server: &'static str,
}

impl From<Vec<ServiceStatus>> for ServiceExtrasBody {
    fn from(services: Vec<ServiceStatus>) -> Self {
        let extras = |status: ServiceStatus| {
            let (protocol, address, port, mark) = match status.service {
                ServiceAddress::Address {
                    protocol,
                    address,
                    port,
                } => (Some(protocol), Some(address), Some(port), None),
                ServiceAddress::Mark { mark, family: _ } => (None, None, None, Some(mark)),
            };
            ServiceExtras {
                protocol,
                address,
                port,
                mark,
                family: status.service.family(),
                no_server: status.no_server.name(),
            }
        };
        Self {
            services: services.into_iter().map(extras).collect(),
        }
    }
}
