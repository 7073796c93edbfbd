//! A charge detail record, the receipt for it, and the seal of a file of evidence about its session; and the delegation
//! under which an operator's node sends records.

use chargemesh::identity::{
    Chain, Delegation, EvidenceSeal, Operation, PartyId, Receipt, ReceiptVerdict, SignedCdr,
};

use super::meanings::{CLAIMS, DELEGATION, EVIDENCE_SEAL, RECEIPT, SIGNED_CDR};
use super::{Cast, Kid, MADE_UNIX_S, NETWORK, Sample, same, secret, text};

/// The message; its bytes travel as they are, spelling and all.
const OICP: &[u8] = br#"{ "SessionID":"f98efba4-02d8-4fa0-b810-9a9d50d2c527","ConsumedEnergy":10.10 }"#;

/// Half an hour after everything was made.
const SENT_UNIX_MS: u64 = (MADE_UNIX_S + 1_800) * 1_000;

fn provider() -> PartyId {
    PartyId::parse("EMP:DEXYZ").unwrap()
}

/// The chain of the operator's second node, which sends records.
fn chain(cast: &Cast) -> Chain {
    let delegation =
        Delegation { operations: [Operation::CdrSend].into(), slot: 1, ..cast.delegation.clone() };
    let credential = cast.chain.credential.clone();
    let hash = chargemesh::identity::hash_of(&credential);
    Chain { delegation: delegation.issue(NETWORK, &hash, &secret("org")).unwrap(), credential }
}

pub(super) fn delegation(cast: &Cast) -> Sample {
    let credential = chargemesh::identity::hash_of(&cast.chain.credential);
    Sample {
        name: "cdr-delegation",
        what: "The operator's org key lets a second node send charge detail records, for a week. A CWT.",
        signed: Some(("org", Kid::HashOf("party-credential", credential))),
        keys: &["org", "message", "node"],
        bytes: chain(cast).delegation,
        meanings: &[CLAIMS, DELEGATION],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            let chain = Chain { delegation: bytes.to_vec(), ..cast.chain.clone() };
            let speaker = chain.verify(&cast.context()).map_err(text)?;
            same(speaker.operations(), &[Operation::CdrSend].into())?;
            same(&speaker.slot(), &1)?;
            same(&speaker.grants().keys().cloned().collect(), &cast.delegation.prefixes)
        },
    }
}

fn sent(cast: &Cast) -> SignedCdr {
    SignedCdr {
        session: "f98efba4-02d8-4fa0-b810-9a9d50d2c527".to_owned(),
        from: cast.party.clone(),
        to: provider(),
        created_unix_ms: SENT_UNIX_MS,
        replaces: Some([7; 32]),
        oicp: OICP.to_vec(),
    }
}

pub(super) fn signed_cdr(cast: &Cast) -> Sample {
    let chain = chain(cast);
    let speaker = chain.verify(&cast.context()).unwrap();
    Sample {
        name: "charge-detail-record",
        what: "The operator vouches for a charge detail record, which corrects an earlier one, towards the provider.",
        signed: Some(("message", Kid::HashOf("cdr-delegation", chain.delegation_hash()))),
        keys: &["message"],
        bytes: sent(cast).issue(NETWORK, &speaker, &secret("message")).unwrap(),
        meanings: &[SIGNED_CDR],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            let speaker = self::chain(cast).verify(&cast.context()).map_err(text)?;
            same(&*SignedCdr::open(bytes, NETWORK, &speaker).map_err(text)?, &sent(cast))
        },
    }
}

fn said(cast: &Cast) -> Receipt {
    Receipt {
        session: sent(cast).session,
        cdr: sent(cast).cdr_hash(),
        from: provider(),
        to: cast.party.clone(),
        verdict: ReceiptVerdict::Rejected("022".to_owned()),
        at_unix_ms: SENT_UNIX_MS + 250,
    }
}

pub(super) fn receipt(cast: &Cast) -> Sample {
    Sample {
        name: "receipt",
        what: "The provider's node says what its backend answered to the record.",
        signed: Some((
            "provider message",
            Kid::HashOf("provider-delegation", cast.provider.delegation_hash()),
        )),
        keys: &["provider message"],
        bytes: said(cast).issue(NETWORK, &cast.provider(), &secret("provider message")).unwrap(),
        meanings: &[RECEIPT],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            same(&*Receipt::open(bytes, NETWORK, &cast.provider()).map_err(text)?, &said(cast))
        },
    }
}

fn sealed(cast: &Cast) -> EvidenceSeal {
    EvidenceSeal {
        party: provider(),
        session: sent(cast).session,
        made_unix_ms: SENT_UNIX_MS + 60_000,
        head_number: 260,
        head_hash: [9; 32],
        entries: vec![3, 4, 257],
        sections: [[1; 32], [2; 32], [3; 32], [4; 32]],
    }
}

pub(super) fn evidence_seal(cast: &Cast) -> Sample {
    Sample {
        name: "evidence-seal",
        what: "The provider's node says that a file is what its log holds about the session.",
        signed: Some((
            "provider message",
            Kid::HashOf("provider-delegation", cast.provider.delegation_hash()),
        )),
        keys: &["provider message"],
        bytes: sealed(cast).issue(NETWORK, &cast.provider(), &secret("provider message")).unwrap(),
        meanings: &[EVIDENCE_SEAL],
        records: Vec::new(),
        further: Vec::new(),
        accept: |cast, bytes| {
            same(&*EvidenceSeal::open(bytes, NETWORK, &cast.provider()).map_err(text)?, &sealed(cast))
        },
    }
}
