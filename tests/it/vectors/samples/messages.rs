//! What one party's node says to another's, and what a party lets another one do.

use chargemesh::identity::{Envelope, MessageId, PartyId, SubGrant, SubGrantTerms};
use chargemesh::mesh;
use chargemesh::protocol::SessionMessage;

use super::agreements::provider;
use super::meanings::{ENVELOPE, SUB_GRANT};
use super::{Cast, Kid, MADE_UNIX_S, NETWORK, Sample, same, secret, text};

const SESSION: &str = "7bca5b5d-0e5c-4b2f-9d1c-2f5a3a9c1e11";

fn said() -> Envelope {
    let node = mesh::node_id_of_seed(&secret("provider node").seed()).unwrap();
    let created_unix_ms = (MADE_UNIX_S + 3_600) * 1_000;
    Envelope {
        id: MessageId(*b"message number 1"),
        to: provider(),
        node: node.as_bytes().to_vec(),
        reply_to: Some(MessageId(*b"message number 0")),
        created_unix_ms,
        expires_unix_ms: created_unix_ms + 600_000,
        body: SessionMessage::Release { session: SESSION.to_owned() }.encode(),
    }
}

pub(super) fn envelope(cast: &Cast) -> Sample {
    Sample {
        name: "envelope",
        what: "The operator tells a node of the provider that a session is not the provider's.",
        signed: Some(("message", cast.kid_of_delegation())),
        keys: &["message"],
        bytes: said().issue(NETWORK, &cast.speaker(), &secret("message")).unwrap(),
        meanings: &[ENVELOPE],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            let read = Envelope::open(bytes, NETWORK, &cast.speaker()).map_err(text)?;
            same(&read.into_content(), &said())
        },
    }
}

fn granted() -> SubGrantTerms {
    SubGrantTerms {
        grantee: PartyId::parse("CPO:DEGEF").unwrap(),
        epoch: 1,
        not_before_unix_s: MADE_UNIX_S,
        expires_unix_s: MADE_UNIX_S + 365 * 86_400,
    }
}

pub(super) fn sub_grant(cast: &Cast) -> Sample {
    let (credential, org) = (&cast.chain.credential, secret("org"));
    Sample {
        name: "sub-grant",
        what: "The operator lets DE*GEF publish under its main id.",
        signed: Some(("org", Kid::PublicKey("org"))),
        keys: &["org"],
        bytes: SubGrant::issue(NETWORK, credential, &granted(), &org).unwrap(),
        meanings: &[SUB_GRANT],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            let read = SubGrant::open(bytes, NETWORK).map_err(text)?;
            same(&read.holder, &cast.party)?;
            let (grantee, epoch) = (read.grantee.clone(), read.epoch);
            let (not_before_unix_s, expires_unix_s) = (read.not_before_unix_s, read.expires_unix_s);
            same(&SubGrantTerms { grantee, epoch, not_before_unix_s, expires_unix_s }, &granted())
        },
    }
}
