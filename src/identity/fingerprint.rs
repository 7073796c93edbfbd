//! Six words that two people compare on the telephone: the fingerprint of a party's org key.
//!
//! The words are of the English list of BIP-39, which was chosen so that the first four letters tell
//! every word from every other. Nothing else of BIP-39 is used.

use bip39::Language;
use sha2::{Digest as _, Sha256};

use super::id::PartyId;
use super::key::PublicKey;

/// Words of a fingerprint: 66 bits, so that a key with the fingerprint of a given one takes 2^66 tries.
pub const FINGERPRINT_WORDS: usize = 6;
/// Longest text that is read as a fingerprint, bytes; the words have at most 8 letters each.
pub const FINGERPRINT_LENGTH_MAX: usize = 128;

/// Bits of one word: the list has 2,048.
const WORD_BITS: u32 = 11;

/// The fingerprint of a party's org key: the first 66 bits of SHA-256 over domain, party and key, each with
/// its length in front. The same key has another fingerprint for another party or role.
pub fn words(org_key: &PublicKey, party: &PartyId) -> [&'static str; FINGERPRINT_WORDS] {
    let party = party.to_text();
    let parts: [&[u8]; 3] = [b"chargemesh fingerprint 1", party.as_bytes(), org_key.as_bytes()];
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let bits = digest.iter().take(9).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    let list = Language::English.word_list();
    // 72 bits were taken, the first 66 are used.
    std::array::from_fn(|place| {
        let index = bits >> (72 - WORD_BITS * (place as u32 + 1)) & 0x7ff;
        usize::try_from(index).ok().and_then(|index| list.get(index)).copied().unwrap_or_default()
    })
}

/// Whether a text is the fingerprint of this key and party: the six words in their order, in any case, with
/// any white space between them.
pub fn is_of(text: &str, org_key: &PublicKey, party: &PartyId) -> bool {
    if text.len() > FINGERPRINT_LENGTH_MAX {
        return false;
    }
    let said = text.split_whitespace().map(str::to_ascii_lowercase);
    said.eq(words(org_key, party).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::identity::{Role, SecretKey};

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_seed(&[seed; 32]).public()
    }

    fn party(role: Role) -> PartyId {
        PartyId::new(role, "DE*GEF").unwrap()
    }

    #[test]
    fn the_list_has_2048_words_told_apart_by_four_letters() {
        let list = Language::English.word_list();
        let beginnings: BTreeSet<String> = list.iter().map(|word| word.chars().take(4).collect()).collect();
        assert_eq!((list.len(), beginnings.len()), (2_048, 2_048));
    }

    /// Another implementation has to find these words: SHA-256 of
    /// `0000000000000018 "chargemesh fingerprint 1" 0000000000000009 "CPO:DEGEF" 0000000000000020 key`.
    #[test]
    fn the_words_are_these() {
        let cpo = words(&key(1), &party(Role::Cpo));
        assert_eq!(cpo.join(" "), "defense airport mask south duck garlic");
        assert!(is_of("  DEFENSE\n  AIRPORT MASK SOUTH DUCK GARLIC ", &key(1), &party(Role::Cpo)));
    }

    #[test]
    fn key_party_role_order_and_number_of_words_count() {
        let text = words(&key(1), &party(Role::Cpo)).join(" ");
        assert!(is_of(&text, &key(1), &party(Role::Cpo)));
        assert!(!is_of(&text, &key(2), &party(Role::Cpo)));
        assert!(!is_of(&text, &key(1), &party(Role::Emp)));
        let turned: Vec<&str> = text.split(' ').rev().collect();
        assert!(!is_of(&turned.join(" "), &key(1), &party(Role::Cpo)));
        assert!(!is_of(&format!("{text} zoo"), &key(1), &party(Role::Cpo)));
        assert!(!is_of(text.rsplit_once(' ').unwrap().0, &key(1), &party(Role::Cpo)));
        assert!(!is_of("", &key(1), &party(Role::Cpo)));
    }
}
