//! How the program was called: under which name, for which socket, with which words.

use crate::exit::Exit;
use std::path::PathBuf;

/// Where the agent listens unless told otherwise.
pub const SOCKET: &str = "/run/lb/agent.sock";

/// What `--socket PATH` is for.
pub const SOCKET_ABOUT: &str = "ask the agent on this socket; it wins over LB_SOCKET";

/// Whose manners the program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Called as `ipvsadm`: its grammar and texts, and nothing else.
    Ipvsadm,
    /// Called by any other name.
    LbCtl,
}

/// The words a call consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// How the program was called, as messages repeat it.
    pub program: String,
    /// Whose manners it has.
    pub identity: Identity,
    /// Where the agent listens.
    pub socket: PathBuf,
    /// What is left: ipvsadm's options, or a verb and its words.
    pub words: Vec<String>,
}

/// Why the words before ipvsadm's options or the verb make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvocationError {
    /// `--socket` is the last word.
    #[error("lb-ctl: --socket needs the path of lb-agent's socket, e.g. --socket {SOCKET}")]
    NoSocket,
}

impl InvocationError {
    /// The exit code it ends with.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::NoSocket => Exit::Usage,
        }
    }
}

impl Invocation {
    /// Reads the program's words, the first of which is its name; `environment` is `LB_SOCKET`.
    ///
    /// # Errors
    /// `--socket` has no value.
    pub fn from_words(
        words: Vec<String>,
        environment: Option<PathBuf>,
    ) -> Result<Self, InvocationError> {
        let mut words = words.into_iter();
        let program = words.next().unwrap_or_else(|| "lb-ctl".to_owned());
        let identity = if program.rsplit('/').next() == Some("ipvsadm") {
            Identity::Ipvsadm
        } else {
            Identity::LbCtl
        };
        let mut words: Vec<String> = words.collect();
        let mut socket = environment;
        if identity == Identity::LbCtl
            && let Some(first) = words.first()
        {
            if first == "--socket" {
                let path = words.get(1).ok_or(InvocationError::NoSocket)?;
                socket = Some(path.into());
                words.drain(..2);
            } else if let Some(path) = first.strip_prefix("--socket=") {
                socket = Some(path.into());
                words.remove(0);
            }
        }
        Ok(Self {
            program,
            identity,
            socket: socket.unwrap_or_else(|| SOCKET.into()),
            words,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(line: &str, environment: Option<&str>) -> Invocation {
        let words = line.split(' ').map(str::to_owned).collect();
        Invocation::from_words(words, environment.map(Into::into)).unwrap()
    }

    #[test]
    fn the_name_decides_the_manners() {
        for name in ["ipvsadm", "/sbin/ipvsadm", "./ipvsadm"] {
            assert_eq!(invocation(name, None).identity, Identity::Ipvsadm);
        }
        for name in ["lb-ctl", "ipvsadm-save", "/opt/ipvsadm/lb-ctl"] {
            assert_eq!(invocation(name, None).identity, Identity::LbCtl);
        }
    }

    #[test]
    fn the_socket_comes_first_and_beats_the_environment() {
        let call = invocation("lb-ctl --socket /a -L -n", Some("/b"));
        assert_eq!(
            (call.socket, call.words),
            ("/a".into(), vec!["-L".into(), "-n".into()])
        );
        assert_eq!(
            invocation("lb-ctl --socket=/a status", None).socket,
            PathBuf::from("/a")
        );
        assert_eq!(
            invocation("lb-ctl -L", Some("/b")).socket,
            PathBuf::from("/b")
        );
        assert_eq!(invocation("lb-ctl -L", None).socket, PathBuf::from(SOCKET));
    }

    #[test]
    fn ipvsadm_has_no_socket_option() {
        let call = invocation("ipvsadm --socket /a", Some("/b"));
        assert_eq!(call.words.len(), 2);
        assert_eq!(call.socket, PathBuf::from("/b"));
    }

    #[test]
    fn a_socket_without_a_path_is_refused() {
        let words = vec!["lb-ctl".to_owned(), "--socket".to_owned()];
        assert_eq!(
            Invocation::from_words(words, None),
            Err(InvocationError::NoSocket)
        );
    }
}
