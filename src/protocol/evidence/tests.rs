//! Files of a played session: what they prove, and that nothing of them can be changed unnoticed.

use std::collections::BTreeSet;

use super::*;
use crate::identity::{
    Credential, CredentialTerms, Dead, Delegation, Envelope, EvidenceSeal, Issuer, IssuerClass, IssuerGrant,
    MessageId, PartyId, Registry, Role, SecretKey, Speaker, Tombstone, TrustContext, TrustList,
};
use crate::protocol::{AskOutcome, SessionMessage, SessionOperation};

const NETWORK: &str = "test";
const NOW_MS: u64 = 1_800_000_000_000;
const SESSION: &str = "b2688855-7f00-4002-6d8e-48d883f6abb6";

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// A party with its node, vouched for by the registrar.
struct Player {
    chain: Chain,
    speaker: Speaker,
    message_key: SecretKey,
    org_key: SecretKey,
}

fn trust() -> TrustList {
    let grant = |role| IssuerGrant { country: "*".to_owned(), role };
    let issuer = Issuer {
        key: key(1).public(),
        name: "Registrar".to_owned(),
        class: IssuerClass::Registrar,
        grants: [grant(Role::Cpo), grant(Role::Emp)].into(),
    };
    TrustList { issuers: vec![issuer], pins: Vec::new(), seq: 1, valid_until_unix_s: 2_000_000_000 }
}

impl Player {
    fn new(party: &str, seed: u8) -> Player {
        let party = PartyId::parse(party).unwrap();
        let (org_key, message_key) = (key(seed), key(seed + 1));
        let now_s = NOW_MS / 1_000;
        let terms = CredentialTerms {
            party: party.clone(),
            sub_ids: Vec::new(),
            legal_name: format!("{party} AG"),
            register_number: String::new(),
            org_key: org_key.public(),
            next_org_key_hash: None,
            not_before_unix_s: now_s - 1_000,
            expires_unix_s: now_s + 300 * 86_400,
            serial: vec![seed],
        };
        let credential = Credential::issue(NETWORK, &terms, "Registrar", &key(1)).unwrap();
        let delegation = Delegation {
            prefixes: [party.id.clone()].into(),
            party,
            peer_id: vec![0, 36, 8, seed],
            message_key: message_key.public(),
            operations: BTreeSet::new(),
            operations_unknown: BTreeSet::new(),
            not_before_unix_s: now_s - 500,
            expires_unix_s: now_s + 7 * 86_400,
            epoch: 3,
            slot: 0,
        };
        let delegation = delegation.issue(NETWORK, &hash_of(&credential), &org_key).unwrap();
        let chain = Chain { credential, delegation };
        let (trust, registry) = (trust(), Registry::empty());
        let context = TrustContext { network: NETWORK, trust: &trust, registry: &registry, at_unix_s: now_s };
        let speaker = chain.verify(&context).unwrap();
        Player { chain, speaker, message_key, org_key }
    }

    fn says(&self, to: &Player, id: u8, message: &SessionMessage, at_unix_ms: u64) -> Bytes {
        let envelope = Envelope {
            id: MessageId([id; 16]),
            to: to.speaker.party().clone(),
            node: to.speaker.peer_id().to_vec(),
            reply_to: None,
            created_unix_ms: at_unix_ms,
            expires_unix_ms: at_unix_ms + 60_000,
            body: message.encode(),
        };
        envelope.issue(NETWORK, &self.speaker, &self.message_key).unwrap().into()
    }
}

fn ask() -> SessionMessage {
    SessionMessage::Ask {
        session: SESSION.to_owned(),
        operation: SessionOperation::RemoteStart,
        budget_ms: 60_000,
        oicp: Bytes::from_static(br#"{"EvseID":"CH*ABC*E1"}"#),
    }
}

fn yes() -> SessionMessage {
    let outcome = AskOutcome::Answered(Bytes::from_static(br#"{"Result":true,"StatusCode":{"Code":"000"}}"#));
    SessionMessage::Outcome { session: SESSION.to_owned(), outcome }
}

/// The log of the CPO in which the session's messages stand among `others` before each.
struct Played {
    cpo: Player,
    emp: Player,
    parts: EvidenceParts,
    head: LogHead,
}

fn played(messages: &[(Direction, SessionMessage)], others: u64) -> Played {
    let (cpo, emp) = (Player::new("CPO:CHABC", 10), Player::new("EMP:DEEMP", 20));
    let mut tail = LogTail::default();
    let (mut log, mut entries) = (Vec::new(), Vec::new());
    for (place, (direction, message)) in messages.iter().enumerate() {
        for other in 0..others {
            log.push(tail.append(content_hash(&[7; 16], &other.to_be_bytes())));
        }
        let at_unix_ms = NOW_MS + place as u64 * 1_000;
        let (from, to) = if *direction == Direction::Sent { (&cpo, &emp) } else { (&emp, &cpo) };
        let bytes = from.says(to, place as u8 + 1, message, at_unix_ms);
        let salt = [place as u8; 16];
        let content_hash = content_hash(&salt, &bytes);
        let step = tail.append(leaf_hash(at_unix_ms, *direction, SESSION, &content_hash));
        entries.push(EvidenceEntry {
            number: step.number,
            at_unix_ms,
            direction: *direction,
            content_hash,
            content: Some(SaltedMessage { salt, message: bytes }),
            previous: step.previous,
            skipped: step.skipped,
        });
        log.push(step);
    }
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
    let head = tail.head();
    let steps = log_path(head.number, &numbers).into_iter().map(|at| log[at as usize - 1].clone()).collect();
    let chains = vec![cpo.chain.clone(), emp.chain.clone()];
    let registry = [&cpo, &emp].map(|player| Bytes::copy_from_slice(&player.chain.credential)).to_vec();
    Played { parts: EvidenceParts { entries, steps, chains, registry }, head, cpo, emp }
}

impl Played {
    fn seal(&self, parts: &EncodedParts) -> EvidenceSeal {
        EvidenceSeal {
            party: self.cpo.speaker.party().clone(),
            session: SESSION.to_owned(),
            made_unix_ms: NOW_MS + 100_000,
            head_number: self.head.number,
            head_hash: self.head.hash,
            entries: self.parts.entries.iter().map(|entry| entry.number).collect(),
            sections: parts.hashes(),
        }
    }

    /// The file as the node would make it.
    fn file(&self) -> Vec<u8> {
        let parts = self.parts.encode();
        let seal = self.seal(&parts).issue(NETWORK, &self.cpo.speaker, &self.cpo.message_key).unwrap();
        parts.into_file(&seal)
    }

    /// The file with other parts under the same seal.
    fn forged(&self, change: impl FnOnce(&mut EvidenceParts)) -> Vec<u8> {
        let seal = open_evidence(&self.file()).unwrap().seal;
        let mut parts = self.parts.clone();
        change(&mut parts);
        parts.encode().into_file(&seal)
    }

    /// The same, sealed anew by the exporter itself, who cannot sign for others.
    fn resealed(mut self, change: impl FnOnce(&mut EvidenceParts)) -> Vec<u8> {
        change(&mut self.parts);
        self.file()
    }
}

fn start_and_answer(others: u64) -> Played {
    played(&[(Direction::Received, ask()), (Direction::Sent, yes())], others)
}

fn fault(file: &[u8]) -> String {
    let fault = verify_evidence(file, Some(&trust())).expect_err("the file is wrong");
    fault.to_string()
}

#[test]
fn a_file_says_who_said_what_to_whom_and_who_vouches_for_it() {
    let played = start_and_answer(50);
    for trust in [Some(trust()), None] {
        let report = verify_evidence(&played.file(), trust.as_ref()).unwrap();
        assert_eq!((report.session.as_str(), report.head.0), (SESSION, 102));
        let said: Vec<&Said> = report.told.iter().map(|told| told.said.as_ref().unwrap()).collect();
        assert_eq!(said[0].what, "asks AuthorizeRemoteStart, EvseID CH*ABC*E1");
        assert_eq!(said[1].what, "answers Result true, code 000");
        assert_eq!(
            (said[0].from.to_text(), said[0].from_name.as_str()),
            ("EMP:DEEMP".into(), "EMP:DEEMP AG")
        );
        assert_eq!((said[1].from.to_text(), said[1].to.to_text()), ("CPO:CHABC".into(), "EMP:DEEMP".into()));
        assert_eq!(said[0].vouched.contains("whom nobody checked"), trust.is_none());
        assert_eq!(report.notes.is_empty(), trust.is_some());
    }
}

#[test]
fn a_file_without_a_trusted_issuer_is_refused() {
    let mut nobody = trust();
    nobody.issuers.clear();
    let refused = verify_evidence(&start_and_answer(0).file(), Some(&nobody)).unwrap_err();
    assert!(refused.to_string().contains("no trusted issuer"), "{refused}");
}

#[test]
fn any_flipped_bit_is_found() {
    let file = start_and_answer(1).file();
    let trust = trust();
    let unnoticed = |from: usize| {
        let mut bytes = file.clone();
        let mut unnoticed = Vec::new();
        for bit in (from..bytes.len() * 8).step_by(2) {
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            if verify_evidence(&bytes, Some(&trust)).is_ok() {
                unnoticed.push(bit);
            }
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
        }
        unnoticed
    };
    let both = std::thread::scope(|scope| {
        let other = scope.spawn(|| unnoticed(1));
        [unnoticed(0), other.join().unwrap()].concat()
    });
    assert!(both.is_empty(), "{both:?}");
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let file = start_and_answer(1).file();
    for length in 0..file.len() {
        assert!(verify_evidence(&file[..length], None).is_err(), "{length}");
    }
    let longer = [file, vec![0]].concat();
    assert!(fault(&longer).starts_with("file: "));
}

#[test]
fn what_was_forged_is_named() {
    type Forgery = fn(&mut EvidenceParts);
    let table: &[(&str, Forgery)] = &[
        ("entry 4: it is missing", |parts| drop(parts.entries.pop())),
        ("entry 2: it is missing", |parts| drop(parts.entries.remove(0))),
        ("entry 2: it stands behind a later one", |parts| parts.entries.swap(0, 1)),
        ("entry 3: the seal does not speak of it", |parts| parts.entries[1].number = 3),
        ("entry 2, salt or content hash: ", |parts| parts.entries[0].content.as_mut().unwrap().salt[3] ^= 1),
        ("entry 4, salt or content hash: ", |parts| parts.entries[1].content_hash[31] ^= 1),
        ("entry 2, message: ", |parts| {
            let content = parts.entries[0].content.as_mut().unwrap();
            let mut message = content.message.to_vec();
            let last = message.len() - 1;
            message[last] ^= 1;
            content.message = message.into();
        }),
        ("entry 2, salt or content hash: ", |parts| {
            let message = parts.entries[1].content.as_ref().unwrap().message.clone();
            parts.entries[0].content.as_mut().unwrap().message = message;
        }),
        ("entry 4: its time, direction", |parts| parts.entries[1].at_unix_ms += 1),
        ("entry 4, time: ", |parts| parts.entries[1].at_unix_ms += 86_400_000),
        ("entry 4: its time, direction", |parts| parts.entries[1].direction = Direction::Within),
        ("entry 2, direction: ", |parts| parts.entries[0].direction = Direction::Sent),
        ("entry 4: its time, direction", |parts| parts.entries[1].previous[0] ^= 1),
        ("entry 2: its time, direction", |parts| parts.entries[0].skipped[0] ^= 1),
        ("step 3: its time", |parts| parts.steps[0].leaf[0] ^= 1),
        ("entry 2: no later entry of the log leads to it", |parts| parts.steps.clear()),
        ("chain 1, delegation: ", |parts| parts.chains[1].delegation[200] ^= 1),
        ("chain 0, credential: ", |parts| parts.chains[0].credential[200] ^= 1),
        ("entry 2, message: the chain of its signer is missing", |parts| drop(parts.chains.pop())),
        ("registry object 1: ", |parts| {
            let mut object = parts.registry[1].to_vec();
            object[200] ^= 1;
            parts.registry[1] = object.into();
        }),
        ("section `registry`: ", |parts| drop(parts.registry.pop())),
        ("section `registry`: ", |parts| parts.registry.swap(0, 1)),
        ("section `chains`: ", |parts| parts.chains.swap(0, 1)),
        ("section `log`: ", |parts| parts.entries[0].content = None),
    ];
    for (expected, forge) in table {
        let said = fault(&start_and_answer(1).forged(forge));
        assert!(said.starts_with(expected), "{expected:?}: {said}");
    }
}

#[test]
fn who_exports_cannot_change_what_others_said() {
    let said = fault(&start_and_answer(1).resealed(|parts| {
        let entry = &mut parts.entries[0];
        let content = entry.content.as_mut().unwrap();
        let mut message = content.message.to_vec();
        let last = message.len() - 70;
        message[last] ^= 1;
        entry.content_hash = content_hash(&content.salt, &message);
        content.message = message.into();
    }));
    assert!(said.starts_with("entry 2, message: "), "{said}");
}

#[test]
fn a_seal_of_somebody_else_is_refused() {
    let played = start_and_answer(1);
    let parts = played.parts.encode();
    let forged = played.seal(&parts).issue(NETWORK, &played.emp.speaker, &played.emp.message_key).unwrap();
    assert!(fault(&parts.clone().into_file(&forged)).starts_with("seal: "));
    let forged = played.seal(&parts).issue(NETWORK, &played.cpo.speaker, &key(99)).unwrap();
    assert!(fault(&parts.into_file(&forged)).starts_with("seal: the signature"));
}

#[test]
fn what_was_deleted_leaves_its_place() {
    let mut played = start_and_answer(3);
    played.parts.entries[0].content = None;
    let report = verify_evidence(&played.file(), Some(&trust())).unwrap();
    assert!(report.told[0].said.is_none() && report.told[1].said.is_some());
    assert!(report.notes[0].contains("deleted"), "{:?}", report.notes);
}

#[test]
fn a_revocation_counts_from_its_time_on() {
    let tombstone = |played: &Played, since_unix_s: u64| {
        let credential = &played.emp.chain.credential;
        let key = &played.emp.org_key;
        Tombstone::issue(NETWORK, credential, Dead::Credential, 1, since_unix_s, "stolen", key).unwrap()
    };
    let mut later = start_and_answer(1);
    let dead = tombstone(&later, NOW_MS / 1_000 + 50);
    later.parts.registry.push(dead.into());
    let report = verify_evidence(&later.file(), Some(&trust())).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("since then")), "{:?}", report.notes);

    let mut before = start_and_answer(1);
    let dead = tombstone(&before, NOW_MS / 1_000 - 50);
    before.parts.registry.push(dead.into());
    let said = fault(&before.file());
    assert!(said.starts_with("entry 2, message: its signer: ") && said.contains("revoked"), "{said}");
}

#[test]
fn any_bytes_are_refused_and_never_panic() {
    bolero::check!().for_each(|input: &[u8]| {
        assert!(verify_evidence(input, None).is_err());
    });
}
