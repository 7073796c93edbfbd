//! What two parties agree on: offer, acceptance, end; and the other party's credential and delegation.

use std::collections::BTreeSet;

use chargemesh::identity::{
    Agreement, AgreementEnd, AgreementTerms, Chain, Credential, CredentialTerms, Delegation, Hash, Operation,
    PartyId, Service, hash_of,
};
use chargemesh::mesh;

use super::meanings::{ACCEPTANCE, AGREEMENT_END, CLAIMS, CREDENTIAL, DELEGATION, OFFER};
use super::{Cast, Kid, MADE_UNIX_S, NETWORK, Sample, same, secret, text};

/// An hour after everything was made.
const OFFERED_UNIX_S: u64 = MADE_UNIX_S + 3_600;

pub(super) fn provider() -> PartyId {
    PartyId::parse("EMP:DEXYZ").unwrap()
}

fn terms() -> CredentialTerms {
    CredentialTerms {
        party: provider(),
        sub_ids: Vec::new(),
        legal_name: "XYZ Fahrstrom GmbH".to_owned(),
        register_number: String::new(),
        org_key: secret("pinned org").public(),
        next_org_key_hash: None,
        not_before_unix_s: MADE_UNIX_S,
        expires_unix_s: MADE_UNIX_S + 365 * 86_400,
        serial: vec![1],
    }
}

pub(super) fn provider_chain() -> Chain {
    let org = secret("pinned org");
    let credential = Credential::issue(NETWORK, &terms(), "the party itself", &org).unwrap();
    let node = mesh::node_id_of_seed(&secret("provider node").seed()).unwrap();
    let delegation = Delegation {
        party: provider(),
        peer_id: node.as_bytes().to_vec(),
        message_key: secret("provider message").public(),
        operations: [Operation::CdrAccept].into(),
        operations_unknown: BTreeSet::new(),
        prefixes: [provider().id].into(),
        not_before_unix_s: MADE_UNIX_S,
        expires_unix_s: MADE_UNIX_S + 7 * 86_400,
        epoch: 1,
        slot: 1,
    };
    let delegation = delegation.issue(NETWORK, &hash_of(&credential), &org).unwrap();
    Chain { credential, delegation }
}

pub(super) fn provider_credential(cast: &Cast) -> Sample {
    Sample {
        name: "provider-credential",
        what: "The provider DE*XYZ vouches for itself: enough for those who pinned its org key. A CWT.",
        signed: Some(("pinned org", Kid::PublicKey("pinned org"))),
        keys: &["pinned org"],
        bytes: cast.provider.credential.clone(),
        meanings: &[CLAIMS, CREDENTIAL],
        records: Vec::new(),
        further: Vec::new(),
        accept: |_, bytes| same(&Credential::open(bytes, NETWORK).map_err(text)?.terms, &terms()),
    }
}

pub(super) fn provider_delegation(cast: &Cast) -> Sample {
    let credential = hash_of(&cast.provider.credential);
    Sample {
        name: "provider-delegation",
        what: "The provider's org key lets the second of its nodes speak for it. A CWT.",
        signed: Some(("pinned org", Kid::HashOf("provider-credential", credential))),
        keys: &["pinned org", "provider message", "provider node"],
        bytes: cast.provider.delegation.clone(),
        meanings: &[CLAIMS, DELEGATION],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            let chain = Chain { delegation: bytes.to_vec(), ..cast.provider.clone() };
            let speaker = chain.verify(&cast.context()).map_err(text)?;
            same(&speaker.slot(), &1)?;
            same(speaker.message_key(), &secret("provider message").public())
        },
    }
}

fn offered(cast: &Cast) -> AgreementTerms {
    AgreementTerms {
        offerer: cast.party.clone(),
        accepter: provider(),
        services: [Service::EvseData, Service::EvseStatus].into(),
        valid_from_unix_s: MADE_UNIX_S + 86_400,
        valid_until_unix_s: MADE_UNIX_S + 366 * 86_400,
        created_unix_s: OFFERED_UNIX_S,
        nonce: *b"sixteen-bytes-01",
    }
}

fn offer_bytes(cast: &Cast) -> Vec<u8> {
    offered(cast).offer(NETWORK, &cast.speaker(), &secret("message")).unwrap()
}

fn id(cast: &Cast) -> Hash {
    hash_of(&offer_bytes(cast))
}

pub(super) fn offer(cast: &Cast) -> Sample {
    Sample {
        name: "agreement-offer",
        what: "The operator offers the provider an agreement about two services. Its hash is the agreement's name.",
        signed: Some(("message", cast.kid_of_delegation())),
        keys: &["message"],
        bytes: offer_bytes(cast),
        meanings: &[OFFER],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            let terms = AgreementTerms::open(bytes, NETWORK, &cast.speaker()).map_err(text)?;
            same(&*terms, &offered(cast))
        },
    }
}

pub(super) fn acceptance(cast: &Cast) -> Sample {
    let (offerer, accepter) = (cast.speaker(), cast.provider());
    let (offer, key) = (offer_bytes(cast), secret("provider message"));
    let bytes = Agreement::accept(NETWORK, &offer, &offerer, &accepter, &key, OFFERED_UNIX_S + 600);
    Sample {
        name: "agreement-acceptance",
        what: "The provider accepts the offer, which is inside as a whole.",
        signed: Some(("provider message", kid_of_provider(cast))),
        keys: &["provider message"],
        bytes: bytes.unwrap(),
        meanings: &[ACCEPTANCE],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            let agreed = Agreement::open(bytes, NETWORK, &cast.speaker(), &cast.provider()).map_err(text)?;
            let put_in = Agreement {
                id: id(cast),
                terms: offered(cast),
                accepted_unix_s: OFFERED_UNIX_S + 600,
                offer: offer_bytes(cast),
            };
            same(&*agreed, &put_in)
        },
    }
}

fn ended(cast: &Cast) -> AgreementEnd {
    AgreementEnd { agreement: id(cast), created_unix_s: MADE_UNIX_S + 2 * 86_400 }
}

pub(super) fn end(cast: &Cast) -> Sample {
    let (provider, key) = (cast.provider(), secret("provider message"));
    Sample {
        name: "agreement-end",
        what: "The provider ends the agreement; either party may.",
        signed: Some(("provider message", kid_of_provider(cast))),
        keys: &["provider message"],
        bytes: ended(cast).issue(NETWORK, &offered(cast), &provider, &key).unwrap(),
        meanings: &[AGREEMENT_END],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            let terms = offered(cast);
            let end =
                AgreementEnd::open(bytes, NETWORK, &id(cast), &terms, &cast.provider()).map_err(text)?;
            same(&*end, &ended(cast))
        },
    }
}

fn kid_of_provider(cast: &Cast) -> Kid {
    Kid::HashOf("provider-delegation", cast.provider.delegation_hash())
}
