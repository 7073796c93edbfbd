//! Who may see a feed: everybody, or named parties.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::codec::ProtocolError;
use super::{Digest, MEMBERS_MAX};
use crate::identity::PartyId;

/// What the hash over the members begins with, so that it is the hash of nothing else.
const HASH_DOMAIN: &[u8] = b"chargemesh/audience/1\n";

/// Who may see a feed (`decisions.md` 1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// Everybody; gossiped.
    Public,
    /// These parties; never gossiped, replicated over direct streams among their nodes.
    Named(Members),
}

impl Audience {
    /// Whether it is everybody.
    pub fn is_public(&self) -> bool {
        *self == Audience::Public
    }

    /// Whether a party may see what is said to this audience.
    pub fn admits(&self, party: &PartyId) -> bool {
        match self {
            Audience::Public => true,
            Audience::Named(members) => members.parties().binary_search(party).is_ok(),
        }
    }

    /// The hash that names a closed audience; `None` for the public.
    pub fn name(&self) -> Option<Digest> {
        match self {
            Audience::Public => None,
            Audience::Named(members) => Some(members.hash),
        }
    }

    /// The members as `ROLE:ID`, in order; none for the public.
    pub fn to_texts(&self) -> Vec<String> {
        match self {
            Audience::Public => Vec::new(),
            Audience::Named(members) => members.parties().iter().map(PartyId::to_text).collect(),
        }
    }

    /// Reads what [`Audience::to_texts`] writes: only the one spelling, each once and in order, so that the
    /// same members are always the same audience.
    ///
    /// # Errors
    /// [`ProtocolError::Invalid`] for another spelling or more than [`MEMBERS_MAX`].
    pub fn from_texts<T: AsRef<str>>(texts: &[T]) -> Result<Audience, ProtocolError> {
        let invalid = |rule| ProtocolError::Invalid { what: "audience", rule };
        if texts.is_empty() {
            return Ok(Audience::Public);
        }
        let parties = texts.iter().map(|text| PartyId::parse(text.as_ref())).collect::<Result<Vec<_>, _>>();
        let parties = parties.map_err(|_| invalid("the id of a member is not canonical"))?;
        if !parties.is_sorted_by(|a, b| a < b) {
            return Err(invalid("the members are not in order, each once"));
        }
        Members::new(parties).map(Audience::Named)
    }
}

/// The parties of a closed audience: 1 to [`MEMBERS_MAX`], in order, with the hash that names them.
#[derive(Clone)]
pub struct Members {
    hash: Digest,
    parties: Arc<[PartyId]>,
}

impl Members {
    /// Puts parties in order, each once.
    ///
    /// # Errors
    /// [`ProtocolError::Invalid`] if there are none or more than [`MEMBERS_MAX`].
    pub fn new(parties: impl IntoIterator<Item = PartyId>) -> Result<Members, ProtocolError> {
        let mut parties: Vec<PartyId> = parties.into_iter().take(MEMBERS_MAX + 1).collect();
        parties.sort_unstable();
        parties.dedup();
        if parties.is_empty() || parties.len() > MEMBERS_MAX {
            let rule = "an audience has 1 to 64 members";
            return Err(ProtocolError::Invalid { what: "audience", rule });
        }
        let mut hasher = Sha256::new_with_prefix(HASH_DOMAIN);
        for party in &parties {
            hasher.update(party.to_text());
            hasher.update(b"\n");
        }
        Ok(Members { hash: hasher.finalize().into(), parties: parties.into() })
    }

    /// The parties, in order.
    pub fn parties(&self) -> &[PartyId] {
        &self.parties
    }
}

// The hash stands for the members.
impl PartialEq for Members {
    fn eq(&self, other: &Members) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Members {}

impl PartialOrd for Members {
    fn partial_cmp(&self, other: &Members) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Members {
    fn cmp(&self, other: &Members) -> Ordering {
        self.hash.cmp(&other.hash)
    }
}

impl std::hash::Hash for Members {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parties.iter().map(PartyId::to_text)).finish()
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Audience::Public => f.write_str("everybody"),
            Audience::Named(_) => f.write_str(&self.to_texts().join("+")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(number: usize) -> PartyId {
        PartyId::parse(&format!("EMP:DE{number:03}")).unwrap()
    }

    #[test]
    fn the_same_members_are_the_same_audience_however_they_are_listed() {
        let one = Members::new([party(2), party(1), party(2)]).unwrap();
        let other = Members::new([party(1), party(2)]).unwrap();
        assert_eq!(one, other);
        assert_ne!(one, Members::new([party(1)]).unwrap());
        let audience = Audience::Named(one);
        assert!(audience.admits(&party(1)) && !audience.admits(&party(3)));
        assert!(!audience.admits(&PartyId::parse("CPO:DE001").unwrap()), "a role is part of a party");
        assert_eq!(Audience::from_texts(&audience.to_texts()).unwrap(), audience);
        assert_eq!(Audience::from_texts::<&str>(&[]).unwrap(), Audience::Public);
    }

    #[test]
    fn only_the_one_spelling_is_read_and_the_number_is_bounded() {
        for wrong in
            [vec!["EMP:DE002", "EMP:DE001"], vec!["EMP:DE001", "EMP:DE001"], vec!["EMP:DE-001"], vec![""]]
        {
            assert!(Audience::from_texts(&wrong).is_err(), "{wrong:?}");
        }
        assert!(Members::new([]).is_err());
        assert!(Members::new((0..MEMBERS_MAX).map(party)).is_ok());
        assert!(Members::new((0..=MEMBERS_MAX).map(party)).is_err());
    }
}
