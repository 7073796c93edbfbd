//! Who may speak for whom: ids, keys, and the signed objects that tie them together.
//!
//! The chain that every message of the mesh hangs on:
//!
//! ```text
//! trust list (this node's own choice: which issuer keys count for which country and role)
//!   └─ credential (an issuer: this party has this org key and these ids, at most 13 months)
//!        └─ delegation (the org key: this node may do these things for these ids, days)
//!             └─ everything else (the message key: party card, feed head, envelope, ...)
//! ```
//!
//! [`sealed`] is the one signing primitive, [`Chain::verify`] walks the chain and yields a
//! [`Speaker`], the only value that may be asked "may you say this?". The module is pure: time, keys
//! and seeds are arguments.

pub mod agreement;
pub mod card;
pub mod chain;
pub mod credential;
pub mod delegation;
pub mod envelope;
pub mod evidence_seal;
mod fields;
pub mod fingerprint;
mod ground;
pub mod id;
pub mod key;
mod memo;
pub mod purpose;
pub mod receipt;
pub mod registry;
pub mod request;
pub mod rotation;
pub mod sealed;
pub mod signed_cdr;
pub mod speaker;
pub mod status_list;
pub mod sub_grant;
pub mod tombstone;
pub mod trust_list;

#[cfg(test)]
mod tests;

pub use agreement::{Agreement, AgreementEnd, AgreementError, AgreementTerms, Service};
pub use card::{CardError, CredentialRef, PartyCard, VerifiedCard, kad_key};
pub use chain::{Chain, ChainError, TrustContext};
pub use credential::{Credential, CredentialTerms, Voucher};
pub use delegation::{Delegation, Operation};
pub use envelope::{Envelope, MessageId};
pub use evidence_seal::EvidenceSeal;
pub use fields::FieldError;
pub use id::{CanonicalId, IdError, PartyId, Role};
pub use key::{KeyError, KeyId, KeyPurpose, PublicKey, SecretKey};
pub use purpose::Purpose;
pub use receipt::{Receipt, ReceiptVerdict};
pub use registry::{Added, IdConflict, Registry, RegistryError};
pub use request::PartyRequest;
pub use rotation::Rotation;
pub use sealed::{
    Hash, SealError, SealedHeader, Unsealed, Unverified, Verdict, Verified, hash_of, open, peek, seal,
};
pub use signed_cdr::{CDR_OICP_BYTES_MAX, CdrError, SignedCdr};
pub use speaker::{Assurance, GrantClass, ScopeError, Speaker};
pub use status_list::StatusList;
pub use sub_grant::{SubGrant, SubGrantTerms};
pub use tombstone::{Dead, Subject, Tombstone};
pub use trust_list::{Issuer, IssuerClass, IssuerGrant, Pin, TrustList};
