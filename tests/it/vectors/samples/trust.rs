//! Trust list, credential, delegation, cards.

use chargemesh::identity::{
    Chain, Credential, CredentialRef, CredentialTerms, Issuer, IssuerClass, IssuerGrant, PartyCard, PartyId,
    PartyRequest, Pin, Role, TrustList, fingerprint, hash_of, kad_key,
};

use super::super::notation::hex;
use super::meanings::{CARD, CLAIMS, CREDENTIAL, DELEGATION, REQUEST, TRUST_LIST};
use super::{Cast, Kid, MADE_UNIX_S, NETWORK, Sample, id, same, secret, text};

const ISSUER_NAME: &str = "Register of Switzerland";

pub(super) fn trusted() -> TrustList {
    let grant = |country: &str, role| IssuerGrant { country: country.to_owned(), role };
    TrustList {
        issuers: vec![Issuer {
            key: secret("issuer").public(),
            name: ISSUER_NAME.to_owned(),
            class: IssuerClass::Registrar,
            grants: [grant("CH", Role::Cpo), grant("CH", Role::Emp), grant("+41", Role::Cpo)].into(),
        }],
        pins: vec![Pin {
            party: PartyId::parse("EMP:DEXYZ").unwrap(),
            org_key: secret("pinned org").public(),
            sub_ids: [id("DE*XY2")].into(),
        }],
        seq: 3,
        valid_until_unix_s: MADE_UNIX_S + 90 * 86_400,
    }
}

fn terms(party: &PartyId) -> CredentialTerms {
    CredentialTerms {
        party: party.clone(),
        sub_ids: vec![id("CH*AB2"), id("+41*031")],
        legal_name: "Ladenetz Zürich AG".to_owned(),
        register_number: "CHE-123.456.789".to_owned(),
        org_key: secret("org").public(),
        next_org_key_hash: Some(hash_of(secret("next org").public().as_bytes())),
        not_before_unix_s: MADE_UNIX_S,
        expires_unix_s: MADE_UNIX_S + 365 * 86_400,
        serial: vec![0, 0, 0, 42],
    }
}

pub(super) fn issue_credential(party: &PartyId) -> Vec<u8> {
    Credential::issue(NETWORK, &terms(party), ISSUER_NAME, &secret("issuer")).unwrap()
}

pub(super) fn trust_list(cast: &Cast) -> Sample {
    Sample {
        name: "trust-list",
        what: "One registrar for Swiss operators and providers, ISO and DIN, and one pinned provider.",
        signed: Some(("trust", Kid::PublicKey("trust"))),
        keys: &["trust", "issuer", "pinned org"],
        bytes: cast.trust.issue(NETWORK, &secret("trust")).unwrap(),
        meanings: &[TRUST_LIST],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            let list = TrustList::open(bytes, NETWORK, &secret("trust").public()).map_err(text)?;
            same(&list, &cast.trust)
        },
    }
}

fn request(party: &PartyId) -> PartyRequest {
    let terms = terms(party);
    PartyRequest {
        party: terms.party,
        sub_ids: terms.sub_ids,
        legal_name: terms.legal_name,
        register_number: terms.register_number,
        org_key: terms.org_key,
        next_org_key_hash: terms.next_org_key_hash,
        created_unix_s: MADE_UNIX_S,
    }
}

pub(super) fn party_request(cast: &Cast) -> Sample {
    let org_key = secret("org").public();
    Sample {
        name: "party-request",
        what: "The operator CH*ABC asks a registrar to vouch for its org key, with two further ids.",
        signed: Some(("org", Kid::PublicKey("org"))),
        keys: &["org", "next org"],
        bytes: request(&cast.party).issue(NETWORK, &secret("org")).unwrap(),
        meanings: &[REQUEST, CLAIMS, CREDENTIAL],
        records: Vec::new(),
        further: vec![("six_words", fingerprint::words(&org_key, &cast.party).join(" "))],
        accept: |cast, bytes| {
            let mut put_in = request(&cast.party);
            put_in.sub_ids.sort();
            same(&PartyRequest::open(bytes, NETWORK).map_err(text)?.into_content(), &put_in)
        },
    }
}

pub(super) fn party_credential(cast: &Cast) -> Sample {
    Sample {
        name: "party-credential",
        what: "The registrar vouches for the operator CH*ABC, with two further ids. A CWT.",
        signed: Some(("issuer", Kid::PublicKey("issuer"))),
        keys: &["issuer", "org", "next org"],
        bytes: cast.chain.credential.clone(),
        meanings: &[CLAIMS, CREDENTIAL],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            let read = Credential::open(bytes, NETWORK).map_err(text)?;
            let mut put_in = terms(&cast.party);
            put_in.sub_ids.sort();
            same(&read.terms, &put_in)?;
            same(read.signer(), secret("issuer").public().as_bytes())
        },
    }
}

pub(super) fn node_delegation(cast: &Cast) -> Sample {
    Sample {
        name: "node-delegation",
        what: "The operator's org key lets one node publish for two of its three ids, for a week. A CWT.",
        signed: Some(("org", Kid::HashOf("party-credential", hash_of(&cast.chain.credential)))),
        keys: &["org", "message", "node"],
        bytes: cast.chain.delegation.clone(),
        meanings: &[CLAIMS, DELEGATION],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            let chain = Chain { delegation: bytes.to_vec(), ..cast.chain.clone() };
            let speaker = chain.verify(&cast.context()).map_err(text)?;
            same(&speaker.grants().keys().cloned().collect(), &cast.delegation.prefixes)?;
            same(speaker.operations(), &cast.delegation.operations)?;
            same(&speaker.peer_id(), &cast.delegation.peer_id.as_slice())?;
            same(speaker.message_key(), &cast.delegation.message_key)
        },
    }
}

fn card(cast: &Cast, credential: CredentialRef) -> PartyCard {
    PartyCard {
        credential,
        addresses: vec!["/ip4/192.0.2.7/tcp/4001".to_owned(), "/dns4/node.example/tcp/4001".to_owned()],
        capabilities: vec!["evse".to_owned()],
        ..PartyCard::of_chain(&cast.chain, 5, MADE_UNIX_S)
    }
}

fn inline(cast: &Cast) -> PartyCard {
    card(cast, CredentialRef::Inline(cast.chain.credential.clone()))
}

fn by_hash(cast: &Cast) -> PartyCard {
    card(cast, CredentialRef::ByHash(hash_of(&cast.chain.credential)))
}

pub(super) fn party_card(cast: &Cast) -> Sample {
    Sample {
        name: "party-card",
        what: "Where the operator's node is, with its credential inside.",
        signed: Some(("message", cast.kid_of_delegation())),
        keys: &["message"],
        bytes: inline(cast).issue(NETWORK, &secret("message")).unwrap(),
        meanings: &[CARD],
        records: Vec::new(),
        further: vec![("kademlia_key", hex(&kad_key(NETWORK, &cast.party, cast.delegation.slot)))],
        accept: |cast, bytes| {
            let card = PartyCard::verify(bytes, None, &cast.context()).map_err(text)?;
            same(card.card(), &inline(cast))
        },
    }
}

pub(super) fn party_card_by_hash(cast: &Cast) -> Sample {
    Sample {
        name: "party-card-by-hash",
        what: "The same card with its credential named by hash, as it is made when it would be over 8 KiB.",
        bytes: by_hash(cast).issue(NETWORK, &secret("message")).unwrap(),
        accept: |cast, bytes| {
            let fetched = Some(cast.chain.credential.as_slice());
            let card = PartyCard::verify(bytes, fetched, &cast.context()).map_err(text)?;
            same(card.card(), &by_hash(cast))
        },
        ..party_card(cast)
    }
}
