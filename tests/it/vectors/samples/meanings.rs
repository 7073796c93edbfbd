//! What each key of each payload means, as the files say it.

/// From a place in a payload (`notation::places`) to its meaning.
pub(crate) type Meanings = &'static [(&'static str, &'static str)];

pub(crate) const HEADER: Meanings = &[
    ("1", "alg (RFC 9052): -8 is EdDSA, here always Ed25519"),
    ("4", "kid (RFC 9052): 32 bytes that name the signer, see kid_is and kid_of"),
    ("cm-purpose", "what the object is; it counts as nothing else"),
    ("cm-network", "the network it belongs to; it counts in no other"),
    ("cm-version", "protocol version"),
];

/// Claims that credentials and delegations share.
pub(crate) const CLAIMS: Meanings = &[
    ("1", "iss (RFC 8392): the issuer's name for people; proves nothing"),
    ("2", "sub (RFC 8392): the party, role and canonical id"),
    ("4", "exp (RFC 8392): first second in which it is dead, Unix time"),
    ("5", "nbf (RFC 8392): first second of validity, Unix time"),
    ("6", "iat (RFC 8392): as nbf"),
    ("7", "cti (RFC 8392): serial, unique at its issuer"),
    ("8", "cnf (RFC 8747): the key that is vouched for"),
    ("8.1", "COSE_Key (RFC 9053)"),
    ("8.1.1", "kty: 1 is OKP"),
    ("8.1.-1", "crv: 6 is Ed25519"),
    ("8.1.-2", "x: the public key"),
];

pub(crate) const CREDENTIAL: Meanings = &[
    ("-70001", "further ids of the party, canonical, ascending, without the main id"),
    ("-70002", "legal name"),
    ("-70003", "number in the commercial register; absent if there is none"),
    ("-70004", "SHA-256 of the org public key that may follow; absent if none was chosen"),
];

/// A request has the claims of the credential that it asks for, but for issuer, serial and validity.
pub(crate) const REQUEST: Meanings = &[
    ("6", "iat (RFC 8392): when it was made, Unix time"),
    ("8", "cnf (RFC 8747): the key to vouch for; it has to have signed the request"),
];

pub(crate) const DELEGATION: Meanings = &[
    ("-70010", "libp2p peer id of the node, the multihash bytes"),
    ("-70011", "what the node may do, ascending; unknown words grant nothing"),
    ("-70012", "for which ids of the credential, canonical, ascending"),
    ("-70013", "epoch: a delegation with a higher one wins"),
    ("-70014", "slot: which of the party's nodes this is, 0 to 7"),
];

pub(crate) const TRUST_LIST: Meanings = &[
    ("1", "issuers that are believed"),
    ("1[].1", "issuer's public key"),
    ("1[].2", "issuer's name for people"),
    ("1[].3", "class: registrar (one suffices) or attester (two are needed)"),
    ("1[].4", "what it is believed for"),
    ("1[].4[].1", "country: two capitals, + and a calling code, or * for every one"),
    ("1[].4[].2", "role: CPO, EMP or HUB"),
    ("2", "pins: parties known by their org key, without an issuer"),
    ("2[].1", "party, role and canonical id"),
    ("2[].2", "its org public key"),
    ("2[].3", "further ids that are accepted from it without an issuer"),
    ("3", "seq: a list with a lower one never replaces one with a higher"),
    ("4", "first second in which the list is too old, Unix time"),
];

pub(crate) const CARD: Meanings = &[
    ("1", "the node's delegation, the whole object"),
    ("2", "the party's credential, the whole object; absent if key 3 is there"),
    ("3", "hash of the credential, which is fetched from the node; absent if key 2 is there"),
    ("4", "where the node listens, multiaddress texts"),
    ("5", "what the node can do, free words"),
    ("6", "seq: a card with a lower one never replaces one with a higher"),
    ("7", "when it was made, Unix time in seconds"),
    ("8", "first second in which it is dead, Unix time; at most 48 hours after key 7"),
];

pub(crate) const TOMBSTONE: Meanings = &[
    ("1", "the credential that it is about, the whole object: says who may sign this"),
    ("2", "what is dead: credential, delegation or org-key"),
    ("3", "hash of the delegation that is dead; absent if something else is"),
    ("4", "epoch: of several for one subject the highest counts"),
    ("5", "when trust ended, Unix time in seconds; what was said before stays evidence"),
    ("6", "reason, for people; absent if there is none"),
];

pub(crate) const ROTATION: Meanings = &[(
    "4",
    "the new key's consent: an object of the same purpose signed by the new key, see further.consent",
)];

pub(crate) const STATUS_LIST: Meanings = &[
    ("1", "seq: of several of one issuer the highest counts"),
    ("2", "first second in which it says nothing any more, Unix time"),
    ("3", "hashes of the dead credentials, 32 bytes each, ascending, one behind the other"),
    ("4", "when it was made, Unix time"),
];

pub(crate) const HEAD: Meanings = &[
    ("0", "the feed's party, role and canonical id"),
    ("1", "the feed's kind: 0 is EVSE data, 1 is EVSE status"),
    ("2", "epoch of the delegation"),
    ("3", "incarnation of the writer: raised by the first change after a start"),
    ("4", "seq: number of the last change"),
    ("5", "number of records"),
    ("6", "root over all records"),
    ("7", "when it was signed, Unix time in milliseconds"),
    ("8", "seq before the changes that travel with this head; equal to seq if none do"),
    ("9", "SHA-256 of those changes as they travel; zeros if there are none"),
    ("10", "the party's OperatorID as its backend spells it"),
    ("11", "the party's OperatorName"),
];

pub(crate) const ANNOUNCEMENT: Meanings = &[
    ("0", "signed heads, whole objects: one with changes, or up to 16 without"),
    ("1", "changes of the only head, zstd over the CBOR of further.changes; null if none"),
];

pub(crate) const OFFER: Meanings = &[
    ("1", "which of the three it is: offer, acceptance or end"),
    ("2", "who offers"),
    ("3", "to whom; of another role"),
    ("4", "what each may do with the other, in the order of the README"),
    ("5", "first second of validity, Unix time"),
    ("6", "first second after it, Unix time; at most five years of 366 days later"),
    ("7", "when it was offered, Unix time"),
    ("8", "16 random bytes, so that the same terms can be offered again"),
];

pub(crate) const ACCEPTANCE: Meanings = &[
    ("1", "which of the three it is: offer, acceptance or end"),
    ("7", "when it was accepted, Unix time"),
    ("9", "the offer, the whole object"),
];

pub(crate) const AGREEMENT_END: Meanings = &[
    ("1", "which of the three it is: offer, acceptance or end"),
    ("7", "when it was ended, Unix time"),
    ("10", "hash of the offer: which agreement"),
];

pub(crate) const ENVELOPE: Meanings = &[
    ("1", "id: 16 random bytes; a message that is sent again has the same"),
    ("2", "to whom"),
    ("3", "when it was signed, Unix time in milliseconds"),
    ("4", "first millisecond in which it counts no more, Unix time; at most 600,000 later"),
    ("5", "id of the message that it answers; absent if it answers none"),
    ("6", "the message, CBOR; empty in the answer to a question about the time"),
    ("7", "peer id of the node that it is for: no other node of the party takes it"),
];

pub(crate) const SUB_GRANT: Meanings = &[
    ("1", "the holder's credential, the whole object: says whose main id it is and who may sign this"),
    ("2", "who may publish under that id; of the holder's role"),
    ("3", "epoch: of several for one grantee the highest counts"),
    ("4", "first second in which it does not hold any more, Unix time"),
    ("5", "first second of validity, Unix time"),
];

pub(crate) const SIGNED_CDR: Meanings = &[
    ("1", "SessionID, lower case"),
    ("2", "from: the CPO, role and canonical id"),
    ("3", "to: the EMP, role and canonical id"),
    ("4", "when it was signed, Unix time in milliseconds"),
    ("5", "SHA-256 of the OICP message of the record that this one corrects; absent if it is none"),
    ("6", "the OICP message, byte for byte as the CPO's backend sent it; SHA-256 of it names the record"),
];

pub(crate) const RECEIPT: Meanings = &[
    ("1", "SessionID, lower case"),
    ("2", "from: the EMP, role and canonical id"),
    ("3", "to: the CPO, role and canonical id"),
    ("4", "when it was signed, Unix time in milliseconds"),
    ("5", "SHA-256 of the record's OICP message"),
    ("6", "received, kept, accepted, rejected or refused"),
    ("7", "OICP status code of a no: there if rejected or refused"),
];

pub(crate) const EVIDENCE_SEAL: Meanings = &[
    ("1", "whose log it is, role and canonical id"),
    ("2", "SessionID, lower case"),
    ("3", "when the file was made, Unix time in milliseconds"),
    ("4", "number of the log's last entry then"),
    ("5", "hash of that entry"),
    ("6", "numbers of the session's entries, 8 bytes each, ascending"),
    ("7", "SHA-256 of each of the file's four sections, one after the other"),
];
