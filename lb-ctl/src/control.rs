//! What the program needs of the agent; [`crate::client`] fulfils it over the socket.

use lb_common::api::{Agent, Daemons, Edit, Marks, Refusal, Services, Settings, Timeouts};
use std::io;

/// The control API, as `lb_common::api` describes it.
pub trait Control {
    /// Carries out edits in order and tells for each why it was refused, if it was.
    ///
    /// # Errors
    /// The agent cannot be reached, or its answer not be read.
    fn edit(&mut self, edits: Vec<Edit>) -> Result<Vec<Option<Refusal>>, ControlError>;

    /// Reads the services and their servers.
    ///
    /// # Errors
    /// As [`Control::edit`].
    fn services(&mut self) -> Result<Services, ControlError>;

    /// Reads the connections; `each` gets one JSON object a call, without its line end.
    ///
    /// # Errors
    /// As [`Control::edit`], and whatever `each` returns.
    fn connections(
        &mut self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), ControlError>,
    ) -> Result<(), ControlError>;

    /// Reads the session timeouts.
    ///
    /// # Errors
    /// As [`Control::edit`].
    fn timeouts(&mut self) -> Result<Timeouts, ControlError>;

    /// Reads the running sync daemons.
    ///
    /// # Errors
    /// As [`Control::edit`].
    fn daemons(&mut self) -> Result<Daemons, ControlError>;

    /// Reads the mark rules.
    ///
    /// # Errors
    /// As [`Control::edit`].
    fn marks(&mut self) -> Result<Marks, ControlError>;

    /// Reads the settings.
    ///
    /// # Errors
    /// As [`Control::edit`].
    fn settings(&mut self) -> Result<Settings, ControlError>;

    /// Reads what the agent tells about itself.
    ///
    /// # Errors
    /// As [`Control::edit`].
    fn agent(&mut self) -> Result<Agent, ControlError>;
}

/// Why the agent did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens on the socket, or the caller may not connect.
    #[error("no agent answers on {path}: {source}")]
    Unreachable {
        /// The socket.
        path: String,
        /// What `connect` said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the agent on {path} broke off {request}: {source}")]
    Transport {
        /// The socket.
        path: String,
        /// Method and path.
        request: String,
        /// What went wrong.
        source: hyper::Error,
    },
    /// The agent answered with another status than 200.
    #[error("the agent on {path} refused {request}: {status}: {body}")]
    Status {
        /// The socket.
        path: String,
        /// Method and path.
        request: String,
        /// The HTTP status.
        status: u16,
        /// What the agent said.
        body: String,
    },
    /// The answer is not what the API promises: client and agent differ in version.
    #[error("the answer to {request} cannot be read (do lb-ctl and lb-agent match?): {source}")]
    Answer {
        /// Method and path.
        request: String,
        /// Where the answer went wrong.
        source: serde_json::Error,
    },
    /// The answer holds fewer or more outcomes than edits were sent.
    #[error(
        "{sent} edits were sent and {answered} outcomes came back (do lb-ctl and lb-agent match?)"
    )]
    Outcomes {
        /// How many edits were sent.
        sent: usize,
        /// How many outcomes came back.
        answered: usize,
    },
    /// What was read could not be printed.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}
