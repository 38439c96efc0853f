//! `virtual_server` and `real_server`: statements to what they say together.

use super::block::Statement;
use super::group::{Group, Groups, port};
use super::method;
use super::number::{LONGEST_TIMEOUT, leading, read};
use super::topic;
use crate::args::SCHEDULERS;
use crate::import::{Description, Extra, Server, Topic};
use lb_common::api::{Family, Forwarding, Netmask, Protocol, ServerAddress, ServerOptions};
use std::net::{IpAddr, Ipv4Addr};

/// How long a service is persistent unless it says for how long, in seconds.
pub(super) const PERSISTENT: u32 = 360;
/// The largest weight ipvs takes, and keepalived before 2.4; later ones take no more than 65535.
const WEIGHT: u32 = i32::MAX as u32;
/// The largest threshold ipvs takes.
const THRESHOLD: u32 = i32::MAX as u32;

/// What a virtual server says, and what its real servers inherit from it.
pub(super) struct Pool<'a> {
    pub(super) statement: &'a Statement,
    pub(super) target: Target<'a>,
    pub(super) family: Option<Family>,
    pub(super) scheduler: Option<&'static str>,
    pub(super) flags: u8,
    pub(super) one_packet: bool,
    pub(super) method: Option<Forwarding>,
    pub(super) protocol: Option<Protocol>,
    pub(super) persistent: Option<u32>,
    pub(super) granularity: Option<Netmask>,
    pub(super) engine: Option<String>,
    pub(super) weight: u32,
    pub(super) members: Vec<Member>,
    pub(super) sorry: Option<Sorry>,
    pub(super) extras: Vec<Extra>,
}

/// What a virtual server stands for.
pub(super) enum Target<'a> {
    Address(IpAddr, u16),
    Mark(u32),
    Group(&'a Group),
}

/// A real server.
pub(super) struct Member {
    /// With its own address and port, and whatever else is its own.
    pub(super) server: Server,
    pub(super) method: Option<Forwarding>,
    pub(super) weight: Option<u32>,
}

/// The server of last resort.
pub(super) struct Sorry {
    pub(super) member: Member,
    /// It stays in the table, with weight 0, while others are up.
    pub(super) inhibit: bool,
}

/// Adds the services of a virtual server to a description.
pub(super) fn virtual_server(
    statement: &Statement,
    groups: &Groups,
    description: &mut Description,
) {
    let refused = match Pool::new(statement, groups) {
        Ok(mut pool) => {
            for inner in statement.block() {
                pool.take(inner);
            }
            pool.finish(description)
        }
        Err(why) => Err(why),
    };
    if let Err(why) = refused {
        description.extras.push(statement.ignored(why));
    }
}

impl<'a> Pool<'a> {
    fn new(statement: &'a Statement, groups: &'a Groups) -> Result<Self, String> {
        let target = match (statement.word(1), statement.word(2)) {
            (Some("group"), Some(name)) => Target::Group(
                groups
                    .get(name)
                    .ok_or_else(|| format!("there is no group `{name}'"))?,
            ),
            (Some("fwmark"), mark) => Target::Mark(leading(mark, 1, u32::MAX)?.value),
            (Some(address), word) => {
                let address = address
                    .parse()
                    .map_err(|_| format!("`{address}' is no address"))?;
                Target::Address(address, port(word)?)
            }
            (None, _) => return Err("it has no address".to_owned()),
        };
        let family = match target {
            Target::Address(address, _) => Some(Family::of(address)),
            Target::Mark(_) | Target::Group(_) => None,
        };
        Ok(Self {
            statement,
            target,
            family,
            scheduler: None,
            flags: 0,
            one_packet: false,
            method: None,
            protocol: None,
            persistent: None,
            granularity: None,
            engine: None,
            weight: 1,
            members: Vec::new(),
            sorry: None,
            extras: Vec::new(),
        })
    }

    fn take(&mut self, statement: &Statement) {
        // How many words the statement has besides its keyword.
        let words = match statement.keyword() {
            "real_server" => return self.real_server(statement),
            "sorry_server" => 2,
            "lvs_method" | "lb_kind" | "sorry_server_lvs_method" => usize::MAX,
            "ops"
            | "hashed"
            | "flag-1"
            | "flag-2"
            | "flag-3"
            | "sh-port"
            | "sh-fallback"
            | "mh-port"
            | "mh-fallback"
            | "sorry_server_inhibit" => 0,
            "ip_family"
            | "lvs_sched"
            | "lb_algo"
            | "persistence_engine"
            | "persistence_timeout"
            | "persistence_granularity"
            | "protocol"
            | "weight" => 1,
            keyword => {
                let topic = topic::of_virtual_server(keyword);
                self.extras.push(statement.extra(&topic));
                return;
            }
        };
        let result = self.keyword(statement);
        match result.and_then(|()| nothing_behind(statement, words)) {
            Ok(()) => {}
            Err(why) => self.extras.push(statement.ignored(why)),
        }
    }

    /// Takes a statement of the table; the error is why keepalived ignores it, or part of it.
    fn keyword(&mut self, statement: &Statement) -> Result<(), String> {
        let value = statement.word(1);
        match statement.keyword() {
            "ip_family" => {
                let family = match value {
                    Some("inet") => Family::Ipv4,
                    Some("inet6") => Family::Ipv6,
                    Some(_) | None => return Err("the family is neither inet nor inet6".into()),
                };
                if self.family.is_some_and(|known| known != family) {
                    return Err("the virtual server has another family".into());
                }
                self.family = Some(family);
            }
            "lvs_sched" | "lb_algo" => {
                let name = value.unwrap_or_default();
                let known = SCHEDULERS.iter().find(|known| **known == name);
                self.scheduler = Some(known.ok_or_else(|| format!("no scheduler `{name}'"))?);
            }
            "ops" => self.one_packet = true,
            // It has no meaning any more.
            "hashed" => {}
            "flag-1" => self.flags |= 1,
            "flag-2" => self.flags |= 2,
            "flag-3" => self.flags |= 4,
            "sh-fallback" => self.flag("sh", 1)?,
            "sh-port" => self.flag("sh", 2)?,
            "mh-fallback" => self.flag("mh", 1)?,
            "mh-port" => self.flag("mh", 2)?,
            "lvs_method" | "lb_kind" => {
                let read = method::read(statement, self.method);
                self.method = read.method;
                read.complaint.map_or(Ok(()), Err)?;
            }
            "persistence_engine" => match value {
                Some("sip") => self.engine = Some("sip".to_owned()),
                Some(_) | None => return Err("ipvs has no engine but sip".into()),
            },
            "persistence_timeout" => {
                self.persistent = Some(match value {
                    None => PERSISTENT,
                    Some(_) => read(value, 1, LONGEST_TIMEOUT)?.value,
                });
            }
            "persistence_granularity" => self.granularity(value.unwrap_or_default())?,
            "protocol" => {
                let name = value.unwrap_or_default();
                let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
                let known = protocols
                    .into_iter()
                    .find(|known| known.to_string().eq_ignore_ascii_case(name));
                self.protocol = Some(known.ok_or_else(|| format!("no protocol `{name}'"))?);
            }
            "weight" => numbered(value, 1, WEIGHT, |weight| self.weight = weight)?,
            "sorry_server" => {
                let member = self.member(statement)?;
                self.sorry = Some(Sorry {
                    member,
                    inhibit: false,
                });
            }
            "sorry_server_inhibit" => {
                self.sorry.as_mut().ok_or(NO_SORRY_SERVER)?.inhibit = true;
            }
            "sorry_server_lvs_method" => {
                let member = &mut self.sorry.as_mut().ok_or(NO_SORRY_SERVER)?.member;
                let read = method::read(statement, member.method);
                member.method = read.method;
                read.complaint.map_or(Ok(()), Err)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn flag(&mut self, scheduler: &str, bit: u8) -> Result<(), String> {
        if self.scheduler != Some(scheduler) {
            return Err(format!(
                "keepalived ignores it unless `lvs_sched {scheduler}' stands above"
            ));
        }
        self.flags |= bit;
        Ok(())
    }

    fn granularity(&mut self, text: &str) -> Result<(), String> {
        let family = match (self.family, text.contains('.')) {
            (Some(family), _) => family,
            (None, true) => Family::Ipv4,
            (None, false) => Family::Ipv6,
        };
        let mask = match family {
            Family::Ipv4 => {
                let mask: Ipv4Addr = text.parse().map_err(|_| format!("`{text}' is no mask"))?;
                Netmask::Mask(mask)
            }
            Family::Ipv6 => {
                let bits = read(Some(text), 1, 128)?.value;
                Netmask::Prefix(u8::try_from(bits).map_err(|error| error.to_string())?)
            }
        };
        self.family = Some(family);
        self.persistent.get_or_insert(PERSISTENT);
        let full = [Netmask::Mask(Ipv4Addr::BROADCAST), Netmask::Prefix(128)];
        self.granularity = (!full.contains(&mask)).then_some(mask);
        Ok(())
    }

    fn member(&self, statement: &Statement) -> Result<Member, String> {
        let word = statement.word(1).unwrap_or_default();
        let address = word
            .parse()
            .map_err(|_| format!("`{word}' is no address"))?;
        Ok(Member {
            server: Server {
                place: statement.place.clone(),
                address: ServerAddress {
                    address,
                    port: port(statement.word(2))?,
                },
                options: ServerOptions {
                    forwarding: Forwarding::Masquerade,
                    weight: 1,
                    upper_threshold: 0,
                    lower_threshold: 0,
                },
                extras: Vec::new(),
            },
            method: self.method,
            weight: None,
        })
    }

    fn real_server(&mut self, statement: &Statement) {
        let mut member = match self.member(statement) {
            Ok(member) => member,
            Err(why) => {
                self.extras.push(statement.ignored(why));
                return;
            }
        };
        for inner in statement.block() {
            let result = member.take(inner);
            if let Err(extra) = result {
                member.server.extras.push(extra);
            }
        }
        let address = member.server.address.address;
        if !matches!(member.method, Some(Forwarding::Tunnel(_))) {
            let family = Family::of(address);
            if *self.family.get_or_insert(family) != family {
                self.extras.push(statement.ignored(OTHER_FAMILY));
                return;
            }
        }
        if let Err(why) = nothing_behind(statement, 2) {
            let topic = Topic::Ignored(why);
            let extra = Extra::new(&statement.place, &statement.text, topic);
            member.server.extras.push(extra);
        }
        self.members.push(member);
    }
}

const NO_SORRY_SERVER: &str = "no sorry_server stands above";
pub(super) const OTHER_FAMILY: &str = "only a tunnel leads to a server of another family";

impl Member {
    /// Takes a statement of a real server's block; the error is what is left out of it.
    fn take(&mut self, statement: &Statement) -> Result<(), Extra> {
        let options = &mut self.server.options;
        let value = statement.word(1);
        let result = match statement.keyword() {
            "weight" => numbered(value, 0, WEIGHT, |weight| self.weight = Some(weight)),
            "uthreshold" => numbered(value, 0, THRESHOLD, |number| {
                options.upper_threshold = number
            }),
            "lthreshold" => numbered(value, 0, THRESHOLD, |number| {
                options.lower_threshold = number
            }),
            "lvs_method" => {
                let read = method::read(statement, self.method);
                self.method = read.method;
                return read
                    .complaint
                    .map_or(Ok(()), |why| Err(statement.ignored(why)));
            }
            keyword => return Err(statement.extra(&topic::of_real_server(keyword))),
        };
        result
            .and_then(|()| nothing_behind(statement, 1))
            .map_err(|why| statement.ignored(why))
    }
}

/// Takes a number; what is not all of its word is taken as far as it goes, and complained about.
fn numbered(
    word: Option<&str>,
    least: u32,
    most: u32,
    take: impl FnOnce(u32),
) -> Result<(), String> {
    let number = leading(word, least, most)?;
    take(number.value);
    if number.whole {
        Ok(())
    } else {
        Err(format!("keepalived takes it for {}", number.value))
    }
}

/// Complains about words behind those that count, and about a block.
fn nothing_behind(statement: &Statement, words: usize) -> Result<(), String> {
    match statement.word(words.saturating_add(1)) {
        Some(word) => Err(format!("keepalived ignores the words from `{word}' on")),
        None if statement.block.is_some() && statement.keyword() != "real_server" => {
            Err("keepalived ignores the block".to_owned())
        }
        None => Ok(()),
    }
}
