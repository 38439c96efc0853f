//! How popt, the option library of ipvsadm, takes a command line apart.
//!
//! Long options are exact, `--x=y` and `--x y` both work; short options cluster and take their
//! value from the rest of the cluster (one `=` is skipped) or from the next word; an optional
//! value never starts with `-` when it is a word of its own. Words that are no options are set
//! aside; after `--` every word is one.

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// None.
    No,
    /// The rest of the cluster or the next word.
    Required,
    /// As required, unless the next word starts with `-` or there is none.
    Optional,
}

/// One way to spell an option.
pub trait Spelling: Copy {
    /// The long name, without dashes.
    fn long(&self) -> &'static str;
    /// The letters.
    fn shorts(&self) -> &'static [char];
    /// Whether it takes a value.
    fn value(&self) -> Value;
}

/// Why the next option could not be read; popt's wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is not in the table.
    #[error("unknown option")]
    Unknown,
    /// Its value is missing.
    #[error("missing argument")]
    MissingArgument,
    /// It got a value that it does not take.
    #[error("option does not take an argument")]
    UnwantedArgument,
}

/// A walk over the options of a command line.
#[derive(Debug)]
pub struct Options<'a, S> {
    table: &'a [S],
    words: &'a [String],
    next: usize,
    cluster: &'a str,
    only_words: bool,
    leftovers: Vec<&'a str>,
}

impl<'a, S: Spelling> Options<'a, S> {
    /// Starts before the first of `words`, which hold no program name.
    #[must_use]
    pub const fn new(table: &'a [S], words: &'a [String]) -> Self {
        Self {
            table,
            words,
            next: 0,
            cluster: "",
            only_words: false,
            leftovers: Vec::new(),
        }
    }

    /// The next option with its value, or none at the end of the line.
    ///
    /// # Errors
    /// The option is unknown, or its value is missing or unwanted; [`Self::current`] names it.
    pub fn next_option(&mut self) -> Result<Option<(S, Option<&'a str>)>, Problem> {
        while self.cluster.is_empty() {
            let Some(word) = self.words.get(self.next).map(String::as_str) else {
                return Ok(None);
            };
            self.next += 1;
            if self.only_words || word == "-" || !word.starts_with('-') {
                self.leftovers.push(word);
            } else if word == "--" {
                self.only_words = true;
            } else if let Some(long) = word.strip_prefix("--") {
                return self.long(long).map(Some);
            } else {
                self.cluster = &word[1..];
            }
        }
        self.short().map(Some)
    }

    /// The word that the latest option, or its value, was taken from.
    #[must_use]
    pub fn current(&self) -> &'a str {
        self.next
            .checked_sub(1)
            .and_then(|at| self.words.get(at))
            .map_or("", String::as_str)
    }

    /// The words that were set aside so far.
    #[must_use]
    pub fn leftovers(&self) -> &[&'a str] {
        &self.leftovers
    }

    fn long(&mut self, word: &'a str) -> Result<(S, Option<&'a str>), Problem> {
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let option = self.find(|option| option.long() == name)?;
        self.finish(option, attached)
    }

    fn short(&mut self) -> Result<(S, Option<&'a str>), Problem> {
        let mut letters = self.cluster.chars();
        let letter = letters.next().ok_or(Problem::Unknown)?;
        let rest = letters.as_str();
        self.cluster = "";
        let option = self.find(|option| option.shorts().contains(&letter))?;
        let unequal = rest.strip_prefix('=');
        match (option.value(), rest) {
            (_, "") => self.finish(option, None),
            (Value::No, _) if unequal.is_some() => Err(Problem::UnwantedArgument),
            (Value::No, _) => {
                self.cluster = rest;
                Ok((option, None))
            }
            (Value::Required | Value::Optional, _) => Ok((option, Some(unequal.unwrap_or(rest)))),
        }
    }

    fn finish(
        &mut self,
        option: S,
        attached: Option<&'a str>,
    ) -> Result<(S, Option<&'a str>), Problem> {
        let following = self.words.get(self.next).map(String::as_str);
        let value = match (option.value(), attached) {
            (Value::No, Some(_)) => return Err(Problem::UnwantedArgument),
            (Value::No, None) => None,
            (Value::Required | Value::Optional, Some(value)) => Some(value),
            (Value::Required, None) => {
                let value = following.ok_or(Problem::MissingArgument)?;
                self.next += 1;
                Some(value)
            }
            (Value::Optional, None) => {
                let value = following.filter(|word| !word.starts_with('-'));
                self.next += usize::from(value.is_some());
                value
            }
        };
        Ok((option, value))
    }

    fn find(&self, matches: impl Fn(&S) -> bool) -> Result<S, Problem> {
        self.table
            .iter()
            .copied()
            .find(matches)
            .ok_or(Problem::Unknown)
    }
}
