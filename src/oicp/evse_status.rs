//! The live status of a charging point. Unknown values survive as their text (GAPS B19).

use std::fmt;

/// Longest text of a status that is kept; the published ones have at most 12 characters.
pub const STATUS_BYTES_MAX: usize = 50;

/// EvseStatusType.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EvseStatus {
    /// Free.
    Available,
    /// Held for somebody.
    Reserved,
    /// In use.
    Occupied,
    /// Defective.
    OutOfService,
    /// Answer only: the id is not known.
    EvseNotFound,
    /// No data.
    Unknown,
    /// A text that OICP 2.3 does not have, kept and handed on; at most [`STATUS_BYTES_MAX`] bytes.
    Other(Box<str>),
}

impl EvseStatus {
    /// The six published values in the order of their codes.
    pub const PUBLISHED: [EvseStatus; 6] = [
        EvseStatus::Available,
        EvseStatus::Reserved,
        EvseStatus::Occupied,
        EvseStatus::OutOfService,
        EvseStatus::EvseNotFound,
        EvseStatus::Unknown,
    ];

    /// Reads a text; `None` if it is empty or longer than [`STATUS_BYTES_MAX`].
    #[must_use]
    pub fn parse(text: &str) -> Option<EvseStatus> {
        let published = EvseStatus::PUBLISHED.into_iter().find(|status| status.as_str() == text);
        published.or_else(|| {
            let fits = !text.is_empty() && text.len() <= STATUS_BYTES_MAX;
            fits.then(|| EvseStatus::Other(text.into()))
        })
    }

    /// The text on OICP's wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            EvseStatus::Available => "Available",
            EvseStatus::Reserved => "Reserved",
            EvseStatus::Occupied => "Occupied",
            EvseStatus::OutOfService => "OutOfService",
            EvseStatus::EvseNotFound => "EvseNotFound",
            EvseStatus::Unknown => "Unknown",
            EvseStatus::Other(text) => text,
        }
    }

    /// The number that nodes use among themselves, 0 to 5; `None` for [`EvseStatus::Other`], which travels as
    /// text.
    #[must_use]
    pub fn code(&self) -> Option<u8> {
        match self {
            EvseStatus::Available => Some(0),
            EvseStatus::Reserved => Some(1),
            EvseStatus::Occupied => Some(2),
            EvseStatus::OutOfService => Some(3),
            EvseStatus::EvseNotFound => Some(4),
            EvseStatus::Unknown => Some(5),
            EvseStatus::Other(_) => None,
        }
    }

    /// The status of such a number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<EvseStatus> {
        EvseStatus::PUBLISHED.get(usize::from(code)).cloned()
    }
}

impl fmt::Display for EvseStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_codes_round_trip() {
        for status in EvseStatus::PUBLISHED {
            assert_eq!(EvseStatus::parse(status.as_str()), Some(status.clone()));
            assert_eq!(status.code().and_then(EvseStatus::from_code), Some(status));
        }
        let other = EvseStatus::parse("Blocked").unwrap();
        assert_eq!((other.as_str(), other.code()), ("Blocked", None));
        assert_eq!(EvseStatus::parse(""), None);
        assert_eq!(EvseStatus::parse(&"x".repeat(51)), None);
        assert_eq!(EvseStatus::from_code(6), None);
    }
}
