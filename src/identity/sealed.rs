//! The one way to sign and the one way to read what was signed: COSE_Sign1 (RFC 9052) with Ed25519.
//!
//! The protected header names algorithm, signer, purpose, network and protocol version, so a receipt
//! never passes as an announcement and another network's object never passes here. The outer frame has
//! exactly one accepted encoding, is read without a general decoder, and has an empty unprotected
//! header: there is no unsigned byte in a sealed object, and its hash names it.

use std::fmt;
use std::marker::PhantomData;

use ciborium::value::Value;
use coset::{
    CoseSign1Builder, HeaderBuilder, ProtectedHeader, SignatureContext, TaggedCborSerializable as _, iana,
    sig_structure_data,
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::fields::{FieldError, read_value};
use super::key::{PublicKey, SIGNATURE_LENGTH, SecretKey};
use super::memo;
use super::purpose::Purpose;

/// SHA-256 of the bytes of a signed object, or a public key in the place of a signer's name.
pub type Hash = [u8; 32];

/// Version of the signed objects that this release writes.
pub const PROTOCOL_VERSION: u64 = 1;
/// Oldest version that this release still reads (release N reads N-1).
pub const PROTOCOL_VERSION_MIN: u64 = 1;
/// Longest network id, bytes. Allowed are `a-z`, `0-9` and `-`.
pub const NETWORK_LENGTH_MAX: usize = 32;
/// Largest protected header, bytes; the largest that is written has about 150.
const PROTECTED_SIZE_BYTES_MAX: usize = 256;
/// What the frame adds to payload and protected header: tag, array, lengths, signature, bytes.
const FRAME_SIZE_BYTES_MAX: usize = 96;

const HEADER_PURPOSE: &str = "cm-purpose";
const HEADER_NETWORK: &str = "cm-network";
const HEADER_VERSION: &str = "cm-version";

/// SHA-256 of the bytes as they came: the name of a signed object.
pub fn hash_of(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// What a receiver does with an object that did not pass (decisions.md 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Wrong for everybody: drop it and count it against the peer that sent it.
    Reject,
    /// Not accepted here or not now: drop it, nobody is to blame.
    Ignore,
}

/// Why an object could not be sealed or was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// Larger than its purpose allows.
    #[error("a {} of {size_bytes} bytes is over the limit of {} bytes", purpose.tag(), purpose.size_bytes_max())]
    TooLarge {
        /// What it is, or was expected to be.
        purpose: Purpose,
        /// Its size.
        size_bytes: usize,
    },
    /// Not in the one accepted form of COSE_Sign1: truncated, followed by something, unsigned, tagged
    /// otherwise, or with an unprotected header.
    #[error("this is no signed object of the mesh: its frame is damaged or of another kind")]
    Frame,
    /// The protected header lacks something, has something unknown, or another algorithm.
    #[error("the protected header of the signed object is not the one that is written here")]
    Header,
    /// Signed for something else.
    #[error("signed as {found:?} where {} is expected", expected.tag())]
    Purpose {
        /// What was expected.
        expected: Purpose,
        /// What the header says.
        found: Purpose,
    },
    /// Of another network.
    #[error("this object belongs to another network: check `network` in the configuration of both sides")]
    Network,
    /// The network id given by the caller is empty, too long or has other characters than `a-z0-9-`.
    #[error("a network id has 1 to 32 characters out of a-z, 0-9 and -")]
    NetworkName,
    /// Of a version that this release does not read.
    #[error("protocol version {found} is not read by this release: update the older side")]
    Version {
        /// The version in the header.
        found: u64,
    },
    /// The key that is named is not a usable key, or not the one that was expected.
    #[error("the object names another signer than the one expected")]
    Signer,
    /// The signature does not fit.
    #[error("the signature does not fit the signer's key")]
    Signature,
    /// The signature fits and the content is malformed.
    #[error("signed, but malformed: {0}")]
    Content(#[from] FieldError),
}

impl SealError {
    /// Whose fault it is.
    pub fn verdict(&self) -> Verdict {
        match self {
            SealError::Network | SealError::NetworkName | SealError::Version { .. } => Verdict::Ignore,
            SealError::TooLarge { .. }
            | SealError::Frame
            | SealError::Header
            | SealError::Purpose { .. }
            | SealError::Signer
            | SealError::Signature
            | SealError::Content(_) => Verdict::Reject,
        }
    }
}

/// Signs `payload`. The same input gives the same bytes.
///
/// `signer` goes into the header's `kid`: the raw public key for trust lists and credentials, the hash of
/// the credential for delegations, the hash of the delegation for everything that a node says.
///
/// # Errors
/// [`SealError::TooLarge`] and [`SealError::NetworkName`]; nothing else.
pub fn seal(
    purpose: Purpose,
    network: &str,
    signer: &Hash,
    key: &SecretKey,
    payload: &[u8],
) -> Result<Vec<u8>, SealError> {
    if !is_network_name(network) {
        return Err(SealError::NetworkName);
    }
    let header = HeaderBuilder::new()
        .algorithm(iana::Algorithm::EdDSA)
        .key_id(signer.to_vec())
        .text_value(HEADER_PURPOSE.to_owned(), Value::from(purpose.tag()))
        .text_value(HEADER_NETWORK.to_owned(), Value::from(network))
        .text_value(HEADER_VERSION.to_owned(), Value::from(PROTOCOL_VERSION))
        .build();
    let bytes = CoseSign1Builder::new()
        .protected(header)
        .payload(payload.to_vec())
        .create_signature(&[], |to_sign| key.sign(to_sign).to_vec())
        .build()
        .to_tagged_vec()
        .map_err(|_| SealError::Header)?;
    check_size(purpose, bytes.len())?;
    Ok(bytes)
}

/// The header of a signed object, before anything is verified: only good for choosing what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedHeader {
    /// What it claims to be.
    pub purpose: Purpose,
    /// The network it claims to belong to.
    pub network: String,
    /// The version it claims.
    pub version: u64,
    /// Whom it claims as signer; see [`seal`].
    pub signer: Hash,
}

/// Reads the header only. Nothing of it is proven.
///
/// # Errors
/// Frame, header and size errors; any purpose, network and version pass.
pub fn peek(bytes: &[u8]) -> Result<SealedHeader, SealError> {
    let frame = Frame::read(bytes)?;
    let header = read_header(frame.protected)?;
    check_size(header.purpose, bytes.len())?;
    Ok(header)
}

/// Reads the frame of an object that should be for `expect` in `network`. The payload stays closed until
/// [`Unsealed::verify`].
///
/// # Errors
/// Every [`SealError`] but `Signature` and `Content`.
pub fn open<'a>(bytes: &'a [u8], expect: Purpose, network: &str) -> Result<Unsealed<'a>, SealError> {
    check_size(expect, bytes.len())?;
    let frame = Frame::read(bytes)?;
    let header = read_header(frame.protected)?;
    if header.network != network {
        return Err(SealError::Network);
    }
    if !(PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION).contains(&header.version) {
        return Err(SealError::Version { found: header.version });
    }
    if header.purpose != expect {
        return Err(SealError::Purpose { expected: expect, found: header.purpose });
    }
    Ok(Unsealed { bytes, frame, header })
}

/// A signed object whose frame is in order and whose signature is not yet checked.
#[derive(Clone)]
pub struct Unsealed<'a> {
    bytes: &'a [u8],
    frame: Frame<'a>,
    header: SealedHeader,
}

impl<'a> Unsealed<'a> {
    /// Whom the object names as signer; see [`seal`].
    pub fn signer(&self) -> &Hash {
        &self.header.signer
    }

    /// The version it was written in.
    pub fn version(&self) -> u64 {
        self.header.version
    }

    /// SHA-256 of all its bytes.
    pub fn hash(&self) -> Hash {
        hash_of(self.bytes)
    }

    /// Checks the signature over the bytes that came and gives the payload.
    ///
    /// # Errors
    /// [`SealError::Signature`].
    pub fn verify(&self, key: &PublicKey) -> Result<&'a [u8], SealError> {
        memo::check_once(self.bytes, key, || {
            let protected = ProtectedHeader {
                original_data: Some(self.frame.protected.to_vec()),
                header: coset::Header::default(),
            };
            let payload = self.frame.payload;
            let signed = sig_structure_data(SignatureContext::CoseSign1, protected, None, &[], payload);
            key.verify(&signed, self.frame.signature).map_err(|_| SealError::Signature)
        })?;
        Ok(self.frame.payload)
    }

    /// The payload before its check, for the one object that carries the proof of its own key (the party
    /// card), and for the time at which the signer of an agreement is to be judged. Whoever calls this verifies
    /// before anything else of it is used.
    pub(super) fn payload_unproven(&self) -> &'a [u8] {
        self.frame.payload
    }
}

impl fmt::Debug for Unsealed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unsealed({}, {} bytes, unverified)", self.header.purpose.tag(), self.bytes.len())
    }
}

/// The content of a signed object: what [`Unverified::verify`] can yield.
pub trait Content: Sized {
    /// What it is signed as.
    const PURPOSE: Purpose;

    /// Reads the payload; called only after the signature was checked.
    ///
    /// # Errors
    /// [`FieldError`] for content that is wrong for everybody.
    fn decode(payload: &[u8]) -> Result<Self, FieldError>;
}

/// Received bytes of a signed `T`, unreadable until verified.
#[derive(Debug, Clone)]
pub struct Unverified<'a, T> {
    unsealed: Unsealed<'a>,
    content: PhantomData<T>,
}

impl<'a, T: Content> Unverified<'a, T> {
    /// Takes received bytes; see [`open`] for the errors.
    pub fn new(bytes: &'a [u8], network: &str) -> Result<Self, SealError> {
        Ok(Unverified { unsealed: open(bytes, T::PURPOSE, network)?, content: PhantomData })
    }

    /// Whom the object names as signer; see [`seal`].
    pub fn signer(&self) -> &Hash {
        self.unsealed.signer()
    }

    /// Checks the signature, then reads the content.
    ///
    /// # Errors
    /// [`SealError::Signature`], [`SealError::Content`].
    pub fn verify(&self, key: &PublicKey) -> Result<Verified<T>, SealError> {
        let content = T::decode(self.unsealed.verify(key)?)?;
        Ok(Verified { content, hash: self.unsealed.hash(), signer: *self.unsealed.signer() })
    }
}

/// Content whose signature was checked. Says who signed it, not that the signer may say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    content: T,
    hash: Hash,
    signer: Hash,
}

impl<T> Verified<T> {
    /// SHA-256 of the signed bytes.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    /// The header's signer; see [`seal`].
    pub fn signer(&self) -> &Hash {
        &self.signer
    }

    /// Another reading of the same signed bytes.
    pub(super) fn map<U>(self, read: impl FnOnce(T) -> U) -> Verified<U> {
        Verified { content: read(self.content), hash: self.hash, signer: self.signer }
    }

    /// The content itself.
    pub fn into_content(self) -> T {
        self.content
    }
}

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

/// Whether a text can name a network; see [`SealError::NetworkName`].
pub fn is_network_name(network: &str) -> bool {
    (1..=NETWORK_LENGTH_MAX).contains(&network.len())
        && network.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn check_size(purpose: Purpose, size_bytes: usize) -> Result<(), SealError> {
    if size_bytes > purpose.size_bytes_max() {
        return Err(SealError::TooLarge { purpose, size_bytes });
    }
    Ok(())
}

/// The four parts of the outer frame, in place.
#[derive(Clone)]
struct Frame<'a> {
    protected: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8; SIGNATURE_LENGTH],
}

impl<'a> Frame<'a> {
    /// `18([protected, {}, payload, signature])` in the shortest encoding, and nothing behind it.
    fn read(bytes: &'a [u8]) -> Result<Frame<'a>, SealError> {
        Frame::parts(bytes).ok_or(SealError::Frame)
    }

    fn parts(bytes: &'a [u8]) -> Option<Frame<'a>> {
        const TAG_18_ARRAY_4: [u8; 2] = [0xd2, 0x84];
        const EMPTY_MAP: [u8; 1] = [0xa0];
        let rest = bytes.strip_prefix(&TAG_18_ARRAY_4)?;
        let (protected, rest) = byte_string(rest)?;
        let rest = rest.strip_prefix(&EMPTY_MAP)?;
        let (payload, rest) = byte_string(rest)?;
        let (signature, rest) = byte_string(rest)?;
        let fits = rest.is_empty() && protected.len() <= PROTECTED_SIZE_BYTES_MAX;
        let signature = signature.try_into().ok()?;
        fits.then_some(Frame { protected, payload, signature })
    }
}

/// One CBOR byte string with the shortest length (RFC 8949 section 4.2.1) and what follows it.
fn byte_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    const MAJOR_TYPE_2: u8 = 0x40;
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = match first.checked_sub(MAJOR_TYPE_2)? {
        short @ 0..=23 => (usize::from(short), rest),
        24 => {
            let ([length], rest) = rest.split_first_chunk::<1>()?;
            (usize::from(*length), rest)
        }
        25 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        26 => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            (usize::try_from(u32::from_be_bytes(*length)).ok()?, rest)
        }
        _ => return None,
    };
    let shortest = match bytes.len().checked_sub(rest.len())? {
        1 => true,
        2 => length > 23,
        3 => length > usize::from(u8::MAX),
        _ => length > usize::from(u16::MAX),
    };
    if shortest { rest.split_at_checked(length) } else { None }
}

/// Reads the protected header: exactly the five entries that [`seal`] writes, each once.
fn read_header(protected: &[u8]) -> Result<SealedHeader, SealError> {
    const ALGORITHM: i64 = iana::HeaderParameter::Alg as i64;
    const KEY_ID: i64 = iana::HeaderParameter::Kid as i64;
    const ENTRIES: usize = 5;
    let Ok(Value::Map(entries)) = read_value(protected) else { return Err(SealError::Header) };
    if entries.len() != ENTRIES {
        return Err(SealError::Header);
    }
    let (mut algorithm, mut signer, mut purpose, mut network, mut version) = (None, None, None, None, None);
    for (label, value) in entries {
        match (label, value) {
            (Value::Integer(label), Value::Integer(value)) if label == ALGORITHM.into() => {
                algorithm = Some(value);
            }
            (Value::Integer(label), Value::Bytes(value)) if label == KEY_ID.into() => {
                signer = Hash::try_from(value).ok();
            }
            (Value::Text(label), Value::Text(value)) if label == HEADER_PURPOSE => {
                purpose = Purpose::of_tag(&value);
            }
            (Value::Text(label), Value::Text(value)) if label == HEADER_NETWORK => {
                network = Some(value).filter(|network| is_network_name(network));
            }
            (Value::Text(label), Value::Integer(value)) if label == HEADER_VERSION => {
                version = u64::try_from(value).ok();
            }
            _ => return Err(SealError::Header),
        }
    }
    // Five entries of five accepted kinds, all present: so none was there twice.
    match (algorithm, signer, purpose, network, version) {
        (Some(algorithm), Some(signer), Some(purpose), Some(network), Some(version))
            if algorithm == (iana::Algorithm::EdDSA as i64).into() =>
        {
            Ok(SealedHeader { purpose, network, version, signer })
        }
        _ => Err(SealError::Header),
    }
}

/// Largest payload that fits an object of this purpose, bytes.
pub fn payload_size_bytes_max(purpose: Purpose) -> usize {
    purpose.size_bytes_max() - PROTECTED_SIZE_BYTES_MAX - FRAME_SIZE_BYTES_MAX
}
