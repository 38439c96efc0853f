//! ldirectord's configuration, as of resource-agents 4.12.
//!
//! ldirectord runs `/sbin/ipvsadm` with words from its file; the reader puts the same words to
//! ipvsadm's own grammar ([`crate::args`]), so that both mean the same by them. ldirectord starts
//! with no mistake in its file, and so every mistake is an error here.

mod real;
mod service;

use super::{Description, Extra, Place, Problem, Problems, Topic};
use crate::names::Names;
use lb_common::api::Family;
use real::{Fallback, fallback};
use service::Virtual;
use std::rc::Rc;

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
        let service = Virtual::new(family, value, text.trim(), place)?;
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

fn unknown(key: &str) -> String {
    format!("ldirectord knows no `{key}' here; remove the line, or put its key right")
}
