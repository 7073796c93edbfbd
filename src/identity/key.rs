//! Ed25519 keys: made from seeds that the caller drew, checked when they come from outside, written as
//! one line of text that says what the key is for.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

/// Length of a seed, a public key and a key id, bytes (RFC 8032).
pub const KEY_LENGTH: usize = 32;
/// Length of a signature, bytes (RFC 8032).
pub const SIGNATURE_LENGTH: usize = 64;
/// Longest key line that is read, bytes; the longest that is written has 73.
pub const KEY_TEXT_LENGTH_MAX: usize = 128;

/// What was wrong with a key or a signature. Never contains key material.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The line is empty, too long, or has no `tag:value` form.
    #[error("this is no key line: expected {expected}:<43 characters of base64url>")]
    Shape {
        /// The tag that was expected.
        expected: String,
    },
    /// The line holds a key made for something else.
    #[error("this key line begins with {found:?} where {expected:?} is needed: use the right key file")]
    Tag {
        /// The tag that was expected.
        expected: String,
        /// The beginning of the tag that was found.
        found: String,
    },
    /// Behind the tag is not the base64url of 32 bytes.
    #[error(
        "the key behind {tag:?} is not 32 bytes of base64url: the file is damaged, restore it from a copy"
    )]
    Encoding {
        /// The tag of the line.
        tag: String,
    },
    /// 32 bytes that are not a usable Ed25519 public key (no curve point, or one of small order).
    #[error("these bytes are no usable Ed25519 public key")]
    Point,
    /// The signature does not belong to this key and these bytes.
    #[error("the signature does not fit the key and the signed bytes")]
    Signature,
}

/// What a key is for. It is the first word of its line, so that a node key is never loaded as an org key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPurpose {
    /// The party's own key, kept offline: signs delegations.
    Org,
    /// The libp2p identity of a node.
    Node,
    /// Signs what a node says for a party; delegated by the org key.
    Message,
    /// Signs credentials.
    Issuer,
    /// Signs trust lists.
    Trust,
}

impl KeyPurpose {
    fn word(self) -> &'static str {
        match self {
            KeyPurpose::Org => "org",
            KeyPurpose::Node => "node",
            KeyPurpose::Message => "message",
            KeyPurpose::Issuer => "issuer",
            KeyPurpose::Trust => "trust",
        }
    }

    fn secret_tag(self) -> String {
        format!("chargemesh-{}-key-1", self.word())
    }

    fn public_tag(self) -> String {
        format!("chargemesh-{}-pub-1", self.word())
    }
}

/// A secret key. Wiped from memory when dropped; neither `Debug` nor any error shows it.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of a 32-byte seed (RFC 8032 section 5.1.5). The seed must come from a good random source.
    pub fn from_seed(seed: &[u8; KEY_LENGTH]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(seed))
    }

    /// The seed, for handing the node key to the transport. The copy is wiped when dropped.
    pub fn seed(&self) -> Zeroizing<[u8; KEY_LENGTH]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The Ed25519 signature of `message`; the same bytes for the same input (RFC 8032).
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LENGTH] {
        self.0.sign(message).to_bytes()
    }

    /// The line for a key file (mode 0600), without line end: `chargemesh-org-key-1:<base64url>`.
    pub fn to_text(&self, purpose: KeyPurpose) -> Zeroizing<String> {
        let seed = self.seed();
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(seed.as_slice()));
        Zeroizing::new(format!("{}:{}", purpose.secret_tag(), encoded.as_str()))
    }

    /// Reads a key file's text; white space around the line is allowed, another purpose is not.
    pub fn from_text(purpose: KeyPurpose, text: &str) -> Result<SecretKey, KeyError> {
        let seed = decode_line(&purpose.secret_tag(), text)?;
        Ok(SecretKey::from_seed(&seed))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public())
    }
}

/// A checked Ed25519 public key: a point on the curve, not of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Checks and takes 32 bytes.
    pub fn from_bytes(bytes: &[u8; KEY_LENGTH]) -> Result<PublicKey, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?;
        // A key of small order accepts signatures that nobody made; and of two encodings of one point
        // only the canonical one may name a party.
        if key.is_weak() || key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::Point);
        }
        Ok(PublicKey(key))
    }

    /// Checks and takes a slice that must have 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<PublicKey, KeyError> {
        PublicKey::from_bytes(bytes.try_into().map_err(|_| KeyError::Point)?)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LENGTH] {
        self.0.as_bytes()
    }

    /// SHA-256 of the 32 bytes: what names the key in short.
    pub fn id(&self) -> KeyId {
        KeyId(Sha256::digest(self.as_bytes()).into())
    }

    /// Checks a signature strictly: canonical scalars, no points of small order, so that one signed
    /// object has one signature that every implementation judges alike.
    pub fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_LENGTH]) -> Result<(), KeyError> {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| KeyError::Signature)
    }

    /// The line for a file or a configuration value: `chargemesh-org-pub-1:<base64url>`.
    pub fn to_text(&self, purpose: KeyPurpose) -> String {
        format!("{}:{}", purpose.public_tag(), URL_SAFE_NO_PAD.encode(self.as_bytes()))
    }

    /// Reads such a line; white space around it is allowed, another purpose is not.
    pub fn from_text(purpose: KeyPurpose, text: &str) -> Result<PublicKey, KeyError> {
        PublicKey::from_bytes(&*decode_line(&purpose.public_tag(), text)?)
    }
}

fn decode_line(expected: &str, text: &str) -> Result<Zeroizing<[u8; KEY_LENGTH]>, KeyError> {
    let shape = || KeyError::Shape { expected: expected.to_owned() };
    let line = text.trim();
    if line.len() > KEY_TEXT_LENGTH_MAX {
        return Err(shape());
    }
    let (tag, value) = line.split_once(':').ok_or_else(shape)?;
    if tag != expected {
        // Only a tag of ours is repeated: anything else in front of a colon might be a secret.
        let found = if tag.starts_with("chargemesh-") && tag.len() <= 32 { tag } else { "something else" };
        return Err(KeyError::Tag { expected: expected.to_owned(), found: found.to_owned() });
    }
    let damaged = || KeyError::Encoding { tag: expected.to_owned() };
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(value).map_err(|_| damaged())?);
    let array: [u8; KEY_LENGTH] = bytes.as_slice().try_into().map_err(|_| damaged())?;
    Ok(Zeroizing::new(array))
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", URL_SAFE_NO_PAD.encode(self.as_bytes()))
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// SHA-256 of a public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; KEY_LENGTH]);

impl fmt::Display for KeyId {
    /// The first eight bytes in hex: enough for a log line, not for a decision.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_lines_come_back_and_say_what_is_wrong() {
        let key = SecretKey::from_seed(&[7; 32]);
        let line = key.to_text(KeyPurpose::Org);
        assert!(line.starts_with("chargemesh-org-key-1:"));
        let again = SecretKey::from_text(KeyPurpose::Org, &format!("{}\n", line.as_str())).unwrap();
        assert_eq!(again.public(), key.public());
        let public = key.public().to_text(KeyPurpose::Issuer);
        assert_eq!(PublicKey::from_text(KeyPurpose::Issuer, &public).unwrap(), key.public());

        let refused = |text: &str| SecretKey::from_text(KeyPurpose::Org, text).unwrap_err();
        assert!(matches!(refused(""), KeyError::Shape { .. }));
        assert!(matches!(refused(&"x".repeat(1000)), KeyError::Shape { .. }));
        assert!(matches!(refused(&key.to_text(KeyPurpose::Node)), KeyError::Tag { .. }));
        assert!(matches!(refused(&public), KeyError::Tag { .. }));
        assert!(matches!(refused(line.get(..40).unwrap()), KeyError::Encoding { .. }));
        assert!(matches!(refused(&format!("{}=", line.as_str())), KeyError::Encoding { .. }));
    }

    #[test]
    fn no_text_of_a_secret_key_shows_the_secret() {
        let key = SecretKey::from_seed(&[0x41; 32]);
        let secret = URL_SAFE_NO_PAD.encode([0x41; 32]);
        assert!(!format!("{key:?}").contains(&secret));
        let wrong_place = SecretKey::from_text(KeyPurpose::Org, &format!("{secret}:x")).unwrap_err();
        assert!(!wrong_place.to_string().contains(&secret));
    }

    #[test]
    fn keys_of_small_order_and_off_the_curve_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(&identity), Err(KeyError::Point));
        assert_eq!(PublicKey::from_bytes(&[0; 32]), Err(KeyError::Point));
        assert_eq!(PublicKey::from_bytes(&[0xff; 32]), Err(KeyError::Point));
        assert_eq!(PublicKey::from_slice(&[1; 31]), Err(KeyError::Point));
    }

    #[test]
    fn rfc_8032_test_vector_2() {
        let seed = [
            0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
            0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb,
        ];
        let key = SecretKey::from_seed(&seed);
        let signature = key.sign(&[0x72]);
        assert_eq!(signature[..4], [0x92, 0xa0, 0x09, 0xa9]);
        assert!(key.public().verify(&[0x72], &signature).is_ok());
        assert!(key.public().verify(&[0x73], &signature).is_err());
    }

    #[test]
    fn any_key_line_is_read_or_refused_and_never_panics() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = SecretKey::from_text(KeyPurpose::Org, text);
            let _ = PublicKey::from_text(KeyPurpose::Org, text);
            let _ = PublicKey::from_slice(text.as_bytes());
        });
    }
}
