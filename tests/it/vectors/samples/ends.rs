//! What ends something: tombstone, rotation, status list.

use chargemesh::identity::{Dead, Rotation, StatusList, Subject, Tombstone, hash_of};

use super::super::notation::{hex, value_of};
use super::meanings::{ROTATION, STATUS_LIST, TOMBSTONE};
use super::{Cast, Kid, MADE_UNIX_S, NETWORK, Sample, same, secret, text};

const REASON: &str = "the machine was stolen";
/// Two days after everything was made.
const LATER_UNIX_S: u64 = MADE_UNIX_S + 2 * 86_400;

pub(super) fn tombstone(cast: &Cast) -> Sample {
    let dead = Dead::Delegation(cast.chain.delegation_hash());
    let (credential, org) = (&cast.chain.credential, secret("org"));
    let bytes = Tombstone::issue(NETWORK, credential, dead, 1, LATER_UNIX_S, REASON, &org);
    Sample {
        name: "tombstone",
        what: "The operator's org key declares the node's delegation dead.",
        signed: Some(("org", Kid::PublicKey("org"))),
        keys: &["org"],
        bytes: bytes.unwrap(),
        meanings: &[TOMBSTONE],
        records: Vec::new(),
        further: Vec::new(),
        unsigned_bits: &[],
        accept: |cast, bytes| {
            let expected = Tombstone {
                party: cast.party.clone(),
                subject: Subject::Delegation(cast.chain.delegation_hash()),
                issuer: *secret("issuer").public().as_bytes(),
                org_key: secret("org").public(),
                epoch: 1,
                since_unix_s: LATER_UNIX_S,
                reason: REASON.to_owned(),
            };
            same(&Tombstone::open(bytes, NETWORK).map_err(text)?.into_content(), &expected)
        },
    }
}

pub(super) fn rotation(cast: &Cast) -> Sample {
    let (old, new) = (secret("org"), secret("next org"));
    let bytes = Rotation::issue(NETWORK, &cast.chain.credential, &old, &new, LATER_UNIX_S).unwrap();
    let frame = value_of(&bytes);
    let payload = frame.as_tag().and_then(|(_, frame)| frame.as_array()?.get(2)?.as_bytes()).unwrap();
    let payload = value_of(payload);
    let consent = payload.as_map().and_then(|entries| entries.first()?.1.as_bytes()).unwrap();
    Sample {
        name: "rotation",
        what: "The org key that the credential committed to follows the org key in it: both sign.",
        signed: Some(("org", Kid::PublicKey("org"))),
        keys: &["org", "next org"],
        meanings: &[ROTATION],
        records: Vec::new(),
        further: vec![("consent", hex(consent))],
        unsigned_bits: &[],
        accept: |cast, bytes| {
            let expected = Rotation {
                party: cast.party.clone(),
                issuer: *secret("issuer").public().as_bytes(),
                old_key: secret("org").public(),
                new_key: secret("next org").public(),
                created_unix_s: LATER_UNIX_S,
            };
            same(&Rotation::open(bytes, NETWORK).map_err(text)?.into_content(), &expected)
        },
        bytes,
    }
}

fn revoked(cast: &Cast) -> StatusList {
    let mut revoked = vec![hash_of(&cast.chain.credential), [0xab; 32]];
    revoked.sort_unstable();
    StatusList { seq: 9, created_unix_s: LATER_UNIX_S, valid_until_unix_s: LATER_UNIX_S + 86_400, revoked }
}

pub(super) fn status_list(cast: &Cast) -> Sample {
    Sample {
        name: "status-list",
        what: "The registrar lists two dead credentials, the one of party-credential.json among them.",
        signed: Some(("issuer", Kid::PublicKey("issuer"))),
        keys: &["issuer"],
        bytes: revoked(cast).issue(NETWORK, &secret("issuer")).unwrap(),
        meanings: &[STATUS_LIST],
        records: Vec::new(),
        further: Vec::new(),
        unsigned_bits: &[],
        accept: |cast, bytes| {
            let list = StatusList::open(bytes, NETWORK).map_err(text)?;
            same(&*list, &revoked(cast))?;
            same(list.signer(), secret("issuer").public().as_bytes())
        },
    }
}
