//! What a driver identifies with: card UIDs and PINs. Personal data or secrets: neither `Debug` nor `Display`
//! shows them; what needs the text calls `expose()`.

use std::fmt;

/// Hex digits of a card UID of 4, 7 and 10 bytes.
const UID_DIGITS: [usize; 3] = [8, 14, 20];

/// Most characters of a PIN (QRCodeIdentificationType).
pub const PIN_CHARACTERS_MAX: usize = 20;

/// Characters of a hash value (HashValueType).
const HASH_CHARACTERS: std::ops::RangeInclusive<usize> = 10..=100;

/// The UID of an RFID card, in upper case like the hub makes it (GAPS B3). Personal data.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Box<str>);

impl Uid {
    /// Reads 8, 14 or 20 hex digits of either case; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Uid> {
        let fits = UID_DIGITS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| Uid(text.to_ascii_uppercase().into()))
    }

    /// The UID in upper case. Personal data: never log above DEBUG.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A PIN in clear text: any text of up to [`PIN_CHARACTERS_MAX`] characters (GAPS B7). Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Box<str>);

impl Pin {
    /// `None` if the text is too long.
    #[must_use]
    pub fn parse(text: &str) -> Option<Pin> {
        (text.chars().count() <= PIN_CHARACTERS_MAX).then(|| Pin(text.into()))
    }

    /// The PIN. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A hashed PIN: function `Bcrypt`, the hash in modular crypt form (`$2a$`, `$2b$`, `$2y$`, GAPS B6). Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct HashedPin(Box<str>);

impl HashedPin {
    /// Reads `HashValueType`: 10 to 100 letters, digits and `. + / = $ \`; `None` for any other text. Whether
    /// it is a hash that can be checked shows when it is used.
    #[must_use]
    pub fn parse(text: &str) -> Option<HashedPin> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+/=$\\".contains(&byte);
        (HASH_CHARACTERS.contains(&text.len()) && text.bytes().all(allowed)).then(|| HashedPin(text.into()))
    }

    /// The hash. Never log it: a short PIN is soon found from it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The comparable key of a medium: two identifications of one card or one contract have the same. The same
/// card is one medium whichever of the two RFID options names it; the PIN of a QR code takes no part.
/// Personal data.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediumKey(Box<str>);

impl MediumKey {
    pub(super) fn new(kind: &str, id: &str) -> MediumKey {
        MediumKey(format!("{kind}:{id}").into())
    }

    /// A key as [`MediumKey::expose`] gave it, from storage.
    #[must_use]
    pub fn from_stored(text: &str) -> MediumKey {
        MediumKey(text.into())
    }

    /// The key's text (`rfid:04A2…`, `qr:…`, `pnc:…`, `remote:…`). Personal data: never log above DEBUG.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

macro_rules! redacted {
    ($($name:ident),*) => {
        $(
            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(concat!(stringify!($name), "(…)"))
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("…")
                }
            }
        )*
    };
}

redacted!(Uid, Pin, HashedPin, MediumKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_upper_case_and_hidden() {
        let uid = Uid::parse("04a2b3c4d5e6f7").unwrap();
        assert_eq!(uid.expose(), "04A2B3C4D5E6F7");
        assert_eq!(format!("{uid:?} {uid}"), "Uid(…) …");
        for bad in ["", "12345ABCD", "AFFH1768", "1234567", "1234567890ABCDEF"] {
            assert!(Uid::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_hidden() {
        let pin = Pin::parse("geheim 1234").unwrap();
        assert_eq!((pin.expose(), format!("{pin:?}{pin}").as_str()), ("geheim 1234", "Pin(…)…"));
        assert!(Pin::parse(&"1".repeat(PIN_CHARACTERS_MAX + 1)).is_none());
        let hash = HashedPin::parse("$2a$10$abcdefghijklmnopqrstuv./0123456789ABCDEFGHIJKLMNOPQRS").unwrap();
        assert_eq!(format!("{hash:?}"), "HashedPin(…)");
        assert!(HashedPin::parse("string").is_none() && HashedPin::parse("has a blank").is_none());
    }
}
