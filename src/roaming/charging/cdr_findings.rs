//! What a record and what is known besides it do not agree on: its session, its EVSE, the operator's prices. Found at
//! both sides, each from what it knows.

use crate::identity::{PartyId, Role};
use crate::oicp::charging::{
    CdrFinding, ChargeDetailRecord, EvseFacts, RECOMMENDED_PRODUCTS, SessionFacts, SessionId, cdr_findings,
    evse_findings, session_findings,
};
use crate::oicp::id::{EvseId, EvseKey};
use crate::protocol::{Audience, SessionRecord};
use crate::roaming::records::product_tag;

/// What the directory is asked about a charge detail record: its EVSE, and the price product that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdrSubject {
    /// The EVSE.
    pub evse: EvseKey,
    /// The tag of the product in keys of prices ([`EvseKey::product`]); `None` if the record names none, or one that
    /// OICP recommends.
    pub product: Option<String>,
    /// Only what this EMP may see is wanted; `None`: what any may, for it is not known yet whose the session is.
    pub provider: Option<PartyId>,
}

impl CdrSubject {
    /// What a record is held against.
    pub fn of(cdr: &ChargeDetailRecord, provider: Option<&PartyId>) -> CdrSubject {
        let product = cdr.product_id.as_deref().filter(|product| !RECOMMENDED_PRODUCTS.contains(product));
        CdrSubject {
            evse: cdr.evse_id.key().clone(),
            product: product.map(product_tag),
            provider: provider.cloned(),
        }
    }
}

/// What the directory says to a [`CdrSubject`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdrFacts {
    /// CalibrationLawDataAvailability in each record of the EVSE and who may see that one, closed audiences first;
    /// `None` where the record does not say it.
    pub calibration_law: Vec<(Audience, Option<Box<str>>)>,
    /// Who may see a price list of the EVSE's operator that has the product; nobody: there is no such list. `None` if
    /// none was asked for, or the operator's prices do not come to this node.
    pub product: Option<Vec<Audience>>,
}

impl CdrFacts {
    /// The same for one EMP.
    pub fn seen_by(&self, provider: &PartyId) -> EvseFacts<'_> {
        let record = self.calibration_law.iter().find(|(audience, _)| audience.admits(provider));
        EvseFacts {
            calibration_law: record.and_then(|(_, availability)| availability.as_deref()),
            product_known: self.product.as_ref().map(|lists| lists.iter().any(|who| who.admits(provider))),
        }
    }
}

/// A charge detail record of a backend of ours or of the hub, read, with what was found in it.
#[derive(Clone, Debug)]
pub struct CdrArrival {
    /// SessionID.
    pub session: SessionId,
    /// EvseID.
    pub evse: EvseId,
    /// SessionEnd, unix milliseconds; 0 if it is before 1970.
    pub ended_unix_ms: u64,
    /// What is implausible by itself, refusals first.
    pub findings: Vec<CdrFinding>,
    record: Box<ChargeDetailRecord>,
    facts: Option<CdrFacts>,
}

impl CdrArrival {
    /// Looks at a record. `facts` is what the directory says to [`CdrSubject::of`] it; `None` if that could not be
    /// read: then it is not held against it.
    pub fn new(cdr: ChargeDetailRecord, facts: Option<CdrFacts>, now_unix_ms: u64) -> CdrArrival {
        CdrArrival {
            session: cdr.session_id,
            ended_unix_ms: ended_unix_ms(&cdr),
            evse: cdr.evse_id.clone(),
            findings: cdr_findings(&cdr, i64::try_from(now_unix_ms).unwrap_or(i64::MAX)),
            record: Box::new(cdr),
            facts,
        }
    }

    /// All findings, now that it is known which session it is of.
    pub(super) fn findings_of(&self, session: &SessionRecord) -> Vec<CdrFinding> {
        let mut findings = self.findings.clone();
        findings.extend(with_directory(&self.record, session, self.facts.as_ref()));
        findings.extend(with_session(&self.record, session));
        findings
    }
}

/// SessionEnd, unix milliseconds; 0 if it is before 1970.
pub(super) fn ended_unix_ms(cdr: &ChargeDetailRecord) -> u64 {
    u64::try_from(cdr.session_end.unix_ms()).unwrap_or(0)
}

/// Findings of a record against what its session's EMP sees of its EVSE and of prices.
pub(super) fn with_directory(
    cdr: &ChargeDetailRecord,
    session: &SessionRecord,
    facts: Option<&CdrFacts>,
) -> Vec<CdrFinding> {
    let provider = match session.ours.role {
        Role::Emp => Some(&session.ours),
        _ => session.partner.as_ref(),
    };
    let seen = facts.zip(provider).map(|(facts, provider)| facts.seen_by(provider));
    evse_findings(cdr, &seen.unwrap_or_default())
}

/// Findings of a record against its session.
pub(super) fn with_session(cdr: &ChargeDetailRecord, record: &SessionRecord) -> Vec<CdrFinding> {
    let facts = SessionFacts {
        evse: record.evse.as_deref(),
        medium: record.medium.as_deref(),
        further_media: &record.stop_media,
        cpo_reference: record.cpo_partner_session.as_deref(),
        emp_reference: record.emp_partner_session.as_deref(),
        opened_unix_ms: i64::try_from(record.opened_unix_ms).unwrap_or(i64::MAX),
    };
    session_findings(cdr, &facts)
}
