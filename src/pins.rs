//! PINs of QR code contracts: hashed with bcrypt before anything is stored, and compared with such a hash. Both
//! take tens of milliseconds on purpose, so callers do it on a thread that may wait, never in the engine.

use std::str::FromStr;

use bcrypt::HashParts;

use crate::oicp::charging::{HashedPin, Pin};

/// Cost of the hashes that are made here: 2^10 rounds, some 50 ms; less is too little against guessing.
pub const COST: u32 = 10;

/// A hash of higher cost is not taken: 2^13 rounds are half a second of one processor for each check, and who asks
/// is a stranger at a charging station.
pub const COST_MAX: u32 = 13;

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
#[error("the PIN could not be hashed ({0}): try again")]
pub struct PinError(String);

/// The hash under which a PIN is stored. Takes some 50 ms.
///
/// # Errors
/// [`PinError`] if the system gives no randomness.
pub fn hash(pin: &Pin) -> Result<HashedPin, PinError> {
    let text = bcrypt::hash(pin.expose(), COST).map_err(|error| PinError(error.to_string()))?;
    HashedPin::parse(&text).ok_or_else(|| PinError("it has an unknown form".to_owned()))
}

/// Whether it is a bcrypt hash, of a cost up to [`COST_MAX`], that a PIN can be compared with.
#[must_use]
pub fn is_checkable(hash: &HashedPin) -> bool {
    HashParts::from_str(hash.expose()).is_ok_and(|parts| parts.get_cost() <= COST_MAX)
}

/// Whether it is the hash of this PIN. Takes as long as the hash's cost says, at most some 0.5 s.
#[must_use]
pub fn matches(pin: &Pin, hash: &HashedPin) -> bool {
    is_checkable(hash) && bcrypt::verify(pin.expose(), hash.expose()).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_matches_its_own_hash_only() {
        let (pin, other) = (Pin::parse("1234").unwrap(), Pin::parse("1235").unwrap());
        let hash = hash(&pin).unwrap();
        assert!(hash.expose().starts_with("$2"), "modular crypt form");
        assert!(matches(&pin, &hash) && !matches(&other, &hash));
    }

    #[test]
    fn hashes_of_others_of_every_version_and_none_that_is_too_costly() {
        // The well-known vector of the bcrypt paper's test suite: password "U*U", cost 5.
        let pin = Pin::parse("U*U").unwrap();
        for version in ["2a", "2b", "2y"] {
            let text = format!("${version}$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
            assert!(matches(&pin, &HashedPin::parse(&text).unwrap()), "{version}");
            let costly = text.replace("$05$", "$14$");
            assert!(!is_checkable(&HashedPin::parse(&costly).unwrap()), "{version}");
        }
        assert!(!is_checkable(&HashedPin::parse("$2a$10$tooshort").unwrap()));
    }
}
