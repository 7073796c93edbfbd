//! The compact picture that an EMP gives one partner of the cards it knows, so that it is not asked for others: a
//! Bloom filter (Bloom 1970) under a key that only the two know.
//!
//! What it gives away: about how many cards there are (by its size), and for any UID that its holder thinks of, whether
//! the EMP knows it, wrong for one unknown UID in some hundred. So the holder can try UIDs. Four bytes of UID can be
//! tried one by one, and what is found is the cards among a few hundredths of all UIDs that are none; seven bytes
//! cannot. Who has only the bytes and not the key learns the number of cards alone, and pictures for two partners
//! cannot be compared.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::KEY_BYTES_MAX;
use super::codec::{ProtocolError, decode, encode};
use super::wire::Buf;

/// Bits for each card; with [`PROBES`] one unknown card in some 300 looks known.
const BITS_PER_CARD: usize = 12;

/// Bits that stand for one card.
const PROBES: u64 = 8;

/// Sizes are multiples of this, in bytes, so that a card more does not show.
const STEP_BYTES: usize = 1_024;

/// Largest picture in bytes: of 520,000 cards. It has to fit a frame of an exchange stream.
pub const CARD_FILTER_BYTES_MAX: usize = 780 * 1_024;

/// Bytes of its key.
pub const CARD_FILTER_KEY_BYTES: usize = 16;

/// A picture of the cards that an EMP knows.
#[derive(Clone, PartialEq, Eq)]
pub struct CardFilter {
    /// The EMP, as `ROLE:ID`.
    pub party: String,
    /// Of this picture for this partner. Secret.
    key: [u8; CARD_FILTER_KEY_BYTES],
    /// None: there is no picture (any more), ask for every card.
    bits: Bytes,
}

impl fmt::Debug for CardFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (party, bytes) = (&self.party, self.bits.len());
        f.debug_struct("CardFilter").field("party", party).field("bytes", &bytes).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct FilterWire(String, Buf, Buf);

impl CardFilter {
    /// The picture of these media, each as [`crate::oicp::charging::MediumKey::expose`] spells it; `None` if they
    /// are too many.
    #[must_use]
    pub fn of<'a>(
        party: String,
        key: [u8; CARD_FILTER_KEY_BYTES],
        media: impl ExactSizeIterator<Item = &'a str>,
    ) -> Option<CardFilter> {
        let bytes = (media.len() * BITS_PER_CARD).div_ceil(8).max(1).next_multiple_of(STEP_BYTES);
        if bytes > CARD_FILTER_BYTES_MAX {
            return None;
        }
        let mut bits = vec![0_u8; bytes];
        for medium in media {
            for place in places(&key, medium, bytes) {
                if let Some(byte) = bits.get_mut(place / 8) {
                    *byte |= 1 << (place % 8);
                }
            }
        }
        Some(CardFilter { party, key, bits: bits.into() })
    }

    /// The word that there is no picture any more.
    #[must_use]
    pub fn withdrawn(party: String) -> CardFilter {
        CardFilter { party, key: [0; CARD_FILTER_KEY_BYTES], bits: Bytes::new() }
    }

    /// Whether there is no picture.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.bits.is_empty()
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bits.len()
    }

    /// False if the EMP does not know the medium; true if it does, and for some others.
    #[must_use]
    pub fn may_know(&self, medium: &str) -> bool {
        let is_set = |place: usize| self.bits.get(place / 8).is_some_and(|byte| byte & 1 << (place % 8) != 0);
        self.is_withdrawn() || places(&self.key, medium, self.bits.len()).all(is_set)
    }

    /// As it travels.
    pub(super) fn encode(&self) -> Bytes {
        let key = Buf(Bytes::copy_from_slice(&self.key));
        encode(&FilterWire(self.party.clone(), key, Buf(self.bits.clone()))).into()
    }

    /// Reads what travelled.
    pub(super) fn decode(bytes: &[u8]) -> Result<CardFilter, ProtocolError> {
        const WHAT: &str = "card filter";
        let limit = CARD_FILTER_BYTES_MAX + STEP_BYTES;
        let FilterWire(party, Buf(key), Buf(bits)) = decode(WHAT, bytes, limit)?;
        let invalid = |rule| ProtocolError::Invalid { what: WHAT, rule };
        let key = key.as_ref().try_into().map_err(|_| invalid("its key has another length"))?;
        if party.len() > KEY_BYTES_MAX || bits.len() > CARD_FILTER_BYTES_MAX {
            return Err(invalid("it is too long"));
        }
        Ok(CardFilter { party, key, bits })
    }
}

/// The bits that stand for a medium (Kirsch and Mitzenmacher 2006: two hashes make all of them).
fn places(key: &[u8; CARD_FILTER_KEY_BYTES], medium: &str, bytes: usize) -> impl Iterator<Item = usize> {
    let hash = Sha256::new().chain_update(key).chain_update(medium.as_bytes()).finalize();
    let half = |at: usize| {
        let bytes = hash.iter().skip(at).take(8);
        bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (first, step, bits) = (half(0), half(8) | 1, (bytes as u64 * 8).max(1));
    (0..PROBES).map(move |probe| (first.wrapping_add(probe.wrapping_mul(step)) % bits) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cards(from: usize, count: usize) -> Vec<String> {
        (from..from + count).map(|number| format!("rfid:04{number:012X}")).collect()
    }

    fn of(cards: &[String], key: u8) -> CardFilter {
        let media = cards.iter().map(String::as_str);
        CardFilter::of("EMP:DEEMP".to_owned(), [key; CARD_FILTER_KEY_BYTES], media).unwrap()
    }

    #[test]
    fn what_is_in_it_is_found_and_hardly_anything_else() {
        for count in [1, 100, 10_000] {
            let known = cards(0, count);
            let filter = CardFilter::decode(&of(&known, 7).encode()).unwrap();
            assert_eq!(filter, of(&known, 7));
            assert!(known.iter().all(|card| filter.may_know(card)), "{count}");
            let wrong = cards(1_000_000, 10_000).iter().filter(|card| filter.may_know(card)).count();
            println!("{count} cards, {} bytes: {wrong} of 10,000 others look known", filter.size());
            assert!(wrong < 100, "{count}: {wrong}");
        }
    }

    #[test]
    fn another_key_is_another_picture_and_none_refuses_nothing() {
        let known = cards(0, 1_000);
        assert_ne!(of(&known, 1).bits, of(&known, 2).bits);
        let none = CardFilter::withdrawn("EMP:DEEMP".to_owned());
        assert!(none.may_know("rfid:04A2B3C4") && CardFilter::decode(&none.encode()).unwrap().is_withdrawn());
        // An EMP that knows nothing is asked for nothing.
        assert!(!of(&[], 1).may_know("rfid:04A2B3C4"));
        assert!(!format!("{:?}", of(&known, 9)).contains('9'), "its key is not shown");
    }

    #[test]
    fn a_picture_of_the_most_cards_of_an_emp_fits_and_more_is_refused() {
        let media = vec!["rfid:04A2B3C4"; 500_000];
        let filter = CardFilter::of(String::new(), [1; 16], media.iter().copied()).unwrap();
        assert!(filter.encode().len() < super::super::EXCHANGE_FRAME_BYTES_MAX - 1_024);
        let media = vec!["rfid:04A2B3C4"; 600_000];
        assert!(CardFilter::of(String::new(), [1; 16], media.iter().copied()).is_none());
        let large = FilterWire(
            String::new(),
            Buf(vec![0; 16].into()),
            Buf(vec![0; CARD_FILTER_BYTES_MAX + 1].into()),
        );
        assert!(CardFilter::decode(&encode(&large)).is_err());
        let short = FilterWire(String::new(), Buf(vec![0; 15].into()), Buf(Bytes::new()));
        assert!(CardFilter::decode(&encode(&short)).is_err());
    }
}
