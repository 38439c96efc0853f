//! Waiting for a condition that can be observed.

use anyhow::{Context, Result, bail};
use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// What one look at the condition found.
#[derive(Debug)]
pub enum Seen<T> {
    /// The condition holds.
    Done(T),
    /// It does not hold yet; what was seen, for the error at the deadline.
    NotYet(String),
}

/// Looks again and again until the condition holds; looks at least once.
///
/// # Errors
/// When a look fails, and at the deadline, with what was seen last.
pub fn until<T>(
    what: impl Display,
    deadline: Duration,
    mut look: impl FnMut() -> Result<Seen<T>>,
) -> Result<T> {
    /// Between two looks: short beside what is waited for, long beside the cost of a look.
    const PAUSE: Duration = Duration::from_millis(10);
    let end = Instant::now() + deadline;
    loop {
        match look().with_context(|| format!("while waiting until {what}"))? {
            Seen::Done(value) => return Ok(value),
            Seen::NotYet(seen) if Instant::now() >= end => {
                bail!("waited {deadline:?} in vain until {what}: {seen}")
            }
            Seen::NotYet(_) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(60), || {
            looks += 1;
            Ok(if looks == 3 {
                Seen::Done(looks)
            } else {
                Seen::NotYet(looks.to_string())
            })
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn the_error_tells_what_was_seen_last() {
        let error = until::<()>("it rains", Duration::ZERO, || {
            Ok(Seen::NotYet("sun".into()))
        })
        .unwrap_err()
        .to_string();
        assert_eq!(error, "waited 0ns in vain until it rains: sun");
    }
}
