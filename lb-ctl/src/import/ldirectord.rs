//! ldirectord's configuration, as of resource-agents 4.17.
//!
//! ldirectord runs `/sbin/ipvsadm` with words from its file; the reader puts the same words to
//! ipvsadm's own grammar ([`crate::args`]), so that both mean the same by them. ldirectord starts
//! with no mistake in its file, and so every mistake is an error here.

use super::{Description, Extra, Place, Problem, Problems, Server, Topic};
use crate::args::address::ipv4;
use crate::args::request::{Request, request};
use crate::names::Names;
use lb_common::api::{Edit, Family, Protocol, ServiceAddress};
use std::net::Ipv4Addr;
use std::rc::Rc;

/// How many servers a range may have.
const MOST: u32 = 4096;

/// Reads a configuration; `file` names it in messages.
///
/// # Errors
/// Every line that ldirectord, or the ipvsadm it runs, would refuse.
pub fn read(bytes: &[u8], file: &str, names: &dyn Names) -> Result<Description, Problems> {
    let mut reader = Reader {
        names,
        description: Description::default(),
        problems: Vec::new(),
        fallbacks: Vec::new(),
        services: Vec::new(),
    };
    let file: Rc<str> = file.into();
    for (line, number) in super::text(bytes).split('\n').zip(1..) {
        let place = Place {
            file: Rc::clone(&file),
            line: number,
        };
        let result = reader.line(line.strip_suffix('\r').unwrap_or(line), &place);
        if let Err(what) = result {
            reader.problems.push(Problem::new(&place, what));
        }
    }
    reader.finish();
    if reader.problems.is_empty() {
        Ok(reader.description)
    } else {
        reader.problems.sort_by(|a, b| a.place.cmp(&b.place));
        // A global fallback is wrong in every service, and on one line.
        reader.problems.dedup_by(|a, b| a.place == b.place);
        Err(Problems(reader.problems))
    }
}

struct Reader<'a> {
    names: &'a dyn Names,
    description: Description,
    problems: Vec<Problem>,
    /// The global fallbacks.
    fallbacks: Vec<(Family, Fallback)>,
    /// What has been read; the last one may go on.
    services: Vec<Virtual>,
}

/// A `virtual` line and those below it.
struct Virtual {
    place: Place,
    text: String,
    target: Target,
    family: Family,
    /// Whether the next indented line belongs to it.
    open: bool,
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

#[derive(Clone)]
struct Fallback {
    place: Place,
    host: String,
    port: Option<String>,
    method: &'static str,
}

impl Reader<'_> {
    fn line(&mut self, line: &str, place: &Place) -> Result<(), String> {
        let indented = line.starts_with([' ', '\t']);
        let content = match line.split_once('#') {
            Some((content, _)) => content,
            None => line,
        };
        if content.trim().is_empty() {
            // A comment of its own line stands between others; a blank line ends a service.
            if !line.trim_start().starts_with('#') {
                self.close();
            }
            return Ok(());
        }
        let (key, value) = match content.split_once('=') {
            Some((key, value)) => (key.trim(), value.trim()),
            None => (content.trim(), ""),
        };
        if indented {
            return self.indented(content, key, value, place);
        }
        self.close();
        match key {
            "virtual" => self.begin(Family::Ipv4, value, content, place),
            "virtual6" => self.begin(Family::Ipv6, value, content, place),
            _ => self.global(key, value, content, place),
        }
    }

    fn close(&mut self) {
        if let Some(last) = self.services.last_mut() {
            last.open = false;
        }
    }

    fn begin(
        &mut self,
        family: Family,
        value: &str,
        text: &str,
        place: &Place,
    ) -> Result<(), String> {
        let service = Virtual {
            place: place.clone(),
            text: text.trim().to_owned(),
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
        };
        self.services.push(service);
        Ok(())
    }

    fn global(&mut self, key: &str, value: &str, text: &str, place: &Place) -> Result<(), String> {
        let topic = match key {
            "fallback" | "fallback6" => {
                let family = if key == "fallback" {
                    Family::Ipv4
                } else {
                    Family::Ipv6
                };
                let fallback = fallback(value, place)?;
                self.fallbacks.retain(|(known, _)| *known != family);
                self.fallbacks.push((family, fallback));
                return Ok(());
            }
            "checktimeout" | "negotiatetimeout" | "checkinterval" | "checkcount"
            | "failurecount" | "quiescent" | "readdquiescent" | "maintenancedir" => Topic::Check,
            "fallbackcommand" | "callback" => Topic::Script,
            "emailalert" | "emailalertfreq" | "emailalertstatus" | "emailalertfrom" | "smtp" => {
                Topic::Alert
            }
            "autoreload" | "logfile" | "execute" | "fork" | "supervised" | "cleanstop" => {
                Topic::Program
            }
            _ => return Err(unknown(key)),
        };
        let extra = Extra::new(place, text.trim(), topic);
        self.description.extras.push(extra);
        Ok(())
    }

    fn indented(
        &mut self,
        line: &str,
        key: &str,
        value: &str,
        place: &Place,
    ) -> Result<(), String> {
        let Some(service) = self.services.last_mut().filter(|last| last.open) else {
            return Err(
                "the line is indented and belongs to no virtual service; write it right below \
                 its `virtual = ...', without a blank line between, or do not indent it"
                    .to_owned(),
            );
        };
        let indent = line.len() - line.trim_start_matches(' ').len();
        if !line.starts_with('\t') && indent < 4 && !line[indent..].starts_with('\t') {
            return Err("the line is indented by less than four blanks or a tab".to_owned());
        }
        service.key(line.trim(), key, value, place)
    }

    /// Says the services, once all lines have been read.
    fn finish(&mut self) {
        for service in std::mem::take(&mut self.services) {
            let global = self
                .fallbacks
                .iter()
                .find(|(family, _)| *family == service.family)
                .map(|(_, fallback)| fallback.clone());
            let said = service.say(self.names, global, &mut self.description);
            self.problems.extend(said.err().into_iter().flatten());
        }
    }
}

impl Virtual {
    /// Takes a line below `virtual`.
    fn key(&mut self, text: &str, key: &str, value: &str, place: &Place) -> Result<(), String> {
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
    fn say(
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

/// One server of a `real` line.
struct Real {
    /// What the line says.
    text: String,
    host: String,
    port: u16,
    method: &'static str,
    weight: String,
    lower: String,
    upper: String,
    /// Request and answer of its check.
    check: Option<String>,
}

impl Real {
    fn words(&self) -> Vec<String> {
        let server = format!("{}:{}", self.host, self.port);
        let thresholds = ["-x", &self.upper, "-y", &self.lower];
        let server = ["-r", &server, self.method, "-w", &self.weight];
        let words = thresholds.into_iter().chain(server);
        words.map(str::to_owned).collect()
    }
}

const METHOD: &str = "the forwarding method is none of gate, masq, ipip";

/// Reads `host[->host][:port] gate|masq|ipip [weight] ["request","receive"] [l:N] [u:N]`.
fn real(text: &str, names: &dyn Names) -> Result<Vec<Real>, String> {
    let (address, rest) = text
        .split_once([' ', '\t'])
        .ok_or("a real server is an address, a port and a method, e.g. 192.168.0.1:80 gate")?;
    let (hosts, port) = endpoint(address);
    let port = port_number(port.unwrap_or("0"), names)?;
    let rest = rest.trim();
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (word, mut rest) = rest.split_at(end);
    let method = method(word)?;

    let mut weight = "1".to_owned();
    let (word, behind) = first_word(rest);
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        (weight, rest) = (word.to_owned(), behind);
    }
    let (check, behind) = quoted_pair(rest)?;
    rest = behind;
    let mut threshold = |name: &str| {
        let (word, behind) = first_word(rest);
        match word.strip_prefix(name) {
            Some(number) => {
                rest = behind;
                number.to_owned()
            }
            None => "0".to_owned(),
        }
    };
    let (lower, upper) = (threshold("l:"), threshold("u:"));
    if !rest.trim().is_empty() {
        return Err(format!(
            "the line goes on with `{}'; behind the method may stand a weight, \
             \"request\", \"receive\", l:number and u:number, in this order",
            rest.trim()
        ));
    }
    let hosts = match hosts.split_once("->") {
        Some((first, last)) => range(first, last, names)?,
        None => vec![hosts.to_owned()],
    };
    let real = |host| Real {
        text: text.to_owned(),
        host,
        port,
        method,
        weight: weight.clone(),
        lower: lower.clone(),
        upper: upper.clone(),
        check: check.clone(),
    };
    Ok(hosts.into_iter().map(real).collect())
}

fn range(first: &str, last: &str, names: &dyn Names) -> Result<Vec<String>, String> {
    let address = |host: &str| {
        ipv4(host, names).ok_or_else(|| format!("`{host}' is no IPv4 address, as ranges need"))
    };
    let (low, high) = (address(first)?.to_bits(), address(last)?.to_bits());
    if low > high {
        return Err(format!("{first} is above {last}; exchange them"));
    }
    if high - low >= MOST {
        return Err(format!(
            "the range has more than {MOST} servers; write fewer"
        ));
    }
    Ok((low..=high)
        .map(|address| Ipv4Addr::from_bits(address).to_string())
        .collect())
}

/// Reads `"request","receive"`, and returns what is behind it.
fn quoted_pair(text: &str) -> Result<(Option<String>, &str), String> {
    let trimmed = text.trim_start();
    if !trimmed.starts_with('"') {
        return Ok((None, text));
    }
    // Both may have quotes inside: ldirectord looks for the last one.
    let end = trimmed.rfind('"').unwrap_or_default();
    let (pair, behind) = trimmed.split_at(end + 1);
    let parts = ["\",", "\" "];
    if pair.len() > 2 && parts.iter().any(|middle| pair[1..].contains(middle)) {
        Ok((Some(pair.to_owned()), behind))
    } else {
        Err("a check has a request and a receive, each in quotes: \"/\", \"OK\"".to_owned())
    }
}

/// Reads `host[:port] [gate|masq|ipip]`.
fn fallback(text: &str, place: &Place) -> Result<Fallback, String> {
    let mut words = text.split_whitespace();
    let address = words
        .next()
        .ok_or("a fallback is an address, e.g. 127.0.0.1:80 gate")?;
    let method = words.next().map_or(Ok("-g"), method)?;
    if let Some(word) = words.next() {
        return Err(format!("a fallback ends before `{word}'"));
    }
    let (host, port) = endpoint(address);
    Ok(Fallback {
        place: place.clone(),
        host: host.to_owned(),
        port: port.map(str::to_owned),
        method,
    })
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

/// Host and port of `host`, `host:port`, `[v6]` and `[v6]:port`.
fn endpoint(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    }
}

/// A port by number or name, whatever the protocol.
fn port_number(text: &str, names: &dyn Names) -> Result<u16, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .map_err(|_| format!("`{text}' is no port; the last is 65535"));
    }
    names
        .port(text, Protocol::Tcp)
        .or_else(|| names.port(text, Protocol::Udp))
        .ok_or_else(|| format!("`{text}' is no port that this machine knows by name"))
}

fn method(word: &str) -> Result<&'static str, String> {
    match word {
        "gate" => Ok("-g"),
        "masq" => Ok("-m"),
        "ipip" => Ok("-i"),
        _ => Err(METHOD.to_owned()),
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

fn unknown(key: &str) -> String {
    format!("ldirectord knows no `{key}' here; remove the line, or put its key right")
}

fn first_digits(text: &str) -> Option<String> {
    let digits: String = text
        .chars()
        .skip_while(|digit| !digit.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    (!digits.is_empty()).then_some(digits)
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}
