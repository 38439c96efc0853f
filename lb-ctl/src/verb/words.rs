//! The grammar of the verbs, as tables: they parse, and they write help, completions and pages.

use super::VerbError;
use crate::args::popt::{Options, Spelling, Value};

/// A word a verb needs.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Its name in usages.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// The words it may be and what they mean; none means any.
    pub values: &'static [(&'static str, &'static str)],
    /// Whether it may be missing.
    pub optional: bool,
}

/// An option of verbs.
#[derive(Clone, Copy, Debug)]
pub struct VerbOption {
    /// Its long name, without dashes.
    pub long: &'static str,
    /// Its letters.
    pub shorts: &'static [char],
    /// The name of its value in usages; none for an option without one.
    pub value: Option<&'static str>,
    /// What it is for.
    pub about: &'static str,
    /// The words its value may be; none means any.
    pub values: &'static [&'static str],
}

impl Spelling for &'static VerbOption {
    fn long(&self) -> &'static str {
        self.long
    }

    fn shorts(&self) -> &'static [char] {
        self.shorts
    }

    fn value(&self) -> Value {
        match self.value {
            Some(_) => Value::Required,
            None => Value::No,
        }
    }
}

/// `-o`.
pub const OUTPUT: VerbOption = VerbOption {
    long: "output",
    shorts: &['o'],
    value: Some("FORM"),
    about: "print text, which is the default, or json",
    values: &["text", "json"],
};

/// What of a command line a verb is.
#[derive(Clone, Copy, Debug)]
pub struct Grammar {
    /// The verb.
    pub name: &'static str,
    /// What it needs, in order.
    pub operands: &'static [Operand],
    /// What may accompany it, anywhere.
    pub options: &'static [&'static VerbOption],
    /// What may follow the operands.
    pub tail: Tail,
}

/// What may follow a verb's operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    None,
    /// Any number of words.
    Words,
    /// Whatever there is, for another program to judge: the options of the table are told of, and
    /// stay among the operands as they stand.
    Verbatim,
}

/// The words behind a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words<'a> {
    /// The operands that were there.
    pub operands: Vec<&'a str>,
    /// Options by their long name, and their values.
    options: Vec<(&'static str, &'a str)>,
}

impl Words<'_> {
    /// The value of an option, if it was there.
    #[must_use]
    pub fn option(&self, option: &VerbOption) -> Option<&str> {
        self.options
            .iter()
            .find(|(long, _)| *long == option.long)
            .map(|(_, value)| *value)
    }

    /// Whether JSON is to be printed.
    #[must_use]
    pub fn json(&self) -> bool {
        self.option(&OUTPUT) == Some("json")
    }

    /// An operand by its number, empty if it is not there.
    #[must_use]
    pub fn operand(&self, number: usize) -> &str {
        self.operands.get(number).copied().unwrap_or_default()
    }
}

impl Grammar {
    /// Reads the words behind the verb.
    ///
    /// # Errors
    /// The first word that does not belong there, or the operand that is missing.
    pub fn read<'a>(&self, words: &'a [String]) -> Result<Words<'a>, VerbError> {
        if self.tail == Tail::Verbatim {
            let operands = words.iter().map(String::as_str).collect();
            return self.check(operands, Vec::new());
        }
        let mut options = Options::new(self.options, words);
        let mut found = Vec::new();
        loop {
            match options.next_option() {
                Ok(None) => break,
                Ok(Some((option, value))) => {
                    let value = value.unwrap_or_default();
                    if !option.values.is_empty() && !option.values.contains(&value) {
                        let known = option.values.join(", ");
                        return Err(self.wrong(format!(
                            "--{} is one of {known}, not `{value}'",
                            option.long
                        )));
                    }
                    if found.iter().any(|(long, _)| *long == option.long) {
                        return Err(self.wrong(format!("--{} stands twice", option.long)));
                    }
                    found.push((option.long, value));
                }
                Err(problem) => {
                    return Err(self.wrong(format!("{}: {problem}", options.current())));
                }
            }
        }
        self.check(options.leftovers().to_vec(), found)
    }

    fn check<'a>(
        &self,
        operands: Vec<&'a str>,
        options: Vec<(&'static str, &'a str)>,
    ) -> Result<Words<'a>, VerbError> {
        for (number, operand) in self.operands.iter().enumerate() {
            match operands.get(number) {
                Some(word) if !operand.takes(word) => {
                    let known: Vec<&str> = operand.values.iter().map(|(word, _)| *word).collect();
                    let (name, known) = (operand.name, known.join(", "));
                    return Err(self.wrong(format!("{name} is one of {known}, not `{word}'")));
                }
                None if !operand.optional => {
                    return Err(self.wrong(format!("{} is missing", operand.name)));
                }
                Some(_) | None => {}
            }
        }
        if let Some(word) = operands.get(self.operands.len())
            && self.tail == Tail::None
        {
            return Err(self.wrong(format!("unexpected `{word}'")));
        }
        Ok(Words { operands, options })
    }

    /// How the verb is used.
    #[must_use]
    pub fn usage(&self) -> String {
        let mut usage = format!("lb-ctl {}", self.name);
        for operand in self.operands {
            let values: Vec<&str> = operand.values.iter().map(|(word, _)| *word).collect();
            let text = if values.is_empty() {
                operand.name.to_owned()
            } else {
                values.join("|")
            };
            usage += &if operand.optional {
                format!(" [{text}]")
            } else {
                format!(" {text}")
            };
        }
        for option in self.options {
            usage += &format!(" [{}]", option.spelling());
        }
        usage
    }

    fn wrong(&self, what: String) -> VerbError {
        VerbError::Usage {
            verb: self.name,
            what,
            usage: self.usage(),
        }
    }
}

impl Operand {
    fn takes(&self, word: &str) -> bool {
        self.values.is_empty() || self.values.iter().any(|(known, _)| *known == word)
    }
}

impl VerbOption {
    /// The shortest way to write it, with its value.
    #[must_use]
    pub fn spelling(&self) -> String {
        let name = match self.shorts.first() {
            Some(short) => format!("-{short}"),
            None => format!("--{}", self.long),
        };
        match self.value {
            Some(_) if !self.values.is_empty() => format!("{name} {}", self.values.join("|")),
            Some(value) => format!("{name} {value}"),
            None => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: Grammar = Grammar {
        name: "show",
        operands: &[
            Operand {
                name: "WHAT",
                about: "",
                values: &[("a", ""), ("b", "")],
                optional: false,
            },
            Operand {
                name: "FILE",
                about: "",
                values: &[],
                optional: true,
            },
        ],
        options: &[&OUTPUT],
        tail: Tail::None,
    };

    fn read(line: &str) -> Result<Vec<String>, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match GRAMMAR.read(&words) {
            Ok(words) => {
                let json = if words.json() { "json" } else { "text" };
                let mut read: Vec<String> = words.operands.iter().map(|w| (*w).into()).collect();
                read.push(json.into());
                Ok(read)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn options_stand_anywhere() {
        for line in [
            "a f -o json",
            "-ojson a f",
            "a --output=json f",
            "-o=json -- a f",
        ] {
            let expected = ["a", "f", "json"].map(str::to_owned).to_vec();
            assert_eq!(read(line), Ok(expected), "{line}");
        }
        assert_eq!(read("b"), Ok(vec!["b".into(), "text".into()]));
        assert_eq!(read("b -"), Ok(vec!["b".into(), "-".into(), "text".into()]));
    }

    #[test]
    fn another_program_s_words_stay_as_they_are() {
        let grammar = Grammar {
            tail: Tail::Verbatim,
            ..GRAMMAR
        };
        let words = ["a", "--unknown", "-o", "yaml"].map(str::to_owned);
        let read = grammar.read(&words).unwrap();
        assert_eq!(read.operands, words);
        assert!(grammar.read(&words[1..]).is_err());
    }

    #[test]
    fn what_does_not_belong_there_is_named() {
        let usage = "; usage: lb-ctl show a|b [FILE] [-o text|json]";
        for (line, what) in [
            ("", "WHAT is missing"),
            ("c", "WHAT is one of a, b, not `c'"),
            ("a f g", "unexpected `g'"),
            ("a -x", "-x: unknown option"),
            ("a -o", "-o: missing argument"),
            ("a -o yaml", "--output is one of text, json, not `yaml'"),
            ("a -o json -ojson", "--output stands twice"),
        ] {
            assert_eq!(
                read(line),
                Err(format!("lb-ctl show: {what}{usage}")),
                "{line}"
            );
        }
    }
}
