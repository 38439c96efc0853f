//! Lines to statements: words, and the statements between braces.

use super::lines::Line;
use crate::import::{Extra, Place, Problem, Topic};

/// A statement: words, and a block if braces follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// Where its words stand.
    pub(super) place: Place,
    /// What stands there.
    pub(super) text: String,
    /// Its words, without quotes; at least one.
    pub(super) words: Vec<String>,
    /// The statements of its block.
    pub(super) block: Option<Vec<Statement>>,
}

/// How deep blocks may lie in each other; keepalived's own go to five.
const DEPTH: usize = 16;

/// Reads lines as statements.
pub(super) fn statements(lines: Vec<Line>) -> Result<Vec<Statement>, Problem> {
    // The blocks that are open, outermost first; each but the first begins in the last statement
    // of the one before.
    let mut open: Vec<(Option<Place>, Vec<Statement>)> = vec![(None, Vec::new())];
    for Line { place, text } in lines {
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let end = brace(rest);
            let (words, behind) = rest.split_at(end.unwrap_or(rest.len()));
            if !words.trim().is_empty() {
                let statement = Statement {
                    place: place.clone(),
                    text: words.trim().to_owned(),
                    words: split(words),
                    block: None,
                };
                current(&mut open).push(statement);
            }
            rest = if let Some(behind) = behind.strip_prefix('{') {
                begin(&mut open, &place)?;
                behind
            } else if let Some(behind) = behind.strip_prefix('}') {
                close(&mut open, &place)?;
                behind
            } else {
                ""
            };
        }
    }
    match open.pop() {
        Some((Some(place), _)) => Err(Problem::new(
            &place,
            "the block that begins here has no end; close it with }",
        )),
        Some((None, statements)) => Ok(statements),
        None => Ok(Vec::new()),
    }
}

fn begin(open: &mut Vec<(Option<Place>, Vec<Statement>)>, place: &Place) -> Result<(), Problem> {
    match current(open).last() {
        Some(statement) if statement.block.is_none() => {}
        Some(_) | None => {
            let what = "the block has no name; write its keyword before {";
            return Err(Problem::new(place, what));
        }
    }
    if open.len() > DEPTH {
        let what =
            format!("blocks lie in each other more than {DEPTH} deep; close those above with }}");
        return Err(Problem::new(place, what));
    }
    open.push((Some(place.clone()), Vec::new()));
    Ok(())
}

fn close(open: &mut Vec<(Option<Place>, Vec<Statement>)>, place: &Place) -> Result<(), Problem> {
    if open.len() < 2 {
        let what = "} closes no block; remove it, or write the { it belongs to";
        return Err(Problem::new(place, what));
    }
    let block = open.pop().map(|(_, block)| block);
    if let Some(statement) = current(open).last_mut() {
        statement.block = block;
    }
    Ok(())
}

/// The statements of the innermost open block.
fn current(open: &mut Vec<(Option<Place>, Vec<Statement>)>) -> &mut Vec<Statement> {
    if open.is_empty() {
        open.push((None, Vec::new()));
    }
    let last = open.len() - 1;
    &mut open[last].1
}

/// Where the first brace outside of quotes is.
fn brace(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    text.find(|character| {
        let before = escaped;
        escaped = character == '\\' && !before;
        match character {
            '"' if !before => quoted = !quoted,
            '{' | '}' => return !quoted && !before,
            _ => {}
        }
        false
    })
}

/// The words of a text; what is between quotes is one, blanks and all.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(BLANKS);
    while !rest.is_empty() {
        let (word, behind) = match rest.strip_prefix('"') {
            Some(inside) => inside.split_once('"').unwrap_or((inside, "")),
            None => {
                let end = rest.find(|mark| mark == '"' || BLANKS.contains(&mark));
                rest.split_at(end.unwrap_or(rest.len()))
            }
        };
        words.push(word.to_owned());
        rest = behind.trim_start_matches(BLANKS);
    }
    words
}

const BLANKS: [char; 6] = [' ', '\t', '\n', '\x0b', '\x0c', '\r'];

impl Statement {
    /// The first word.
    pub(super) fn keyword(&self) -> &str {
        self.word(0).unwrap_or_default()
    }

    /// A word by its number, the keyword being 0.
    pub(super) fn word(&self, number: usize) -> Option<&str> {
        self.words.get(number).map(String::as_str)
    }

    /// The statements of the block; none if there is no block.
    pub(super) fn block(&self) -> &[Statement] {
        self.block.as_deref().unwrap_or_default()
    }

    /// The statement as something that is left out, its block included.
    pub(super) fn extra(&self, topic: &Topic) -> Extra {
        self.left_out(topic, topic)
    }

    /// The statement left out for a reason, and its block because of that.
    pub(super) fn ignored(&self, why: impl Into<String>) -> Extra {
        let inside = Topic::Ignored(format!("it is part of {}", self.keyword()));
        self.left_out(&Topic::Ignored(why.into()), &inside)
    }

    fn left_out(&self, topic: &Topic, below: &Topic) -> Extra {
        Extra {
            place: self.place.clone(),
            text: self.discreet(),
            topic: topic.clone(),
            inside: self
                .block()
                .iter()
                .map(|inner| inner.extra(below))
                .collect(),
        }
    }

    /// The statement without what is secret.
    fn discreet(&self) -> String {
        match self.keyword() {
            secret @ ("auth_pass" | "password" | "key") => format!("{secret} ..."),
            _ => self.text.clone(),
        }
    }
}
