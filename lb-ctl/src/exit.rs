//! Exit codes.

use std::process::ExitCode;

/// How the program ends.
///
/// ipvsadm's grammar uses 0, 1, 2 and 255; the verbs use 0 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Success = 0,
    /// The answer is no; in ipvsadm's grammar, a table could not be read for a listing.
    Negative = 1,
    /// The command line is wrong; in ipvsadm's grammar also: the agent cannot be reached.
    Usage = 2,
    /// A verb found its environment missing: no agent, no permission.
    Environment = 3,
    /// A verb met a state that somebody else changed.
    Conflict = 4,
    /// ipvsadm's grammar: the agent refused, or the first option was not a command.
    Refused = 255,
}

impl Exit {
    /// The number a shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_numbers_are_the_documented_ones() {
        let codes = [
            (Exit::Success, 0),
            (Exit::Negative, 1),
            (Exit::Usage, 2),
            (Exit::Environment, 3),
            (Exit::Conflict, 4),
            (Exit::Refused, 255),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code);
        }
    }
}
