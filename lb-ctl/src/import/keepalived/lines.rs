//! Files to lines: comments, conditions, parameters, sequences, lists and included files
//! (keepalived.conf(5), from "CONFIGURATION PARSER" and "ADVANCED CONFIGURATION" on).

use super::text::{
    decomment, definition, groups, include, is_name, number, parentheses, reference,
};
use crate::import::{Extra, Place, Problem, Topic};
use crate::machine::Machine;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A line behind all of that; never blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) text: String,
}

/// How often files may include each other, and parameters stand for lines with parameters.
const DEPTH: usize = 32;
/// How many lines a configuration may come to.
const LINES: usize = 1_000_000;
/// How many bytes they may have.
const BYTES: usize = 256 << 20;
/// How many parameters a line may have.
const PARAMETERS: usize = 256;
/// How long they may make it, in bytes.
const LONGEST: usize = 1 << 16;

/// Reads files.
pub(super) struct Lines<'a> {
    machine: &'a dyn Machine,
    config_id: &'a str,
    folder: PathBuf,
    definitions: HashMap<String, Definition>,
    /// The definition that goes on with the next line.
    open: Option<String>,
    fed: usize,
    bytes: usize,
    /// What was read.
    pub(super) lines: Vec<Line>,
    /// Includes that were not followed.
    pub(super) extras: Vec<Extra>,
    /// How many lines are for other machines.
    pub(super) skipped: usize,
}

/// What a parameter stands for.
#[derive(Clone, Debug)]
enum Definition {
    Text(String),
    Lines(Vec<Line>),
}

impl<'a> Lines<'a> {
    pub(super) fn new(machine: &'a dyn Machine, config_id: &'a str) -> Self {
        let text = |text: &str| Definition::Text(text.to_owned());
        let definitions = [("_INSTANCE", config_id), ("_HASH", "#"), ("_BANG", "!")]
            .map(|(name, value)| (name.to_owned(), text(value)));
        Self {
            machine,
            config_id,
            folder: PathBuf::new(),
            definitions: definitions.into(),
            open: None,
            fed: 0,
            bytes: 0,
            lines: Vec::new(),
            extras: Vec::new(),
            skipped: 0,
        }
    }

    /// Reads one file, and those it includes; `folder` is where relative names start.
    pub(super) fn file(
        &mut self,
        bytes: &[u8],
        name: &str,
        folder: &Path,
        depth: usize,
    ) -> Result<(), Problem> {
        let before = std::mem::replace(&mut self.folder, folder.to_owned());
        self.define_folder();
        let file: Rc<str> = name.into();
        for (line, number) in crate::import::text(bytes).split('\n').zip(1..) {
            let place = Place {
                file: Rc::clone(&file),
                line: number,
            };
            let text = decomment(line.strip_suffix('\r').unwrap_or(line))
                .ok_or_else(|| Problem::new(&place, "a quote is not closed; close it with \""))?;
            if self.continue_definition(&text, &place) {
                continue;
            }
            match include(&text) {
                Some(pattern) => self.include(pattern, &text, &place, depth)?,
                None => self.feed(text, &place, 0)?,
            }
        }
        self.open = None;
        self.folder = before;
        self.define_folder();
        Ok(())
    }

    fn define_folder(&mut self) {
        let folder = self.folder.display().to_string();
        self.definitions
            .insert("_PWD".to_owned(), Definition::Text(folder));
    }

    fn include(
        &mut self,
        pattern: &str,
        text: &str,
        place: &Place,
        depth: usize,
    ) -> Result<(), Problem> {
        if depth == DEPTH {
            let what = format!("files include each other more than {DEPTH} deep; break the circle");
            return Err(Problem::new(place, what));
        }
        let mut unread = |path: &Path, why: &dyn std::fmt::Display| {
            let why = format!("{} is not read: {why}", path.display());
            self.extras
                .push(Extra::new(place, text, Topic::Unsaid(why)));
        };
        let path = self.folder.join(pattern);
        let paths = if pattern.contains('{') {
            unread(&path, &"braces are not followed; name the files one by one");
            return Ok(());
        } else if pattern.contains(['*', '?', '[']) {
            match self.machine.matching(&path) {
                Ok(paths) => paths,
                Err(error) => {
                    unread(&path, &error);
                    return Ok(());
                }
            }
        } else {
            vec![path]
        };
        let mut contents = Vec::new();
        for path in paths {
            match self.machine.read(&path) {
                Ok(bytes) => contents.push((path, bytes)),
                Err(error) => unread(&path, &error),
            }
        }
        for (path, bytes) in contents {
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            self.file(&bytes, &path.display().to_string(), &folder, depth + 1)?;
        }
        Ok(())
    }

    /// Takes a line that belongs to a definition of several.
    fn continue_definition(&mut self, text: &str, place: &Place) -> bool {
        let Some(name) = &self.open else {
            return false;
        };
        let (text, goes_on) = match text.strip_suffix('\\') {
            Some(text) => (text.trim_end(), true),
            None => (text, false),
        };
        if !text.is_empty()
            && let Some(Definition::Lines(lines)) = self.definitions.get_mut(name)
        {
            lines.push(Line {
                place: place.clone(),
                text: text.to_owned(),
            });
        }
        if !goes_on {
            self.open = None;
        }
        true
    }

    /// Takes a line, wherever it comes from.
    fn feed(&mut self, mut text: String, place: &Place, depth: usize) -> Result<(), Problem> {
        self.fed += 1;
        if self.fed > LINES || self.bytes > BYTES {
            let what = format!(
                "sequences and parameters make more than {LINES} lines or {BYTES} bytes; \
                 write fewer"
            );
            return Err(Problem::new(place, what));
        }
        if depth == DEPTH {
            return Err(endless(place));
        }
        let mut rest = Vec::new();
        let mut parameters = 0;
        while !text.is_empty() {
            if let Some(condition) = text.strip_prefix('@') {
                let Some(line) = self.condition(condition) else {
                    self.skipped += 1;
                    break;
                };
                text = line.to_owned();
            } else if let Some((name, value)) = definition(&text) {
                self.define(name, value, place);
                break;
            } else if text.starts_with("~SEQ") {
                self.sequence(&text, place, depth)?;
                break;
            } else if text.starts_with("~LST") {
                self.list(&text, place, depth)?;
                break;
            } else if let Some(replaced) = self.substitute(&text, &mut rest, place)? {
                parameters += 1;
                self.bytes += replaced.len();
                if parameters > PARAMETERS || replaced.len() > LONGEST {
                    return Err(endless(place));
                }
                text = decomment(&replaced)
                    .ok_or_else(|| Problem::new(place, "its parameters leave a quote open"))?;
            } else {
                self.bytes += text.len();
                let (place, text) = (place.clone(), std::mem::take(&mut text));
                if include(&text).is_some() {
                    let why = "keepalived follows no include behind @, $ or ~; write it plainly";
                    let topic = Topic::Ignored(why.to_owned());
                    self.extras.push(Extra::new(&place, text, topic));
                } else {
                    self.lines.push(Line { place, text });
                }
            }
        }
        for Line { place, text } in rest {
            self.feed(text, &place, depth + 1)?;
        }
        Ok(())
    }

    /// The line behind `@name` or `@^name` if it is for this machine.
    fn condition<'t>(&self, text: &'t str) -> Option<&'t str> {
        let (text, matches) = match text.strip_prefix('^') {
            Some(text) => (text, false),
            None => (text, true),
        };
        let (name, line) = text.split_once([' ', '\t'])?;
        ((name == self.config_id) == matches).then(|| line.trim_start_matches([' ', '\t']))
    }

    fn define(&mut self, name: &str, value: &str, place: &Place) {
        let definition = match value.strip_suffix('\\') {
            Some(first) => {
                self.open = Some(name.to_owned());
                let first = first.trim_end();
                let first = (!first.is_empty()).then(|| Line {
                    place: place.clone(),
                    text: first.to_owned(),
                });
                Definition::Lines(first.into_iter().collect())
            }
            None => Definition::Text(value.to_owned()),
        };
        self.definitions.insert(name.to_owned(), definition);
    }

    /// Replaces the first parameter that is defined; lines behind its first go before `rest`.
    fn substitute(
        &self,
        text: &str,
        rest: &mut Vec<Line>,
        place: &Place,
    ) -> Result<Option<String>, Problem> {
        for (at, _) in text.match_indices('$') {
            let (before, behind) = (&text[..at], &text[at + 1..]);
            let Some((name, behind)) = reference(behind) else {
                continue;
            };
            if let "_RANDOM" | "_ENV" = name.split([' ', '\t']).next().unwrap_or_default() {
                let what =
                    format!("${{{name}}} is known to a running keepalived only; write its value");
                return Err(Problem::new(place, what));
            }
            match self.definitions.get(name) {
                Some(Definition::Text(value)) => {
                    return Ok(Some(format!("{before}{value}{behind}")));
                }
                // Lines replace the end of a line only.
                Some(Definition::Lines(lines)) if behind.is_empty() => {
                    let mut lines = lines.iter().cloned();
                    let first = lines.next().map(|line| line.text).unwrap_or_default();
                    rest.splice(0..0, lines);
                    return Ok(Some(format!("{before}{first}")));
                }
                Some(Definition::Lines(_)) | None => {}
            }
        }
        Ok(None)
    }

    /// `~SEQ(name, start, step, end) line`, and `~SEQx` for hexadecimal numbers.
    fn sequence(&mut self, text: &str, place: &Place, depth: usize) -> Result<(), Problem> {
        let wrong = || {
            let what = format!(
                "`{text}' is no sequence; write ~SEQ(name, start, step, end) and a line, \
                 where start and step may be missing and step leads from start to end"
            );
            Problem::new(place, what)
        };
        let behind = &text["~SEQ".len()..];
        let (behind, hexadecimal) = match behind.strip_prefix('x') {
            Some(behind) => (behind, true),
            None => (behind, false),
        };
        let (words, line) = parentheses(behind).ok_or_else(wrong)?;
        let (name, numbers) = words.split_once(',').ok_or_else(wrong)?;
        let mut numbers = numbers.to_owned();
        for _ in 0..PARAMETERS {
            match self.substitute(&numbers, &mut Vec::new(), place)? {
                Some(replaced) if replaced.len() < PARAMETERS => numbers = replaced,
                Some(_) => return Err(endless(place)),
                None => break,
            }
        }
        let numbers: Option<Vec<i64>> = numbers.split(',').map(number).collect();
        let (start, step, end) = match numbers.as_deref() {
            Some([end]) => {
                let step = if *end < 1 { -1 } else { 1 };
                (if *end < 0 { -1 } else { 1 }, step, *end)
            }
            Some([start, end]) => (*start, if start <= end { 1 } else { -1 }, *end),
            Some([start, step, end]) => (*start, *step, *end),
            Some(_) | None => return Err(wrong()),
        };
        let backwards = step == 0 || (start < end && step < 0) || (start > end && step > 0);
        if backwards || hexadecimal && (start < 0 || end < 0) || !is_name(name.trim()) {
            return Err(wrong());
        }
        let mut next = Some(start);
        // keepalived runs the line for the first number before it looks at the last.
        while let Some(value) = next {
            let text = if hexadecimal {
                format!("{value:x}")
            } else {
                value.to_string()
            };
            self.definitions
                .insert(name.trim().to_owned(), Definition::Text(text));
            self.feed(line.to_owned(), place, depth + 1)?;
            next = value
                .checked_add(step)
                .filter(|next| if step > 0 { *next <= end } else { *next >= end });
        }
        Ok(())
    }

    /// `~LST(name, value, ...) line` and `~LST({name, ...}, {value, ...}, ...) line`.
    fn list(&mut self, text: &str, place: &Place, depth: usize) -> Result<(), Problem> {
        let wrong = || {
            let what = format!(
                "`{text}' is no list; write ~LST(name, value, ...) or \
                 ~LST({{name, ...}}, {{value, ...}}, ...) and a line"
            );
            Problem::new(place, what)
        };
        let (words, line) = parentheses(&text["~LST".len()..]).ok_or_else(wrong)?;
        let groups = groups(words).ok_or_else(wrong)?;
        let (names, values) = groups.split_first().ok_or_else(wrong)?;
        if values.is_empty() || !names.iter().all(|name| is_name(name)) {
            return Err(wrong());
        }
        for values in values {
            if values.len() > names.len() {
                return Err(wrong());
            }
            for (at, name) in names.iter().enumerate() {
                let value = values.get(at).copied().unwrap_or_default().to_owned();
                self.definitions
                    .insert((*name).to_owned(), Definition::Text(value));
            }
            self.feed(line.to_owned(), place, depth + 1)?;
        }
        Ok(())
    }
}

fn endless(place: &Place) -> Problem {
    Problem::new(
        place,
        "its parameters stand for each other without end; break the circle",
    )
}
