//! Checks a signature; in a simulation, where thousands of nodes of one process receive the same bytes, only
//! the first time. No other build remembers anything.

#[cfg(feature = "simulation")]
use std::{cell::RefCell, collections::BTreeSet};

use super::key::PublicKey;
use super::sealed::SealError;

/// Objects that are remembered, of 32 bytes each; then it begins anew.
#[cfg(feature = "simulation")]
const REMEMBERED_MAX: usize = 100_000;

#[cfg(feature = "simulation")]
thread_local! {
    /// Hashes over key and object of those whose signature fits.
    static FITS: RefCell<BTreeSet<super::sealed::Hash>> = const { RefCell::new(BTreeSet::new()) };
}

/// Checks whether a signed object fits a key.
#[cfg(not(feature = "simulation"))]
pub(super) fn check_once(
    _object: &[u8],
    _key: &PublicKey,
    check: impl FnOnce() -> Result<(), SealError>,
) -> Result<(), SealError> {
    check()
}

/// Checks whether a signed object fits a key, unless it was seen to do so.
#[cfg(feature = "simulation")]
pub(super) fn check_once(
    object: &[u8],
    key: &PublicKey,
    check: impl FnOnce() -> Result<(), SealError>,
) -> Result<(), SealError> {
    use sha2::{Digest as _, Sha256};

    let name = Sha256::new().chain_update(key.as_bytes()).chain_update(object).finalize().into();
    FITS.with_borrow_mut(|fits| {
        if fits.contains(&name) {
            return Ok(());
        }
        check()?;
        if fits.len() >= REMEMBERED_MAX {
            fits.clear();
        }
        fits.insert(name);
        Ok(())
    })
}
