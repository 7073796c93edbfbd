//! A charge detail record held against what is known besides it: its session, and the record of its EVSE. The hub
//! refuses none of this (but [`CdrRule::SignedValuesMissing`]); both sides get it as findings (RULES section 7).

use super::cdr::{ChargeDetailRecord, MeteringStatus};
use super::cdr_check::{CdrFinding, CdrRule, calibration_findings};
use super::session_id::PartnerSessionId;
use crate::oicp::id::EvseId;

/// Products that OICP recommends (RULES section 7).
pub const RECOMMENDED_PRODUCTS: [&str; 4] = ["AC1", "AC3", "DC", "Free"];

/// How far a station's clock may be from ours, in milliseconds, before a SessionEnd counts as before its session.
pub const CLOCK_OFF_MAX_MS: i64 = 5 * 60_000;

/// How long before its session a record may begin, in milliseconds: a station that was offline tells of a session
/// that it began on its own, and a reservation counts from its beginning.
pub const BEGINS_BEFORE_MAX_MS: i64 = 24 * 3_600_000;

/// What a node knows of a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionFacts<'a> {
    /// EvseID as it was asked for; `None` if the session began without one.
    pub evse: Option<&'a str>,
    /// The medium that opened it, as [`super::MediumKey::expose`] gives it; `None` if it is not known any more.
    pub medium: Option<&'a str>,
    /// Further media of the same contract.
    pub further_media: &'a [String],
    /// CPOPartnerSessionID.
    pub cpo_reference: Option<&'a str>,
    /// EMPPartnerSessionID.
    pub emp_reference: Option<&'a str>,
    /// When it was opened at this node, in unix milliseconds.
    pub opened_unix_ms: i64,
}

/// What the directory says of an EVSE and of its operator's prices.
#[derive(Clone, Copy, Debug, Default)]
pub struct EvseFacts<'a> {
    /// CalibrationLawDataAvailability; `None` if it says nothing, or there is no record.
    pub calibration_law: Option<&'a str>,
    /// Whether the operator has a price list for the EMP with the record's product; `None` if nothing is known of its
    /// prices. Those of [`RECOMMENDED_PRODUCTS`] need none.
    pub product_known: Option<bool>,
}

/// Where a record and its session differ. Names no person.
#[must_use]
pub fn session_findings(cdr: &ChargeDetailRecord, session: &SessionFacts<'_>) -> Vec<CdrFinding> {
    let mut found = Vec::new();
    if let Some(evse) = session.evse
        && !EvseId::parse(evse).is_ok_and(|evse| evse.key() == cdr.evse_id.key())
    {
        let message = format!("EvseID is {}, the session is at {evse}", cdr.evse_id.as_str());
        found.push(CdrFinding::new(CdrRule::OtherEvse, message));
    }
    if let Some(opened_with) = session.medium {
        let key = cdr.identification.medium_key();
        let known = opened_with == key.expose() || session.further_media.iter().any(|m| m == key.expose());
        if !known {
            let message = "Identification is not what opened the session";
            found.push(CdrFinding::new(CdrRule::OtherMedium, message));
        }
    }
    references(cdr, session, &mut found);
    let (start, end) = (cdr.session_start.unix_ms(), cdr.session_end.unix_ms());
    if end.saturating_add(CLOCK_OFF_MAX_MS) < session.opened_unix_ms {
        let message = format!("SessionEnd {} is before the session was opened", cdr.session_end);
        found.push(CdrFinding::new(CdrRule::EndsBeforeSession, message));
    } else if start.saturating_add(BEGINS_BEFORE_MAX_MS) < session.opened_unix_ms {
        let message = format!("SessionStart {} is long before the session was opened", cdr.session_start);
        found.push(CdrFinding::new(CdrRule::StartsLongBeforeSession, message));
    }
    found
}

fn references(cdr: &ChargeDetailRecord, session: &SessionFacts<'_>, found: &mut Vec<CdrFinding>) {
    let both = [
        ("CPOPartnerSessionID", &cdr.partners.cpo, session.cpo_reference),
        ("EMPPartnerSessionID", &cdr.partners.emp, session.emp_reference),
    ];
    for (name, said, known) in both {
        let said = said.as_ref().map(PartnerSessionId::as_str);
        if let (Some(said), Some(known)) = (said, known)
            && said != known
        {
            let message = format!("{name} is not that of the session");
            found.push(CdrFinding::new(CdrRule::OtherReference, message));
        }
    }
}

/// What breaks the calibration law's rules, and a price product that nobody knows.
#[must_use]
pub fn evse_findings(cdr: &ChargeDetailRecord, evse: &EvseFacts<'_>) -> Vec<CdrFinding> {
    let mut found = calibration_findings(cdr, evse.calibration_law);
    if found.is_empty() && evse.calibration_law == Some("External") {
        external(cdr, &mut found);
    }
    let check = cdr.calibration.as_ref().and_then(|info| info.metering_check.as_deref());
    match check {
        None | Some("Passed" | "Not Apply") => {}
        Some("Failed") => {
            let message = "MeteringCheck is Failed: the signed values do not prove the energy";
            found.push(CdrFinding::new(CdrRule::MeteringCheckFailed, message));
        }
        Some(_) => {
            let message = "MeteringCheck is none of Passed, Failed, Not Apply";
            found.push(CdrFinding::new(CdrRule::MeteringCheckUnknown, message));
        }
    }
    if let Some(product) = cdr.product_id.as_deref()
        && !RECOMMENDED_PRODUCTS.contains(&product)
        && evse.product_known == Some(false)
    {
        let message =
            "PartnerProductID is neither a recommended product nor one of the operator's price products";
        found.push(CdrFinding::new(CdrRule::ProductUnknown, message));
    }
    found
}

/// What a driver needs to verify signed values: that of the start and that of the end, and the key or where it is.
fn external(cdr: &ChargeDetailRecord, found: &mut Vec<CdrFinding>) {
    let has = |wanted: MeteringStatus| {
        cdr.signed_values.iter().any(|signed| {
            let told = signed.value.as_deref().is_some_and(|value| !value.is_empty());
            told && signed.status.as_ref() == Some(&wanted)
        })
    };
    if !has(MeteringStatus::Start) || !has(MeteringStatus::End) {
        let message = "the EVSE's CalibrationLawDataAvailability is External, but there is not both a signed value \
                       of the start and one of the end";
        found.push(CdrFinding::new(CdrRule::SignedEndsMissing, message));
    }
    let info = cdr.calibration.as_ref();
    let verifiable = info.is_some_and(|info| {
        info.signature_url.is_some() || info.public_key.is_some() && info.encoding_format.is_some()
    });
    if !verifiable {
        let message = "the EVSE's CalibrationLawDataAvailability is External, but CalibrationLawVerificationInfo has \
                       neither a MeteringSignatureUrl nor PublicKey and MeteringSignatureEncodingFormat";
        found.push(CdrFinding::new(CdrRule::SignedKeyMissing, message));
    }
}

#[cfg(test)]
mod tests {
    use super::super::cdr::tests::FULL;
    use super::*;
    use crate::oicp::reading::Reading;

    fn read(body: &str) -> ChargeDetailRecord {
        ChargeDetailRecord::parse(body.as_bytes(), Reading::Tolerant).unwrap()
    }

    fn names(found: &[CdrFinding]) -> Vec<&'static str> {
        found.iter().map(|finding| finding.rule.as_str()).collect()
    }

    #[test]
    fn a_record_of_its_session_has_no_findings() {
        let cdr = read(FULL);
        let medium = cdr.identification.medium_key();
        let opened_unix_ms = cdr.session_start.unix_ms() + 60_000;
        let spelled = cdr.evse_id.as_str().to_lowercase();
        let further = [medium.expose().to_owned()];
        let facts = SessionFacts {
            evse: Some(cdr.evse_id.as_str()),
            medium: Some(medium.expose()),
            opened_unix_ms,
            ..SessionFacts::default()
        };
        assert_eq!(names(&session_findings(&cdr, &facts)), [""; 0]);
        let by_another = SessionFacts { medium: Some("rfid:00"), further_media: &further, ..facts };
        assert_eq!(names(&session_findings(&cdr, &by_another)), [""; 0]);
        assert_eq!(names(&session_findings(&cdr, &SessionFacts { evse: Some(&spelled), ..facts })), [""; 0]);
        assert_eq!(names(&session_findings(&cdr, &SessionFacts::default())), [""; 0]);
    }

    #[test]
    fn each_difference_to_the_session_is_named() {
        let cdr = read(FULL);
        let (start, end) = (cdr.session_start.unix_ms(), cdr.session_end.unix_ms());
        let facts = |change: &dyn Fn(&mut SessionFacts<'static>)| {
            let mut facts = SessionFacts { opened_unix_ms: start, ..SessionFacts::default() };
            change(&mut facts);
            names(&session_findings(&cdr, &facts))
        };
        assert_eq!(facts(&|facts| facts.evse = Some("DE*ABC*E999")), ["other-evse"]);
        assert_eq!(facts(&|facts| facts.evse = Some("")), ["other-evse"]);
        assert_eq!(facts(&|facts| facts.medium = Some("rfid:SECRET")), ["other-medium"]);
        assert_eq!(facts(&|facts| facts.cpo_reference = Some("another")), ["other-reference"]);
        assert_eq!(
            facts(&|facts| facts.opened_unix_ms = end + CLOCK_OFF_MAX_MS + 1),
            ["ends-before-session"]
        );
        let long = facts(&|facts| facts.opened_unix_ms = start + BEGINS_BEFORE_MAX_MS + 1);
        assert!(!long.is_empty(), "{long:?}");
        let shown = format!(
            "{:?}",
            session_findings(&cdr, &SessionFacts { medium: Some("x"), ..Default::default() })
        );
        assert!(!shown.contains(cdr.identification.medium_key().expose()), "{shown}");
    }

    #[test]
    fn external_promises_what_a_driver_can_verify() {
        let external = EvseFacts { calibration_law: Some("External"), product_known: Some(true) };
        let check = |body: &str| names(&evse_findings(&read(body), &external)).join(" ");
        let product = read(FULL).product_id.unwrap_or_default();
        let full = FULL.replace(&format!("\"{product}\""), "\"AC 11 kW\"");
        assert_eq!(check(&full), "");
        assert_eq!(check(&full.replace("\"SignedMeteringValues\"", "\"Other\"")), "signed-values-missing");
        assert_eq!(
            check(&full.replace("\"MeteringStatus\":\"Start\"", "\"MeteringStatus\":\"Progress\"")),
            "signed-ends-missing"
        );
        let blind = full.replace("\"PublicKey\"", "\"x\"").replace("\"MeteringSignatureUrl\"", "\"y\"");
        assert_eq!(check(&blind), "signed-key-missing");
        assert_eq!(check(&full.replace("\"Passed\"", "\"Failed\"")), "metering-check-failed");
        assert_eq!(check(&full.replace("\"Passed\"", "\"Maybe\"")), "metering-check-unknown");
        let unknown = EvseFacts { product_known: Some(false), ..external };
        assert_eq!(names(&evse_findings(&read(&full), &unknown)), ["product-unknown"]);
        assert_eq!(names(&evse_findings(&read(&full.replace("AC 11 kW", "DC")), &unknown)), [""; 0]);
        let silent = names(&evse_findings(&read(&blind), &EvseFacts::default()));
        assert_eq!(silent, [""; 0], "what is not known is no finding");
    }
}
