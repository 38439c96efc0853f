//! What may come next on a command line, told by the tables that read it.

use crate::args::flags::{Command, FLAGS, Flag, Spec};
use crate::args::legality::{Given, Opt, allows};
use crate::args::parse::noted_as;
use crate::args::popt::Options;
use crate::args::{SCHEDULERS, sched_flags};
use crate::control::Control;
use crate::invocation::SOCKET_ABOUT;
use crate::verb::words::{Grammar, VerbOption};
use crate::verb::{VERBS, shown};
use lb_common::api::{Protocol, ServerAddress, ServiceAddress, ServiceStatus};

/// The scripts, by the shell they are for.
pub const SCRIPTS: &[(&str, &str)] = &[
    ("bash", include_str!("lb-ctl.bash")),
    ("zsh", include_str!("lb-ctl.zsh")),
    ("fish", include_str!("lb-ctl.fish")),
];

/// What may come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// One of these words; each with what it is for.
    Words(Vec<(String, String)>),
    /// The name of a file.
    File,
}

/// Tells what may stand in the place of the last of `words`; the first is the program's name.
pub fn complete(words: &[String], control: &mut dyn Control) -> Next {
    let (program, words) = match words.split_first() {
        Some((program, words)) => (program.as_str(), words),
        None => ("lb-ctl", words),
    };
    let Some((typed, before)) = words.split_last() else {
        return Next::Words(Vec::new());
    };
    let next = if program.rsplit('/').next() == Some("ipvsadm") {
        option_line(before, typed, control)
    } else {
        match before {
            [first] if first == "--socket" => Next::File,
            [first, _, ..] if first == "--socket" => line(&before[2..], typed, control),
            [first, ..] if first.starts_with("--socket=") => line(&before[1..], typed, control),
            [] => {
                let mut words = first_words(typed, control);
                words.push(("--socket".into(), SOCKET_ABOUT.into()));
                Next::Words(words)
            }
            _ => line(before, typed, control),
        }
    };
    match next {
        Next::Words(words) => Next::Words(
            words
                .into_iter()
                .filter(|(word, _)| word.starts_with(typed.as_str()))
                .collect(),
        ),
        Next::File => Next::File,
    }
}

/// A line of lb-ctl's, behind its socket.
fn line(before: &[String], typed: &str, control: &mut dyn Control) -> Next {
    match before.split_first() {
        None => Next::Words(first_words(typed, control)),
        Some((verb, words)) if !verb.starts_with('-') => VERBS
            .iter()
            .find(|known| known.grammar.name == verb)
            .map_or(Next::Words(Vec::new()), |verb| {
                verb_line(&verb.grammar, words, typed)
            }),
        Some(_) => option_line(before, typed, control),
    }
}

/// The verbs and ipvsadm's commands.
fn first_words(typed: &str, control: &mut dyn Control) -> Vec<(String, String)> {
    let verbs = shown().map(|verb| (verb.grammar.name.to_owned(), verb.about.to_owned()));
    let mut words: Vec<_> = verbs.collect();
    if let Next::Words(options) = option_line(&[], typed, control) {
        words.extend(options);
    }
    words
}

fn verb_line(grammar: &Grammar, before: &[String], typed: &str) -> Next {
    let takes_value = |option: &&&VerbOption| {
        before.last().is_some_and(|last| {
            let short = |short: &char| *last == format!("-{short}");
            option.value.is_some()
                && (last.strip_prefix("--") == Some(option.long) || option.shorts.iter().any(short))
        })
    };
    if let Some(option) = grammar.options.iter().find(takes_value) {
        return values(option.values.iter().map(|value| (*value, option.about)));
    }
    if typed.starts_with('-') && typed != "-" {
        return values_owned(
            grammar
                .options
                .iter()
                .map(|option| (format!("--{}", option.long), option.about.to_owned())),
        );
    }
    let mut options = Options::new(grammar.options, before);
    while let Ok(Some(_)) = options.next_option() {}
    match grammar.operands.get(options.leftovers().len()) {
        Some(operand) if operand.name == "FILE" => Next::File,
        Some(operand) if operand.name == "VERB" => {
            values(shown().map(|verb| (verb.grammar.name, verb.about)))
        }
        Some(operand) => values(operand.values.iter().copied()),
        None => values_owned(
            grammar
                .options
                .iter()
                .map(|option| (format!("--{}", option.long), option.about.to_owned())),
        ),
    }
}

/// A line of ipvsadm's options.
fn option_line(before: &[String], typed: &str, control: &mut dyn Control) -> Next {
    let mut words = before.to_vec();
    words.push(typed.to_owned());
    let typed = &words[words.len() - 1];
    let mut options = Options::new(FLAGS, &words);
    let mut command = None;
    let mut seen = Seen::default();
    while let Ok(Some((spec, value))) = options.next_option() {
        // The word that is typed is the value of the option before it.
        if let Some(value) = value
            && std::ptr::eq(value.as_ptr(), typed.as_ptr())
            && !before.is_empty()
        {
            return option_values(command, spec, typed, &seen, control);
        }
        if let Flag::Command(first) = spec.flag
            && command.is_none()
        {
            command = Some(first);
        }
        if std::ptr::eq(options.current().as_ptr(), typed.as_ptr()) {
            break;
        }
        seen.note(spec, value);
    }
    // A word that is no option and no value makes the line wrong, whatever follows.
    let aside = |word: &&&str| !std::ptr::eq(word.as_ptr(), typed.as_ptr());
    if command != Some(Command::Set) && options.leftovers().iter().any(|word| aside(&word)) {
        return Next::Words(Vec::new());
    }
    let offered = FLAGS.iter().filter(|spec| match command {
        None => matches!(spec.flag, Flag::Command(_)),
        Some(command) => !before.is_empty() && seen.allows(command, spec.flag),
    });
    let mut found = Vec::new();
    for spec in offered {
        let about = spec.about.replace('\n', " ");
        found.push((format!("--{}", spec.long), about.clone()));
        if typed == "-" {
            let shorts = spec.shorts.iter();
            found.extend(shorts.map(|short| (format!("-{short}"), about.clone())));
        }
    }
    Next::Words(found)
}

/// What a line had before the word that is typed.
#[derive(Debug, Default)]
struct Seen {
    given: Given,
    mark: bool,
    ipv6: bool,
    tunnel: bool,
    scheduler: String,
    service: Option<(Flag, String)>,
}

impl Seen {
    fn note(&mut self, spec: Spec, value: Option<&str>) {
        if let Some(opt) = noted_as(spec.flag) {
            // An option that stands twice is complained about when the line is run.
            let _ = self.given.note(opt);
        }
        let value = value.unwrap_or_default().to_owned();
        self.mark |= spec.flag == Flag::FwmarkService;
        self.ipv6 |= spec.flag == Flag::Ipv6;
        self.tunnel |= spec.flag == Flag::Ipip;
        if SERVICES.contains(&spec.flag) {
            self.service = Some((spec.flag, value));
        } else if spec.flag == Flag::Scheduler {
            self.scheduler = value;
        }
    }

    fn allows(&self, command: Command, flag: Flag) -> bool {
        const TUNNEL: &[Opt] = &[
            Opt::TunType,
            Opt::TunPort,
            Opt::TunNocsum,
            Opt::TunCsum,
            Opt::TunRemcsum,
        ];
        match noted_as(flag) {
            Some(opt) if TUNNEL.contains(&opt) && !self.tunnel => false,
            Some(opt) => !self.given.has(opt) && allows(command, self.given, opt),
            None => {
                flag == Flag::Ipv6 && self.mark && !self.ipv6
                    || flag == Flag::Sort && command == Command::List
            }
        }
    }
}

/// The options that name a service.
const SERVICES: &[Flag] = &[
    Flag::TcpService,
    Flag::UdpService,
    Flag::SctpService,
    Flag::FwmarkService,
];

/// The options that have one of a few values.
const FIXED: &[(Flag, &[&str])] = &[
    (Flag::Scheduler, SCHEDULERS),
    (Flag::PersistenceEngine, &["sip"]),
    (Flag::TunType, &["ipip", "gue", "gre"]),
    (Flag::Command(Command::StartDaemon), &["master", "backup"]),
    (Flag::Command(Command::StopDaemon), &["master", "backup"]),
];

fn option_values(
    command: Option<Command>,
    spec: Spec,
    typed: &str,
    seen: &Seen,
    control: &mut dyn Control,
) -> Next {
    if let Some((_, words)) = FIXED.iter().find(|(flag, _)| *flag == spec.flag) {
        return values(words.iter().map(|word| (*word, "")));
    }
    if spec.flag == Flag::SchedFlags {
        return sched_flag_values(typed, &seen.scheduler);
    }
    // A new service has an address that nobody knows yet, and so has a new server.
    if SERVICES.contains(&spec.flag) && command != Some(Command::AddService) {
        let known = services(control).into_iter().filter_map(|status| {
            let text = service_text(&status.service, spec.flag)?;
            Some((text, status.options.scheduler))
        });
        return values_owned(known);
    }
    if spec.flag == Flag::RealServer && command != Some(Command::AddServer) {
        let known = servers(seen, control).into_iter();
        return values_owned(known.map(|server| (server.to_string(), String::new())));
    }
    Next::Words(Vec::new())
}

/// A list of flags, of which the last is typed.
fn sched_flag_values(typed: &str, scheduler: &str) -> Next {
    let done = typed.rfind(',').map_or("", |end| &typed[..=end]);
    values_owned(sched_flags::names(scheduler).map(|name| (format!("{done}{name}"), String::new())))
}

fn services(control: &mut dyn Control) -> Vec<ServiceStatus> {
    // Without an agent there is nothing to offer, and nobody to be told.
    control
        .services()
        .map(|services| services.services)
        .unwrap_or_default()
}

fn servers(seen: &Seen, control: &mut dyn Control) -> Vec<ServerAddress> {
    let Some((flag, text)) = &seen.service else {
        return Vec::new();
    };
    let known = services(control);
    let service = known
        .into_iter()
        .find(|status| service_text(&status.service, *flag).as_ref() == Some(text));
    service.map_or(Vec::new(), |status| {
        status.servers.iter().map(|server| server.server).collect()
    })
}

/// A service as the value of an option; none if the option names no such services.
fn service_text(service: &ServiceAddress, flag: Flag) -> Option<String> {
    let endpoint = |address, port| ServerAddress { address, port }.to_string();
    match (flag, *service) {
        (Flag::FwmarkService, ServiceAddress::Mark { mark, .. }) => Some(mark.to_string()),
        (
            Flag::TcpService,
            ServiceAddress::Address {
                protocol: Protocol::Tcp,
                address,
                port,
            },
        )
        | (
            Flag::UdpService,
            ServiceAddress::Address {
                protocol: Protocol::Udp,
                address,
                port,
            },
        )
        | (
            Flag::SctpService,
            ServiceAddress::Address {
                protocol: Protocol::Sctp,
                address,
                port,
            },
        ) => Some(endpoint(address, port)),
        _ => None,
    }
}

fn values<'a>(words: impl Iterator<Item = (&'a str, &'a str)>) -> Next {
    values_owned(words.map(|(word, about)| (word.to_owned(), about.to_owned())))
}

fn values_owned(words: impl Iterator<Item = (String, String)>) -> Next {
    Next::Words(words.collect())
}
