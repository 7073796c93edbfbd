//! Canonical party ids: one spelling per party, so that comparing ids is comparing bytes.
//!
//! OICP lets the same operator be written `DE*GEF`, `DE-GEF`, `degef` or `DEGEF`. Rights hang on ids,
//! so everything inside the mesh compares the canonical form; the spelling that came stays in the
//! record (decisions.md 19).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Longest wire spelling that is looked at, bytes; the grammar allows 8 (`+999*999`).
pub const ID_WIRE_LENGTH_MAX: usize = 16;

/// What was wrong with a text that should be a party id or role.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// Not of the ISO form (`DE*GEF`, `DEGEF`, `DE-GEF`) nor of the DIN form (`+49*536`).
    #[error(
        "{text:?} is no operator or provider id: write it as country and three letters or digits \
         (DE*GEF) or as calling code and three digits (+49*536)"
    )]
    Shape {
        /// The beginning of the text, at most [`ID_WIRE_LENGTH_MAX`] characters.
        text: String,
    },
    /// Not one of `CPO`, `EMP`, `HUB`.
    #[error("{text:?} is no role: use CPO, EMP or HUB")]
    Role {
        /// The beginning of the text.
        text: String,
    },
    /// A party id without the colon between role and id.
    #[error("{text:?} is no party id: write role, colon and id, as in CPO:CHSCH")]
    Party {
        /// The beginning of the text.
        text: String,
    },
}

/// What a party is in roaming. Part of every subject: CPO `DEGEF` and EMP `DEGEF` are two parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Charge point operator: publishes EVSEs, answers remote starts, writes CDRs.
    Cpo,
    /// E-mobility provider: has the drivers and their contracts.
    Emp,
    /// A hub that carries messages for parties that gave it a mandate.
    Hub,
}

impl Role {
    /// Every role, in the order of the enum.
    pub const ALL: [Role; 3] = [Role::Cpo, Role::Emp, Role::Hub];

    /// The three-letter form used in signed objects and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Cpo => "CPO",
            Role::Emp => "EMP",
            Role::Hub => "HUB",
        }
    }

    /// Reads the three-letter form in upper case; signed objects know no other.
    pub fn parse(text: &str) -> Result<Role, IdError> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| IdError::Role { text: beginning(text) })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An operator or provider id in its one canonical spelling.
///
/// ISO 15118: country and party without separator, upper case: `CHSCH`. DIN SPEC 91286: `+`, calling
/// code, `*`, three digits: `+41*031`. The two never compare equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalId(String);

impl CanonicalId {
    /// Reads any wire spelling of OICP 2.3's OperatorID and ProviderID, whatever the role.
    ///
    /// Only ASCII counts: a look-alike letter or digit of another script is refused, never folded. A
    /// calling code with a leading zero is refused, since `+041*031` would be a second spelling.
    pub fn parse(wire: &str) -> Result<CanonicalId, IdError> {
        let refused = || IdError::Shape { text: beginning(wire) };
        if wire.len() > ID_WIRE_LENGTH_MAX || !wire.is_ascii() {
            return Err(refused());
        }
        iso(wire).or_else(|| din(wire)).map(CanonicalId).ok_or_else(refused)
    }

    /// The canonical text: `CHSCH` or `+41*031`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part that an issuer's grant is compared with: `CH` or `+41`.
    pub fn country(&self) -> &str {
        match self.0.split_once('*') {
            Some((calling_code, _)) => calling_code,
            None => self.0.get(..2).unwrap_or(&self.0),
        }
    }
}

fn iso(wire: &str) -> Option<String> {
    let country = wire.get(..2)?;
    let rest = wire.get(2..)?;
    let party = rest.strip_prefix(['*', '-']).unwrap_or(rest);
    let right = country.bytes().all(|b| b.is_ascii_alphabetic())
        && party.len() == 3
        && party.bytes().all(|b| b.is_ascii_alphanumeric());
    right.then(|| format!("{country}{party}").to_ascii_uppercase())
}

fn din(wire: &str) -> Option<String> {
    let (code, party) = wire.strip_prefix('+').unwrap_or(wire).split_once('*')?;
    let right = (1..=3).contains(&code.len())
        && !code.starts_with('0')
        && party.len() == 3
        && code.bytes().chain(party.bytes()).all(|b| b.is_ascii_digit());
    right.then(|| format!("+{code}*{party}"))
}

/// Enough of a foreign text to recognise it in an error, never all of it.
fn beginning(text: &str) -> String {
    text.chars().take(ID_WIRE_LENGTH_MAX).collect()
}

impl fmt::Display for CanonicalId {
    /// For people: `CH*SCH`, `+41*031`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.contains('*'), self.0.get(..2), self.0.get(2..)) {
            (false, Some(country), Some(party)) => write!(f, "{country}*{party}"),
            _ => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for CanonicalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CanonicalId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        CanonicalId::parse(text)
    }
}

impl Borrow<str> for CanonicalId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A party: a role and its main id. The subject of credentials and the owner of feeds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartyId {
    /// What the party is; never left out of a comparison.
    pub role: Role,
    /// Its main id.
    pub id: CanonicalId,
}

impl PartyId {
    /// A party from its role and any wire spelling of its id.
    pub fn new(role: Role, wire: &str) -> Result<PartyId, IdError> {
        Ok(PartyId { role, id: CanonicalId::parse(wire)? })
    }

    /// The compact text of signed objects and file names: `CPO:CHSCH`.
    pub fn to_text(&self) -> String {
        // Said for every feed in every comparison of heads: no formatting.
        [self.role.as_str(), ":", self.id.as_str()].concat()
    }

    /// Reads the compact text. Only the canonical spelling passes, so that a subject has one form.
    pub fn parse(text: &str) -> Result<PartyId, IdError> {
        let (role, id) = text.split_once(':').ok_or_else(|| IdError::Party { text: beginning(text) })?;
        let party = PartyId::new(Role::parse(role)?, id)?;
        if party.id.as_str() == id { Ok(party) } else { Err(IdError::Party { text: beginning(text) }) }
    }

    /// Reads `ROLE:ID` with the id in any wire spelling, as settings have it: `CPO:DE*ABC`, `EMP:DE-DCB`.
    ///
    /// # Errors
    /// [`IdError`] if it is not `ROLE:ID`.
    pub fn parse_written(text: &str) -> Result<PartyId, IdError> {
        let (role, id) = text.split_once(':').ok_or_else(|| IdError::Party { text: beginning(text) })?;
        PartyId::new(Role::parse(role)?, id)
    }
}

impl fmt::Display for PartyId {
    /// For people too: `CPO:CHSCH`, so that a party has one spelling wherever it is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.role, self.id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wire_spelling_yields_one_canonical_id() {
        for (wire, canonical, country, shown) in [
            ("CH*SCH", "CHSCH", "CH", "CH*SCH"),
            ("DE-DCB", "DEDCB", "DE", "DE*DCB"),
            ("ch*sch", "CHSCH", "CH", "CH*SCH"),
            ("CHSCH", "CHSCH", "CH", "CH*SCH"),
            ("CH360", "CH360", "CH", "CH*360"),
            ("+41*031", "+41*031", "+41", "+41*031"),
            ("41*031", "+41*031", "+41", "+41*031"),
            ("1*800", "+1*800", "+1", "+1*800"),
        ] {
            let id = CanonicalId::parse(wire).unwrap();
            assert_eq!(id.as_str(), canonical, "{wire}");
            assert_eq!(id.country(), country, "{wire}");
            assert_eq!(id.to_string(), shown, "{wire}");
            assert_eq!(CanonicalId::parse(canonical).unwrap(), id, "canonical form parses to itself");
        }
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for wire in [
            "",
            "C",
            "CH",
            "CHSC",
            "CHSCHX",
            "CH**SCH",
            "CH*-SCH",
            "CH SCH",
            " CHSCH",
            "CHSCH ",
            "CH*SCH*",
            "CH|SCH",
            "1H*SCH",
            "C1*SCH",
            "СH*SCH",
            "DE*GÉF",
            "+41*31",
            "+41*0310",
            "+041*031",
            "+*031",
            "++41*031",
            "+41-031",
            "+41031",
            "4121*031",
            "DE*GEF\0",
            "DE*GEF*E1234567890",
        ] {
            assert!(CanonicalId::parse(wire).is_err(), "{wire:?} passed");
        }
    }

    #[test]
    fn roles_are_part_of_the_subject() {
        let cpo = PartyId::new(Role::Cpo, "DE*GEF").unwrap();
        let emp = PartyId::new(Role::Emp, "DE-GEF").unwrap();
        assert_ne!(cpo, emp);
        assert_eq!(cpo.id, emp.id);
        assert_eq!(cpo.to_text(), "CPO:DEGEF");
        assert_eq!(PartyId::parse("EMP:DEGEF").unwrap(), emp);
        for text in ["DEGEF", "cpo:DEGEF", "CPO:DE*GEF", "CPO:degef", "CPO:", "XXX:DEGEF", "CPO:DEGEF:x"] {
            assert!(PartyId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused_and_never_panics() {
        bolero::check!().with_type::<String>().for_each(|text| {
            if let Ok(id) = CanonicalId::parse(text) {
                assert_eq!(CanonicalId::parse(id.as_str()).as_ref(), Ok(&id));
                assert_eq!(CanonicalId::parse(&id.to_string()).as_ref(), Ok(&id));
            }
            if let Ok(party) = PartyId::parse(text) {
                assert_eq!(&party.to_text(), text);
            }
        });
    }
}
