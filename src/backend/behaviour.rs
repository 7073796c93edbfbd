//! How a backend behaves: well, or in one of the ways in which real ones fail.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::operation::{Kind, Operation};
use crate::oicp::status_code::Code;

/// Longest delay of [`Behaviour::Slow`]: ten times the longest time-out of the hub (60 s, OPERATIONS 4).
pub const SLOW_MAX: Duration = Duration::from_secs(600);

/// What a backend does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// `answer`: as a partner that does what it is asked for.
    Answer,
    /// `refuse` or `refuse=CODE`: says no; without a code with the usual one of the operation.
    Refuse(Option<Code>),
    /// `slow=MILLISECONDS`: as `answer`, that much later; at most [`SLOW_MAX`].
    Slow(Duration),
    /// `silent`: takes the request and never answers.
    Silent,
    /// `garbage`: HTTP 200 with something that is not JSON.
    Garbage,
    /// `http=STATUS`: this HTTP status, 300 to 599, and no OICP.
    Http(u16),
    /// `die`: takes the request, then closes the connection without a word.
    Die,
    /// `twice`: the answer comes twice, back to back on one connection.
    Twice,
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Behaviour::Answer => f.write_str("answer"),
            Behaviour::Refuse(None) => f.write_str("refuse"),
            Behaviour::Refuse(Some(code)) => write!(f, "refuse={}", code.as_str()),
            Behaviour::Slow(time) => write!(f, "slow={}", time.as_millis()),
            Behaviour::Silent => f.write_str("silent"),
            Behaviour::Garbage => f.write_str("garbage"),
            Behaviour::Http(status) => write!(f, "http={status}"),
            Behaviour::Die => f.write_str("die"),
            Behaviour::Twice => f.write_str("twice"),
        }
    }
}

/// Why a text is no behaviour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BehaviourError {
    /// No such behaviour.
    #[error(
        "`{0}` is no behaviour: write answer, refuse, refuse=CODE, slow=MILLISECONDS, silent, garbage, \
         http=STATUS, die or twice"
    )]
    Unknown(String),
    /// Not a code that says no.
    #[error("`{0}` is no OICP status code that refuses: write three digits, as in refuse=501")]
    Code(String),
    /// Not a delay.
    #[error("`{0}` is no delay in milliseconds of at most {max}: write for example slow=5000",
        max = SLOW_MAX.as_millis())]
    Delay(String),
    /// Not a status that is no answer.
    #[error("`{0}` is no HTTP status from 300 to 599: write for example http=500")]
    Status(String),
    /// No such operation.
    #[error("`{0}` is no operation: write one of {all}", all = Operation::ALL.map(Operation::as_str).join(", "))]
    Operation(String),
    /// An operation that the other side serves.
    #[error("the backend of the {kind} side does not serve {operation}: leave it out")]
    NotServed {
        /// The operation.
        operation: Operation,
        /// The side that is played.
        kind: Kind,
    },
}

impl FromStr for Behaviour {
    type Err = BehaviourError;

    fn from_str(text: &str) -> Result<Behaviour, BehaviourError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match (name, value) {
            ("answer", None) => Ok(Behaviour::Answer),
            ("refuse", None) => Ok(Behaviour::Refuse(None)),
            ("refuse", Some(code)) => {
                let known = Code::parse(code).filter(|code| *code != Code::Success);
                known
                    .map(|code| Behaviour::Refuse(Some(code)))
                    .ok_or_else(|| BehaviourError::Code(code.into()))
            }
            ("slow", Some(time)) => {
                let delay = time.parse().map(Duration::from_millis).ok().filter(|delay| *delay <= SLOW_MAX);
                delay.map(Behaviour::Slow).ok_or_else(|| BehaviourError::Delay(time.into()))
            }
            ("silent", None) => Ok(Behaviour::Silent),
            ("garbage", None) => Ok(Behaviour::Garbage),
            ("http", Some(status)) => {
                let known = status.parse().ok().filter(|status| (300..600).contains(status));
                known.map(Behaviour::Http).ok_or_else(|| BehaviourError::Status(status.into()))
            }
            ("die", None) => Ok(Behaviour::Die),
            ("twice", None) => Ok(Behaviour::Twice),
            _ => Err(BehaviourError::Unknown(text.into())),
        }
    }
}

/// A behaviour for everything, with exceptions for single operations. As text a comma list:
/// `answer,remote-start:slow=5000,notification:refuse=310`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviours {
    usual: Behaviour,
    of_operation: BTreeMap<Operation, Behaviour>,
}

impl Behaviours {
    /// The same, and another behaviour for one operation.
    #[must_use]
    pub fn with(mut self, operation: Operation, behaviour: Behaviour) -> Behaviours {
        self.of_operation.insert(operation, behaviour);
        self
    }

    /// How an operation is treated.
    #[must_use]
    pub fn of(&self, operation: Operation) -> Behaviour {
        self.of_operation.get(&operation).copied().unwrap_or(self.usual)
    }

    /// Whether a backend of that kind serves all the operations that are named.
    ///
    /// # Errors
    /// [`BehaviourError::NotServed`] with the first that it does not serve.
    pub fn check(&self, kind: Kind) -> Result<(), BehaviourError> {
        match self.of_operation.keys().find(|operation| operation.served_by() != Some(kind)) {
            Some(operation) => Err(BehaviourError::NotServed { operation: *operation, kind }),
            None => Ok(()),
        }
    }
}

impl Default for Behaviours {
    fn default() -> Behaviours {
        Behaviours::from(Behaviour::Answer)
    }
}

impl From<Behaviour> for Behaviours {
    fn from(usual: Behaviour) -> Behaviours {
        Behaviours { usual, of_operation: BTreeMap::new() }
    }
}

impl FromStr for Behaviours {
    type Err = BehaviourError;

    fn from_str(text: &str) -> Result<Behaviours, BehaviourError> {
        let mut behaviours = Behaviours::default();
        for part in text.split(',').map(str::trim) {
            match part.split_once(':') {
                None => behaviours.usual = part.parse()?,
                Some((operation, behaviour)) => {
                    let operation =
                        operation.parse().map_err(|()| BehaviourError::Operation(operation.into()))?;
                    behaviours.of_operation.insert(operation, behaviour.parse()?);
                }
            }
        }
        Ok(behaviours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_says_what_is_wrong_with_it() {
        let read: Behaviours = "silent, remote-start:slow=5000,remote-stop:refuse=501".parse().unwrap();
        assert_eq!(read.of(Operation::RemoteStart), Behaviour::Slow(Duration::from_secs(5)));
        assert_eq!(read.of(Operation::RemoteStop), Behaviour::Refuse(Some(Code::CommunicationToEvseFailed)));
        assert_eq!(read.of(Operation::ReservationStart), Behaviour::Silent);
        assert_eq!(read.check(Kind::Cpo), Ok(()));
        assert!(read.check(Kind::Emp).unwrap_err().to_string().contains("does not serve remote-start"));
        for text in
            ["answer", "refuse", "refuse=310", "slow=1", "silent", "garbage", "http=500", "die", "twice"]
        {
            assert_eq!(text.parse::<Behaviour>().unwrap().to_string(), text);
        }
        for (bad, said) in [
            ("", "is no behaviour"),
            ("slow", "is no behaviour"),
            ("answer=1", "is no behaviour"),
            ("slow=600001", "at most 600000"),
            ("slow=-1", "is no delay"),
            ("refuse=000", "refuses"),
            ("refuse=999", "refuses"),
            ("http=200", "from 300"),
            ("start:die", "authorize-start, authorize-stop, remote-start"),
            ("unserved:die", "is no operation"),
        ] {
            let error = bad.parse::<Behaviours>().unwrap_err().to_string();
            assert!(error.contains(said), "{bad}: {error}");
        }
    }
}
