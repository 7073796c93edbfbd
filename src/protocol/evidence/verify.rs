//! Checks an evidence file and says what happened, or where the file is wrong.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;

use super::{
    Direction, EvidenceEntry, EvidenceStep, OpenedEvidence, SECTIONS, content_hash, leaf_hash, oicp_of,
    open_evidence, skips_to, what_is_said,
};
use crate::identity::{
    Chain, ChainError, Credential, Envelope, EvidenceSeal, Issuer, IssuerClass, IssuerGrant, MessageId,
    PartyId, Pin, PublicKey, Purpose, Registry, RegistryError, Role, Speaker, StatusList, Tombstone,
    TrustContext, TrustList, Verified, hash_of, peek,
};
use crate::protocol::{Digest, SessionMessage};

/// How far the clocks of two honest nodes may differ, in milliseconds.
const CLOCKS_MS: u64 = 300_000;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct EvidenceFault {
    /// Section, entry or field.
    pub place: String,
    /// What is wrong there.
    pub why: String,
}

impl EvidenceFault {
    pub(super) fn new(place: impl Into<String>, why: impl fmt::Display) -> EvidenceFault {
        EvidenceFault { place: place.into(), why: why.to_string() }
    }
}

/// What a verified file proves.
#[derive(Clone, Debug)]
pub struct EvidenceReport {
    /// The network.
    pub network: String,
    /// SessionID.
    pub session: String,
    /// Whose log it is, and who vouches for that party.
    pub party: PartyId,
    /// See `party`.
    pub vouched: String,
    /// When the file was made, unix milliseconds.
    pub made_unix_ms: u64,
    /// Number and hash of the log's last entry then.
    pub head: (u64, Digest),
    /// The entries, ascending.
    pub told: Vec<Told>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// One entry of a verified file.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its number in the log.
    pub number: u64,
    /// When it was logged, unix milliseconds.
    pub at_unix_ms: u64,
    /// Which way the message went.
    pub direction: Direction,
    /// The message; `None` if only its hash is left.
    pub said: Option<Said>,
}

/// Who said what to whom.
#[derive(Clone, Debug)]
pub struct Said {
    /// Who signed.
    pub from: PartyId,
    /// Its name in the commercial register, as its issuer states it.
    pub from_name: String,
    /// To whom.
    pub to: PartyId,
    /// When it was signed, unix milliseconds.
    pub created_unix_ms: u64,
    /// The message's name.
    pub id: MessageId,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// As it was signed; `None` if this release cannot read it.
    pub message: Option<SessionMessage>,
    /// In words.
    pub what: String,
    /// The OICP message, as it was signed: it may name a driver. `None` if there is none.
    pub oicp: Option<Bytes>,
    /// Which of the party's nodes signed, and under which epoch of its delegations.
    pub slot: u8,
    /// See `slot`.
    pub epoch: u64,
    /// First second in which that delegation or its credential counted no more, Unix time.
    pub valid_until_unix_s: u64,
    /// Who vouched for the party.
    pub vouched: String,
    /// Hash of the delegation that signed.
    pub delegation: Digest,
}

/// Checks a file: every signature, every signer's chain at the time when it signed, every hash, and the place of each
/// entry in the log. `trust` says whom to believe; without it whoever issued the credentials is taken at his word,
/// which the report says.
///
/// # Errors
/// [`EvidenceFault`] with the first place that is wrong.
pub fn verify_evidence(bytes: &[u8], trust: Option<&TrustList>) -> Result<EvidenceReport, EvidenceFault> {
    let file = open_evidence(bytes)?;
    let header = peek(&file.seal).map_err(|error| EvidenceFault::new("seal", error))?;
    let judge = Judge::new(&file, &header.network, trust)?;
    let (seal, sealer) = judge.seal(&file)?;
    check_numbers(&file, &seal)?;
    let mut told = Vec::with_capacity(file.parts.entries.len());
    for entry in &file.parts.entries {
        told.push(judge.entry(entry, &seal)?);
    }
    check_log(&file, &seal)?;
    // What the checks before this one passed over: the order of chains, spellings of CBOR.
    for ((name, found), sealed) in SECTIONS.iter().zip(&file.sections).zip(&seal.sections) {
        if found != sealed {
            return Err(EvidenceFault::new(format!("section `{name}`"), "it is not what the seal speaks of"));
        }
    }
    let notes = judge.notes(&told);
    Ok(EvidenceReport {
        network: header.network.clone(),
        session: seal.session.clone(),
        party: seal.party.clone(),
        vouched: judge.voucher(&sealer),
        made_unix_ms: seal.made_unix_ms,
        head: (seal.head_number, seal.head_hash),
        told,
        notes,
    })
}

/// The file has the entries that were sealed, in their order.
fn check_numbers(file: &OpenedEvidence, seal: &EvidenceSeal) -> Result<(), EvidenceFault> {
    let found: Vec<u64> = file.parts.entries.iter().map(|entry| entry.number).collect();
    for (place, number) in found.iter().enumerate() {
        if place.checked_sub(1).and_then(|before| found.get(before)).is_some_and(|before| before >= number) {
            return Err(EvidenceFault::new(format!("entry {number}"), "it stands behind a later one"));
        }
        if seal.entries.binary_search(number).is_err() {
            return Err(EvidenceFault::new(format!("entry {number}"), "the seal does not speak of it"));
        }
    }
    match seal.entries.iter().find(|number| !found.contains(number)) {
        Some(missing) => Err(EvidenceFault::new(format!("entry {missing}"), "it is missing")),
        None => Ok(()),
    }
}

/// From the sealed last entry each hash leads on to the next, down to all entries of the file.
fn check_log(file: &OpenedEvidence, seal: &EvidenceSeal) -> Result<(), EvidenceFault> {
    let mut nodes: BTreeMap<u64, (&'static str, EvidenceStep)> = BTreeMap::new();
    for entry in &file.parts.entries {
        let leaf = leaf_hash(entry.at_unix_ms, entry.direction, &seal.session, &entry.content_hash);
        let EvidenceEntry { number, previous, skipped, .. } = *entry;
        nodes.insert(number, ("entry", EvidenceStep { number, leaf, previous, skipped }));
    }
    let mut before = 0;
    for step in &file.parts.steps {
        if step.number <= before {
            return Err(EvidenceFault::new(format!("step {}", step.number), "it stands behind a later one"));
        }
        before = step.number;
        if nodes.insert(step.number, ("step", step.clone())).is_some() {
            return Err(EvidenceFault::new(
                format!("step {}", step.number),
                "there is an entry of this number",
            ));
        }
    }
    let mut named: BTreeMap<u64, (Digest, u64)> = BTreeMap::new();
    named.insert(seal.head_number, (seal.head_hash, seal.head_number));
    for (number, (kind, step)) in nodes.into_iter().rev() {
        let place = || format!("{kind} {number}");
        let Some((expected, by)) = named.get(&number) else {
            return Err(EvidenceFault::new(place(), "no later entry of the log leads to it"));
        };
        if step.hash() != *expected {
            let who =
                if *by == seal.head_number && number == *by { "the seal".to_owned() } else { by.to_string() };
            let what = "its time, direction, session, content hash, previous or skipped hash was changed";
            let why = format!("{what}: its own hash is not the one that {who} names");
            return Err(EvidenceFault::new(place(), why));
        }
        for (target, hash) in [(number - 1, step.previous), (skips_to(number), step.skipped)] {
            let (known, _) = *named.entry(target).or_insert((hash, number));
            if known != hash || target == 0 && hash != [0; 32] {
                return Err(EvidenceFault::new(place(), format!("it names another hash of entry {target}")));
            }
        }
    }
    Ok(())
}

/// Who could sign what, when.
pub(super) struct Judge<'a> {
    pub(super) network: &'a str,
    trust: Option<&'a TrustList>,
    chains: BTreeMap<Digest, &'a Chain>,
    /// Objects of the registry, each with the time from which on it says something, Unix time in seconds.
    registry: Vec<(u64, &'a [u8])>,
    issuers: Vec<Issuer>,
    /// Registries by credential and number of objects that said something then: these are in the order of their times.
    held: RefCell<BTreeMap<(Digest, usize), Rc<Registry>>>,
}

impl<'a> Judge<'a> {
    fn new(
        file: &'a OpenedEvidence,
        network: &'a str,
        trust: Option<&'a TrustList>,
    ) -> Result<Judge<'a>, EvidenceFault> {
        let mut issuers: BTreeMap<PublicKey, Issuer> = BTreeMap::new();
        let mut registry = Vec::with_capacity(file.parts.registry.len());
        for (place, object) in file.parts.registry.iter().enumerate() {
            let fault =
                |error: &dyn fmt::Display| EvidenceFault::new(format!("registry object {place}"), error);
            registry.push((since_unix_s(object, network).map_err(|error| fault(&error))?, object.as_ref()));
            if let Ok(credential) = Credential::open(object, network) {
                add_issuer(&mut issuers, &credential);
            }
        }
        let mut chains = BTreeMap::new();
        for (place, chain) in file.parts.chains.iter().enumerate() {
            let credential = Credential::open(&chain.credential, network)
                .map_err(|error| EvidenceFault::new(format!("chain {place}, credential"), error))?;
            add_issuer(&mut issuers, &credential);
            chains.insert(chain.delegation_hash(), chain);
        }
        // What says something from the beginning on keeps its order: who was known first is told by it.
        registry.sort_by_key(|(since, _)| *since);
        let issuers = issuers.into_values().collect();
        let judge = Judge { network, trust, chains, registry, issuers, held: RefCell::default() };
        for (place, chain) in file.parts.chains.iter().enumerate() {
            // Its form is judged here, its validity with each message.
            if let Err(error) = judge.speaker(chain, 0)
                && error.verdict() == crate::identity::Verdict::Reject
            {
                return Err(EvidenceFault::new(format!("chain {place}, delegation"), error));
            }
        }
        Ok(judge)
    }

    /// The seal and who made it.
    fn seal(&self, file: &OpenedEvidence) -> Result<(Verified<EvidenceSeal>, Speaker), EvidenceFault> {
        let fault = |error: &dyn fmt::Display| EvidenceFault::new("seal", error);
        let signer = EvidenceSeal::claimed_signer(&file.seal, self.network).map_err(|error| fault(&error))?;
        let made_unix_ms =
            EvidenceSeal::claimed_time(&file.seal, self.network).map_err(|error| fault(&error))?;
        let chain = self.chains.get(&signer).ok_or_else(|| fault(&"the chain of who made it is missing"))?;
        let speaker = self.speaker(chain, made_unix_ms / 1_000).map_err(|error| fault(&error))?;
        let seal = EvidenceSeal::open(&file.seal, self.network, &speaker).map_err(|error| fault(&error))?;
        Ok((seal, speaker))
    }

    /// One entry: its content, who signed it, and whether that fits.
    fn entry(&self, entry: &EvidenceEntry, seal: &EvidenceSeal) -> Result<Told, EvidenceFault> {
        let fault = |field: &str, why: &dyn fmt::Display| {
            EvidenceFault::new(format!("entry {}, {field}", entry.number), why)
        };
        let EvidenceEntry { number, at_unix_ms, direction, .. } = *entry;
        let told = |said| Told { number, at_unix_ms, direction, said };
        let Some(content) = &entry.content else { return Ok(told(None)) };
        let read = self.message(&content.message);
        if content_hash(&content.salt, &content.message) != entry.content_hash {
            return Err(match read {
                Ok(_) => {
                    fault("salt or content hash", &"they do not fit the message, which is as it was signed")
                }
                Err(why) => fault("message", &why),
            });
        }
        let (envelope, speaker) = read.map_err(|why| fault("message", &why))?;
        let message = SessionMessage::decode(&envelope.body).ok();
        if message.as_ref().is_some_and(|message| message.session() != seal.session) {
            return Err(fault("message", &"it is about another session"));
        }
        if let Some(message) = &message {
            self.check_inner(message).map_err(|why| fault("what the message carries", &why))?;
        }
        let in_time = at_unix_ms.saturating_add(CLOCKS_MS) >= envelope.created_unix_ms
            && at_unix_ms < envelope.expires_unix_ms.saturating_add(CLOCKS_MS);
        if !in_time {
            return Err(fault("time", &"it was logged when the message did not count"));
        }
        let fits = match direction {
            Direction::Sent => *speaker.party() == seal.party || envelope.to != seal.party,
            Direction::Received => *speaker.party() != seal.party,
            Direction::Within => true,
        };
        if !fits {
            return Err(fault("direction", &"the message went the other way"));
        }
        Ok(told(Some(self.said(&envelope, &speaker, message))))
    }

    fn said(&self, envelope: &Envelope, speaker: &Speaker, message: Option<SessionMessage>) -> Said {
        let what = message.as_ref().map(what_is_said);
        let oicp = message.as_ref().and_then(oicp_of);
        Said {
            from: speaker.party().clone(),
            from_name: speaker.legal_name().to_owned(),
            to: envelope.to.clone(),
            created_unix_ms: envelope.created_unix_ms,
            id: envelope.id,
            reply_to: envelope.reply_to,
            message,
            what: what.unwrap_or_else(|| "says what this release cannot read".to_owned()),
            oicp,
            slot: speaker.slot(),
            epoch: speaker.epoch(),
            valid_until_unix_s: speaker.valid_until_unix_s(),
            vouched: self.voucher(speaker),
            delegation: *speaker.delegation_hash(),
        }
    }

    /// An envelope and its signer, or why not.
    fn message(&self, bytes: &[u8]) -> Result<(Envelope, Speaker), String> {
        let signer = Envelope::claimed_signer(bytes, self.network).map_err(|error| error.to_string())?;
        let chain = self.chains.get(&signer).ok_or("the chain of its signer is missing")?;
        let claimed = Envelope::claimed_created(bytes, self.network).map_err(|error| error.to_string())?;
        let speaker = self.speaker(chain, claimed / 1_000).map_err(|error| format!("its signer: {error}"))?;
        let envelope = Envelope::open(bytes, self.network, &speaker).map_err(|error| error.to_string())?;
        Ok((envelope.into_content(), speaker))
    }

    /// Judges a chain with what was known at a time.
    pub(super) fn speaker(&self, chain: &Chain, at_unix_s: u64) -> Result<Speaker, ChainError> {
        self.speaker_by(chain, at_unix_s, |since_unix_s| since_unix_s <= at_unix_s)
    }

    fn speaker_by(
        &self,
        chain: &Chain,
        at_unix_s: u64,
        known: impl Fn(u64) -> bool,
    ) -> Result<Speaker, ChainError> {
        let credential = Credential::open(&chain.credential, self.network).map_err(ChainError::Credential)?;
        let mut trust = self.trust.cloned().unwrap_or_else(|| self.word_of(&credential));
        let registry = self.known_with(chain, &trust, known);
        let verified = verify_in(chain, self.network, &trust, &registry, at_unix_s);
        let Err(ChainError::PinnedOtherwise { party }) = &verified else { return verified };
        // Signed under a key that rotations led away from since: judged as it was while it was the pinned one.
        let former = credential.terms.org_key;
        let Some(pin) = trust.pins.iter_mut().find(|pin| pin.party == *party) else { return verified };
        if !registry.follows(party, &former, &pin.org_key) {
            return verified;
        }
        pin.org_key = former;
        verify_in(chain, self.network, &trust, &registry, at_unix_s)
    }

    /// The registry as it was. It is the same for many messages, and each of its objects has a signature to check.
    fn known_with(&self, chain: &Chain, trust: &TrustList, known: impl Fn(u64) -> bool) -> Rc<Registry> {
        let objects: Vec<&[u8]> =
            self.registry.iter().filter(|(since, _)| known(*since)).map(|(_, object)| *object).collect();
        let key = (hash_of(&chain.credential), objects.len());
        if let Some(held) = self.held.borrow().get(&key) {
            return held.clone();
        }
        let mut registry = Registry::empty();
        // Whoever signed is the one who is known; objects that nobody vouches for are left out.
        let own: &[u8] = &chain.credential;
        for object in std::iter::once(own).chain(objects) {
            let _held = registry.add(object, self.network, trust);
        }
        let registry = Rc::new(registry);
        self.held.borrow_mut().insert(key, registry.clone());
        registry
    }

    /// Without a trust list: whoever issued credentials in the file is believed, and who vouches for itself too.
    fn word_of(&self, credential: &Verified<Credential>) -> TrustList {
        let terms = &credential.terms;
        let own = credential.signer() == terms.org_key.as_bytes();
        let pin = Pin { party: terms.party.clone(), org_key: terms.org_key, sub_ids: BTreeSet::new() };
        let mut issuers: BTreeMap<PublicKey, Issuer> =
            self.issuers.iter().map(|issuer| (issuer.key, issuer.clone())).collect();
        add_issuer(&mut issuers, credential);
        TrustList {
            issuers: issuers.into_values().collect(),
            pins: own.then_some(pin).into_iter().collect(),
            seq: 0,
            valid_until_unix_s: u64::MAX,
        }
    }

    fn voucher(&self, speaker: &Speaker) -> String {
        match self.trust {
            Some(_) => speaker.assurance().to_string(),
            None => match speaker.assurance() {
                crate::identity::Assurance::Pinned => "nobody but itself".to_owned(),
                other => format!("{other}, whom nobody checked"),
            },
        }
    }

    /// What became of signers later, and what could not be checked.
    fn notes(&self, told: &[Told]) -> Vec<String> {
        let mut notes = BTreeSet::new();
        if self.trust.is_none() {
            let text = "no trust list was given: whether the issuers are who they say was not checked";
            notes.insert(text.to_owned());
        }
        if told.iter().any(|told| told.said.is_none()) {
            let text = "some messages were deleted, or never kept because they carry a PIN; their hashes stand in the log";
            notes.insert(text.to_owned());
        }
        let said = told.iter().filter_map(|told| told.said.as_ref());
        let last: BTreeMap<&Digest, &Said> = said.map(|said| (&said.delegation, said)).collect();
        for (delegation, said) in last {
            let Some(chain) = self.chains.get(delegation) else { continue };
            if let Err(later) = self.speaker_by(chain, said.created_unix_ms / 1_000, |_| true) {
                notes
                    .insert(format!("what {} said counted when it was said; since then: {later}", said.from));
            }
        }
        notes.into_iter().collect()
    }
}

fn verify_in(
    chain: &Chain,
    network: &str,
    trust: &TrustList,
    registry: &Registry,
    at_unix_s: u64,
) -> Result<Speaker, ChainError> {
    chain.verify(&TrustContext { network, trust, registry, at_unix_s })
}

/// Checks an object of the registry, and from when on it says something: what was said before that stays evidence.
fn since_unix_s(object: &[u8], network: &str) -> Result<u64, RegistryError> {
    Ok(match peek(object)?.purpose {
        Purpose::Tombstone => Tombstone::open(object, network)?.since_unix_s,
        Purpose::StatusList => StatusList::open(object, network)?.created_unix_s,
        Purpose::PartyCredential => Credential::open(object, network).map(|_| 0)?,
        Purpose::Rotation => crate::identity::Rotation::open(object, network).map(|_| 0)?,
        other => return Err(RegistryError::Purpose(other)),
    })
}

/// Takes an issuer at his word, for every country and role.
fn add_issuer(issuers: &mut BTreeMap<PublicKey, Issuer>, credential: &Verified<Credential>) {
    let Ok(key) = PublicKey::from_bytes(credential.signer()) else { return };
    if key == credential.terms.org_key {
        return;
    }
    let grant = |role| IssuerGrant { country: "*".to_owned(), role };
    let grants = [Role::Cpo, Role::Emp, Role::Hub].into_iter().map(grant).collect();
    let name = format!("{} ({})", credential.issuer.name, short_name(credential.signer()));
    issuers.entry(key).or_insert(Issuer { key, name, class: IssuerClass::Registrar, grants });
}

/// The first bytes of the hash of a key, for people to compare.
fn short_name(key: &Digest) -> String {
    hash_of(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
