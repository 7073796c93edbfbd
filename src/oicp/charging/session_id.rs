//! The ids of a session: the hub-wide one that the node makes, and the free references of the two partners.

use std::fmt;

use crate::oicp::json::Node;
use crate::oicp::json_write::Writer;

/// Characters of a SessionID.
const CHARACTERS: usize = 36;

/// Places of the hyphens in it.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Most characters of a partner's own session reference (RULES section 14).
pub const PARTNER_SESSION_CHARACTERS_MAX: usize = 250;

/// A hub-wide session: `b2688855-7f00-0002-6d8e-48d883f6abb6`, kept in lower case. The published pattern
/// allows letters beyond hex (GAPS B11), so not every SessionID is an RFC 4122 UUID; those made here are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    text: [u8; CHARACTERS],
}

impl SessionId {
    /// Reads the pattern `SessionIDType` in either case; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<SessionId> {
        let mut lower: [u8; CHARACTERS] = text.as_bytes().try_into().ok()?;
        for (place, byte) in lower.iter_mut().enumerate() {
            let fits = if HYPHENS.contains(&place) { *byte == b'-' } else { byte.is_ascii_alphanumeric() };
            if !fits {
                return None;
            }
            byte.make_ascii_lowercase();
        }
        Some(SessionId { text: lower })
    }

    /// A new id out of 16 random bytes: UUID version 4 of RFC 4122, whose six fixed bits are set here.
    #[must_use]
    pub fn from_random(mut seed: [u8; 16]) -> SessionId {
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut seed;
        *version = *version & 0x0f | 0x40;
        *variant = *variant & 0x3f | 0x80;
        let digits = seed.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
        let mut text = [b'-'; CHARACTERS];
        let places = text.iter_mut().enumerate().filter(|(place, _)| !HYPHENS.contains(place));
        for ((_, place), digit) in places.zip(digits) {
            *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        }
        SessionId { text }
    }

    /// The text in lower case, 36 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever put in.
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.as_str())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A partner's own reference of a session, 1 to [`PARTNER_SESSION_CHARACTERS_MAX`] characters of any kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartnerSessionId(Box<str>);

impl PartnerSessionId {
    /// `None` if the text is empty or too long.
    #[must_use]
    pub fn parse(text: &str) -> Option<PartnerSessionId> {
        let fits = !text.is_empty() && text.chars().count() <= PARTNER_SESSION_CHARACTERS_MAX;
        fits.then(|| PartnerSessionId(text.into()))
    }

    /// The text as received.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PartnerSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Both partners' references; stored with the session and echoed in all its later messages (RULES section 6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartnerSessions {
    /// CPOPartnerSessionID.
    pub cpo: Option<PartnerSessionId>,
    /// EMPPartnerSessionID; also read as `EMPPartnerSessionId` (GAPS A15).
    pub emp: Option<PartnerSessionId>,
}

impl PartnerSessions {
    /// Reads both tolerantly; an empty or overlong one counts as absent.
    #[must_use]
    pub fn read(node: &Node<'_>) -> PartnerSessions {
        let one = |name: &str| {
            let field = node.field_any_case(&[name])?;
            PartnerSessionId::parse(field.as_str().or_else(|| field.number_text())?)
        };
        PartnerSessions { cpo: one("CPOPartnerSessionID"), emp: one("EMPPartnerSessionID") }
    }

    /// What is known after a message that may tell more: its references, else the ones known before.
    #[must_use]
    pub fn or(self, known: &PartnerSessions) -> PartnerSessions {
        PartnerSessions {
            cpo: self.cpo.or_else(|| known.cpo.clone()),
            emp: self.emp.or_else(|| known.emp.clone()),
        }
    }

    /// Writes both members into an open object, absent ones as nulls.
    pub fn write(&self, writer: &mut Writer) {
        writer.key("CPOPartnerSessionID").string_or_null(self.cpo.as_ref().map(PartnerSessionId::as_str));
        writer.key("EMPPartnerSessionID").string_or_null(self.emp.as_ref().map(PartnerSessionId::as_str));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_in_any_case_and_beyond_hex() {
        let id = SessionId::parse("F98EFBA4-02d8-4fa0-b810-9a9d50d2c527").unwrap();
        assert_eq!(id.as_str(), "f98efba4-02d8-4fa0-b810-9a9d50d2c527");
        assert_eq!(format!("{id:?} {id}"), format!("SessionId({0}) {0}", id.as_str()));
        assert!(SessionId::parse("zzzzzzzz-02d8-4fa0-b810-9a9d50d2c527").is_some());
        for bad in ["", "string", "f98efba402d84fa0b8109a9d50d2c527", "f98efba4-02d8-4fa0-b810-9a9d50d2c52ü"]
        {
            assert_eq!(SessionId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn made_ids_are_version_4() {
        let made = SessionId::from_random([0xff; 16]);
        assert_eq!(made.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(SessionId::from_random([0; 16]).as_str(), "00000000-0000-4000-8000-000000000000");
        assert_eq!(SessionId::parse(made.as_str()), Some(made));
        let counted = SessionId::from_random(std::array::from_fn(|place| place as u8 * 17));
        assert_eq!(counted.as_str(), "00112233-4455-4677-8899-aabbccddeeff");
    }

    #[test]
    fn partner_references_have_a_length() {
        assert!(PartnerSessionId::parse(&"ü".repeat(PARTNER_SESSION_CHARACTERS_MAX)).is_some());
        assert!(PartnerSessionId::parse(&"x".repeat(PARTNER_SESSION_CHARACTERS_MAX + 1)).is_none());
        assert!(PartnerSessionId::parse("").is_none());
    }
}
