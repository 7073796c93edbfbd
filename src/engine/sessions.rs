//! Sessions as people and metrics see them: how far each has come, and with whom; never what was said in it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::handle::{Command, Engine, EngineError};
use crate::protocol::{SessionOperation, SessionPhase, SessionRecord};
use crate::roaming::Roaming;

/// Most sessions of one answer: more than anybody reads, and some 300 kB of JSON.
pub const SESSIONS_SHOWN_MAX: usize = 1_000;

/// One session, without media and messages.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SessionView {
    /// SessionID: a lower-case UUID.
    pub session: String,
    /// What it began with, as in `AuthorizeRemoteStart`.
    pub operation: &'static str,
    /// Our party, as `ROLE:ID`.
    pub party: String,
    /// The other side, as `ROLE:ID`; `None` while several are asked.
    pub partner: Option<String>,
    /// EvseID as it was sent.
    pub evse: Option<String>,
    /// How far it has come: `requested`, `calling`, `in doubt`, `unconfirmed`, `active`, `refused`, `closed` or
    /// `expired`.
    pub phase: &'static str,
    /// Whether it was asked for by a party of this node.
    pub asked_by_us: bool,
    /// The way that it is on, `direct` or `hub`.
    pub way: &'static str,
    /// Who vouches for what the other side said: `party-signed`, or only the hub, `bridge-attested`.
    pub attested: &'static str,
    /// When it began here, in unix milliseconds.
    pub opened_unix_ms: u64,
    /// When it changed last, in unix milliseconds.
    pub changed_unix_ms: u64,
}

/// How many EMPs were told of cards at our CPOs' stations, since the start.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct CardsView {
    /// Questions about a card or a contract.
    pub questions: u64,
    /// EMPs that were told, over all questions.
    pub emps_told: u64,
    /// EMPs under contract that were not told, because they have said that they cannot know the card.
    pub emps_spared: u64,
    /// How many questions were told to how many EMPs.
    pub by_emps_told: BTreeMap<usize, u64>,
}

/// Messages about sessions and charge detail records to and from one partner, since the start.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MessagesView {
    /// The partner, as `ROLE:ID`.
    pub partner: String,
    /// Between its nodes and this one.
    pub direct: u64,
    /// Through the central hub.
    pub hub: u64,
}

impl Engine {
    /// The sessions that changed last, the newest first, at most [`SESSIONS_SHOWN_MAX`]; only those of a phase, if
    /// one is given. Those that were over a day ago are not among them.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn sessions(&self, phase: Option<SessionPhase>) -> Result<Vec<SessionView>, EngineError> {
        self.ask(|reply| Command::Sessions { phase, reply }).await
    }
}

/// Sessions in which energy may have flowed, and which did not change since a time, the oldest first, at most
/// [`SESSIONS_SHOWN_MAX`].
pub(super) fn quiet_sessions(core: &Roaming, before_unix_ms: u64) -> Vec<SessionView> {
    let charges = |operation| {
        !matches!(operation, SessionOperation::ReservationStart | SessionOperation::ReservationStop)
    };
    let quiet = |record: &&SessionRecord| {
        matches!(record.phase, SessionPhase::Active | SessionPhase::Unconfirmed)
            && record.changed_unix_ms < before_unix_ms
            && charges(record.operation)
    };
    let mut quiet: Vec<&SessionRecord> = core.sessions().filter(quiet).collect();
    quiet.sort_unstable_by_key(|record| record.changed_unix_ms);
    quiet.into_iter().take(SESSIONS_SHOWN_MAX).map(session_view).collect()
}

/// Answers [`Engine::sessions`].
pub(super) fn sessions(core: &Roaming, phase: Option<SessionPhase>) -> Vec<SessionView> {
    newest(core.sessions().filter(|record| phase.is_none_or(|phase| record.phase == phase)).collect())
}

fn newest(mut records: Vec<&SessionRecord>) -> Vec<SessionView> {
    let by_age = |record: &&SessionRecord| (Reverse(record.changed_unix_ms), Reverse(record.opened_unix_ms));
    // Only what is shown is sorted: there may be 200,000.
    if records.len() > SESSIONS_SHOWN_MAX {
        records.select_nth_unstable_by_key(SESSIONS_SHOWN_MAX, by_age);
        records.truncate(SESSIONS_SHOWN_MAX);
    }
    records.sort_unstable_by_key(by_age);
    records.into_iter().map(session_view).collect()
}

/// How many sessions there are in each phase; every phase has its number.
pub(super) fn session_counts(core: &Roaming) -> BTreeMap<&'static str, u64> {
    let mut counts: BTreeMap<_, u64> =
        SessionPhase::ALL.into_iter().map(|phase| (phase.as_str(), 0)).collect();
    for record in core.sessions() {
        *counts.entry(record.phase.as_str()).or_default() += 1;
    }
    counts
}

fn session_view(record: &SessionRecord) -> SessionView {
    SessionView {
        session: record.session.clone(),
        operation: record.operation.as_str(),
        party: record.ours.to_text(),
        partner: record.partner.as_ref().map(crate::identity::PartyId::to_text),
        evse: record.evse.clone(),
        phase: record.phase.as_str(),
        asked_by_us: record.asked_by_us,
        way: record.via.as_str(),
        attested: record.via.attested(),
        opened_unix_ms: record.opened_unix_ms,
        changed_unix_ms: record.changed_unix_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{MessageId, PartyId};
    use crate::protocol::Via;

    fn record(changed_unix_ms: u64) -> SessionRecord {
        SessionRecord {
            session: format!("session-{changed_unix_ms}"),
            operation: SessionOperation::RemoteStart,
            asked_by_us: true,
            ours: PartyId::parse("EMP:DEDCB").unwrap(),
            partner: Some(PartyId::parse("CPO:DEGEF").unwrap()),
            phase: SessionPhase::Active,
            ask: MessageId([3; 16]),
            ask_expires_unix_ms: 12,
            evse: Some("DE*GEF*E1".to_owned()),
            medium: Some("evco:SECRETCONTRACT".to_owned()),
            stop_media: vec!["rfid:SECRETCARD".to_owned()],
            answer: Some(bytes::Bytes::from_static(b"SECRETANSWER")),
            cpo_partner_session: None,
            emp_partner_session: None,
            to_release: Vec::new(),
            seen: Vec::new(),
            offline: false,
            to_tell_backend: false,
            via: Via::Direct,
            alias: None,
            opened_unix_ms: 1,
            changed_unix_ms,
        }
    }

    #[test]
    fn the_newest_are_shown_and_nothing_that_names_a_driver() {
        let records: Vec<SessionRecord> = (0..2_500).map(|step| record(step * 7 % 2_500)).collect();
        let shown = newest(records.iter().collect());
        let ages: Vec<u64> = shown.iter().map(|session| session.changed_unix_ms).collect();
        assert_eq!(ages, (1_500..2_500).rev().collect::<Vec<_>>());
        let text = format!("{:?}", shown[0]);
        assert!(text.contains("session-2499") && !text.contains("SECRET"), "{text}");
    }
}
