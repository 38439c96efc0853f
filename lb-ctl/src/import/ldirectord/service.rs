//! A `virtual` line, and what is below it.

use super::real::{Fallback, Real, endpoint, fallback, port_number, real};
use super::unknown;
use crate::args::request::{Request, request};
use crate::import::{Description, Extra, Place, Problem, Server, Topic};
use crate::names::Names;
use lb_common::api::{Edit, Family, Protocol, ServiceAddress};
use std::net::Ipv4Addr;

/// A `virtual` line and those below it.
pub(super) struct Virtual {
    place: Place,
    text: String,
    target: Target,
    pub(super) family: Family,
    /// Whether the next indented line belongs to it.
    pub(super) open: bool,
    protocol: Option<Protocol>,
    scheduler: String,
    persistent: Option<String>,
    netmask: Option<(String, Place)>,
    flags: Option<String>,
    one_packet: Option<Place>,
    /// `checktype=off`.
    off: bool,
    reals: Vec<(String, Place)>,
    fallback: Option<Fallback>,
    extras: Vec<Extra>,
}

enum Target {
    /// Host and port, as ipvsadm takes them.
    Address {
        text: String,
        port: String,
    },
    Mark(String),
}

impl Virtual {
    /// Begins with the value of `virtual` or `virtual6`.
    pub(super) fn new(
        family: Family,
        value: &str,
        text: &str,
        place: &Place,
    ) -> Result<Self, String> {
        Ok(Self {
            place: place.clone(),
            text: text.to_owned(),
            target: target(family, value)?,
            family,
            open: true,
            protocol: None,
            scheduler: "wrr".to_owned(),
            persistent: None,
            netmask: None,
            flags: None,
            one_packet: None,
            off: false,
            reals: Vec::new(),
            fallback: None,
            extras: Vec::new(),
        })
    }

    /// Takes a line below `virtual`.
    pub(super) fn key(
        &mut self,
        text: &str,
        key: &str,
        value: &str,
        place: &Place,
    ) -> Result<(), String> {
        let word = value.split_whitespace().next().unwrap_or_default();
        let (real, fall) = match self.family {
            Family::Ipv4 => ("real", "fallback"),
            Family::Ipv6 => ("real6", "fallback6"),
        };
        let topic = match key {
            "real" | "real6" | "fallback" | "fallback6" if key != real && key != fall => {
                let other = if key.starts_with("real") { real } else { fall };
                return Err(format!("`{key}' is of another family; write {other}"));
            }
            "real" | "real6" => {
                self.reals.push((value.to_owned(), place.clone()));
                return Ok(());
            }
            "fallback" | "fallback6" => {
                self.fallback = Some(fallback(value, place)?);
                return Ok(());
            }
            "scheduler" => {
                let letters: String = value
                    .chars()
                    .skip_while(|letter| !letter.is_ascii_lowercase())
                    .take_while(char::is_ascii_lowercase)
                    .collect();
                if letters.is_empty() {
                    return Err("the scheduler has no name of small letters, e.g. wrr".to_owned());
                }
                self.scheduler = letters;
                return Ok(());
            }
            "persistent" => {
                let digits = first_digits(value);
                self.persistent = Some(digits.ok_or("persistent needs seconds, e.g. 600")?);
                return Ok(());
            }
            "netmask" => {
                self.netmask = Some((value.to_owned(), place.clone()));
                return Ok(());
            }
            "schedflags" => {
                self.flags = Some(word.to_owned());
                return Ok(());
            }
            "protocol" => {
                self.protocol = match (&self.target, word) {
                    (Target::Mark(_), "fwm") => None,
                    (Target::Mark(_), _) => {
                        return Err("the protocol of a mark is fwm".to_owned());
                    }
                    (Target::Address { .. }, "tcp") => Some(Protocol::Tcp),
                    (Target::Address { .. }, "udp") => Some(Protocol::Udp),
                    (Target::Address { .. }, _) => {
                        return Err("the protocol of an address is tcp or udp".to_owned());
                    }
                };
                return Ok(());
            }
            "ops" => {
                self.one_packet = match value {
                    "yes" => Some(place.clone()),
                    "no" => None,
                    _ => return Err("ops is yes or no".to_owned()),
                };
                return Ok(());
            }
            "checktype" => {
                self.off = word == "off";
                Topic::Check
            }
            "request" | "receive" | "checkcommand" | "checktimeout" | "negotiatetimeout"
            | "checkcount" | "failurecount" | "checkinterval" | "checkport" | "login"
            | "passwd" | "database" | "secret" | "load" | "service" | "httpmethod"
            | "virtualhost" | "quiescent" => Topic::Check,
            "fallbackcommand" => Topic::Script,
            "emailalert" | "emailalertfreq" | "emailalertstatus" | "smtp" | "servicename"
            | "comment" => Topic::Alert,
            "monitorfile" | "cleanstop" => Topic::Program,
            _ => return Err(unknown(key)),
        };
        // What is secret stays so.
        let text = match key {
            "passwd" | "secret" => format!("{key} = ..."),
            _ => text.to_owned(),
        };
        self.extras.push(Extra::new(place, text, topic));
        Ok(())
    }

    /// Adds the service and its servers to a description.
    pub(super) fn say(
        mut self,
        names: &dyn Names,
        global: Option<Fallback>,
        description: &mut Description,
    ) -> Result<(), Vec<Problem>> {
        let selector = self.selector();
        let mut extras = std::mem::take(&mut self.extras);
        let words = self.service_words(&selector, &mut extras)?;
        let place = self.place.clone();
        let add = put(words, names).map_err(|what| vec![Problem::new(&place, what)])?;
        let Edit::AddService { service, .. } = add else {
            return Err(vec![Problem::new(&place, "the line makes no service")]);
        };
        if let Err(why) = description.apply(add, &place) {
            let what = format!("{}: {why}; remove one of the two", self.text);
            return Err(vec![Problem::new(&place, what)]);
        }

        let mut problems = Vec::new();
        for (text, place) in &self.reals {
            match real(text, names) {
                Ok(reals) => {
                    for real in reals {
                        let add = self.add_real(&selector, &real, place, names, description);
                        match add {
                            Ok(None) => {}
                            Ok(Some(extra)) => extras.push(extra),
                            Err(what) => problems.push(Problem::new(place, what)),
                        }
                    }
                }
                Err(what) => problems.push(Problem::new(place, what)),
            }
        }
        // A mark has no port, and ldirectord's global fallback none for it.
        let global = global.filter(|_| matches!(service, ServiceAddress::Address { .. }));
        if let Some(fallback) = self.fallback.clone().or(global) {
            match self.fallback_server(&selector, &fallback, names) {
                Ok(server) => {
                    if let Some(service) = description.services.get_mut(&service) {
                        // Where no real server can be up, it is in the table from the start.
                        if service.servers.as_slice().is_empty() {
                            let _ = service.servers.push(server);
                        } else {
                            service.fallback = Some(server);
                        }
                    }
                }
                Err(what) => problems.push(Problem::new(&fallback.place, what)),
            }
        }
        if let Some(service) = description.services.get_mut(&service) {
            service.extras = extras;
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// The words that name the service.
    fn selector(&self) -> Vec<String> {
        let words: Vec<&str> = match (&self.target, self.protocol()) {
            (Target::Address { text, .. }, Protocol::Udp) => vec!["-u", text],
            (Target::Address { text, .. }, Protocol::Tcp | Protocol::Sctp) => vec!["-t", text],
            (Target::Mark(mark), _) => match self.family {
                Family::Ipv4 => vec!["-f", mark],
                Family::Ipv6 => vec!["-f", mark, "-6"],
            },
        };
        words.into_iter().map(str::to_owned).collect()
    }

    fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or(match &self.target {
            Target::Address { port, .. } if port == "53" || port == "domain" => Protocol::Udp,
            Target::Address { .. } | Target::Mark(_) => Protocol::Tcp,
        })
    }

    fn service_words(
        &self,
        selector: &[String],
        extras: &mut Vec<Extra>,
    ) -> Result<Vec<String>, Vec<Problem>> {
        let mut words = vec!["-A".to_owned()];
        words.extend_from_slice(selector);
        let mut option = |option: &str, value: &str| {
            words.push(option.to_owned());
            words.push(value.to_owned());
        };
        option("-s", &self.scheduler);
        if let Some(seconds) = &self.persistent {
            option("-p", seconds);
        }
        if let Some((mask, place)) = &self.netmask {
            check_netmask(self.family, mask).map_err(|what| vec![Problem::new(place, what)])?;
            if self.persistent.is_some() {
                option("-M", mask);
            } else {
                let topic = Topic::Ignored("ldirectord ignores it without persistent".to_owned());
                extras.push(Extra::new(place, format!("netmask = {mask}"), topic));
            }
        }
        if let Some(flags) = &self.flags {
            option("-b", flags);
        }
        if let Some(place) = &self.one_packet {
            let udp = matches!(self.target, Target::Address { .. });
            if udp && self.protocol() == Protocol::Udp {
                words.push("-o".to_owned());
            } else {
                let topic = Topic::Ignored("ldirectord ignores it unless for udp".to_owned());
                extras.push(Extra::new(place, "ops = yes", topic));
            }
        }
        Ok(words)
    }

    /// Adds a real server, or says why it is left out.
    fn add_real(
        &self,
        selector: &[String],
        real: &Real,
        place: &Place,
        names: &dyn Names,
        description: &mut Description,
    ) -> Result<Option<Extra>, String> {
        let mut words = vec!["-a".to_owned()];
        words.extend_from_slice(selector);
        words.extend(real.words());
        let edit = put(words, names)?;
        let Edit::AddServer {
            service, server, ..
        } = edit
        else {
            return Err("the line makes no real server".to_owned());
        };
        let text = format!("real = {}", real.text);
        if self.off {
            let why = "checktype = off keeps it out of the table";
            let topic = Topic::Ignored(why.to_owned());
            return Ok(Some(Extra::new(place, text, topic)));
        }
        if let Err(why) = description.apply(edit, place) {
            let topic = Topic::Unsaid(format!("ipvs would say of {server}: {why}"));
            return Ok(Some(Extra::new(place, text, topic)));
        }
        if let Some(check) = &real.check {
            let added = description
                .services
                .get_mut(&service)
                .and_then(|service| service.servers.get_mut(&server));
            if let Some(added) = added {
                added.extras.push(Extra::new(place, check, Topic::Check));
            }
        }
        Ok(None)
    }

    fn fallback_server(
        &self,
        selector: &[String],
        fallback: &Fallback,
        names: &dyn Names,
    ) -> Result<Server, String> {
        let port = match (&fallback.port, &self.target) {
            (Some(port), _) | (None, Target::Address { port, .. }) => port,
            (None, Target::Mark(_)) => "0",
        };
        let mut words = vec!["-a".to_owned()];
        words.extend_from_slice(selector);
        let server = format!("{}:{}", fallback.host, port_number(port, names)?);
        words.extend(["-r".to_owned(), server, fallback.method.to_owned()]);
        let Edit::AddServer {
            server, options, ..
        } = put(words, names)?
        else {
            return Err("the line makes no server".to_owned());
        };
        Ok(Server {
            place: fallback.place.clone(),
            address: server,
            options,
            extras: Vec::new(),
        })
    }
}

/// Reads what a virtual service stands for.
fn target(family: Family, value: &str) -> Result<Target, String> {
    let word = value.split_whitespace().next().unwrap_or_default();
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Target::Mark(word.to_owned()));
    }
    match (endpoint(word), family) {
        ((_, None), _) => Err(format!(
            "`{word}' is no virtual service; write address:port or a firewall mark"
        )),
        ((host, Some(_)), Family::Ipv4) if host.starts_with('[') => {
            Err("an IPv6 service begins with virtual6, not with virtual".to_owned())
        }
        ((host, Some(_)), Family::Ipv6) if !host.starts_with('[') => Err(format!(
            "`{host}' is no IPv6 address in brackets; write [address]:port"
        )),
        ((_, Some(port)), Family::Ipv4 | Family::Ipv6) => Ok(Target::Address {
            text: word.to_owned(),
            port: port.to_owned(),
        }),
    }
}

fn check_netmask(family: Family, mask: &str) -> Result<(), String> {
    let good = match family {
        Family::Ipv4 => mask.parse::<Ipv4Addr>().is_ok(),
        Family::Ipv6 => mask.parse().is_ok_and(|bits: u8| (1..=128).contains(&bits)),
    };
    match (good, family) {
        (true, _) => Ok(()),
        (false, Family::Ipv4) => Err("a netmask is an address, e.g. 255.255.255.0".to_owned()),
        (false, Family::Ipv6) => Err("the netmask of virtual6 is from 1 to 128".to_owned()),
    }
}

/// Puts words to ipvsadm's grammar.
fn put(words: Vec<String>, names: &dyn Names) -> Result<Edit, String> {
    match request(&words, names) {
        Ok(Request::Edit(edit)) => Ok(edit),
        Ok(_) => Err("the line says nothing about ipvs's table".to_owned()),
        Err(refused) => Err(format!(
            "{}, says ipvsadm of `{}'",
            refused.text("ipvsadm").trim_end(),
            words.join(" ")
        )),
    }
}

fn first_digits(text: &str) -> Option<String> {
    let digits: String = text
        .chars()
        .skip_while(|digit| !digit.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    (!digits.is_empty()).then_some(digits)
}
