//! Transcripts: what Debian's ipvsadm 1:1.31-1 answered on a real kernel.
//!
//! `$ words` is a command line (single quotes as in a shell), `< text` a line of its standard
//! input, `1> ` and `2> ` a line of its standard output and error, `= code` its exit code.

/// One command and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub line: String,
    pub input: String,
    pub answer: Answer,
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub out: String,
    pub err: String,
    pub code: u8,
}

impl Step {
    /// The command line's words.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut quoted = false;
        for character in self.line.chars() {
            match character {
                '\'' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                ' ' if !quoted => words.extend(word.take()),
                _ => word.get_or_insert_default().push(character),
            }
        }
        words.extend(word);
        words
    }
}

/// The transcripts, by file name.
pub fn all() -> Vec<(String, Vec<Step>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of transcripts is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a readable transcript");
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            (name, read(&text))
        })
        .collect()
}

/// Reads a transcript.
pub fn read(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(words) = line.strip_prefix('$') {
            steps.push(Step {
                line: words.strip_prefix(' ').unwrap_or(words).to_owned(),
                ..Step::default()
            });
            continue;
        }
        let step = steps
            .last_mut()
            .expect("a transcript begins with a command");
        let (kind, rest) = line.split_at(2.min(line.len()));
        let (target, rest) = match kind {
            "< " | "<" => (&mut step.input, rest),
            "1>" => (&mut step.answer.out, rest.strip_prefix(' ').unwrap_or(rest)),
            "2>" => (&mut step.answer.err, rest.strip_prefix(' ').unwrap_or(rest)),
            "= " => {
                step.answer.code = rest.parse().expect("an exit code");
                continue;
            }
            other => panic!("a transcript line begins with {other:?}"),
        };
        target.push_str(rest);
        target.push('\n');
    }
    steps
}
