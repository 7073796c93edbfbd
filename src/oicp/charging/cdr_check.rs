//! Plausibility of charge detail records (RULES section 7): what the hub refuses with 022 and 018, and what it
//! accepts but both sides should look at. All arithmetic is exact, on the received texts.

use super::cdr::{ChargeDetailRecord, MeteringStatus};
use crate::oicp::decimal::Decimal;
use crate::oicp::status_code::Code;

/// Most energy of one record (kWh); the real hub refuses more.
pub const ENERGY_KWH_MAX: i64 = 1000;

/// Decimals of an energy value.
pub const ENERGY_DECIMALS_MAX: usize = 3;

/// How far a station's clock may be ahead of ours (milliseconds) before its times count as in the future.
pub const CLOCK_AHEAD_MAX_MS: i64 = 60_000;

/// What can be implausible. The kebab-case names are stable: scripts may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CdrRule {
    /// No ConsumedEnergy.
    EnergyMissing,
    /// MeteringCheck `Passed` without ConsumedEnergy.
    CheckedWithoutEnergy,
    /// More than [`ENERGY_KWH_MAX`].
    EnergyTooLarge,
    /// Below zero.
    EnergyNegative,
    /// MeterValueEnd below MeterValueStart.
    MeterBackwards,
    /// ChargingEnd before ChargingStart.
    ChargingEndsBeforeStart,
    /// SessionStart or SessionEnd in the future.
    SessionInFuture,
    /// The EVSE says `External` but there are no signed values.
    SignedValuesMissing,
    /// The EvseID is not of this CPO.
    ForeignEvse,
    /// SessionEnd before SessionStart.
    SessionEndsBeforeStart,
    /// ChargingStart or ChargingEnd in the future.
    ChargingInFuture,
    /// ConsumedEnergy is not the difference of the readings.
    EnergyNotDifference,
    /// Energy flowed in no time.
    EnergyInNoTime,
    /// A reading in between is below the one before it, or outside of start and end.
    ReadingsUnordered,
    /// More than [`ENERGY_DECIMALS_MAX`] decimals.
    TooManyDecimals,
    /// Signed values are not in the order Start, Progress, End.
    SignedValuesUnordered,
    /// A signed value is empty or without status.
    SignedValueIncomplete,
    /// The EVSE is not that of the session.
    OtherEvse,
    /// The medium is none that may have opened or ended the session.
    OtherMedium,
    /// A partner's reference is not that of the session.
    OtherReference,
    /// SessionEnd is before the session was opened.
    EndsBeforeSession,
    /// SessionStart is long before the session was opened.
    StartsLongBeforeSession,
    /// The EVSE says `External`, but the signed values of start and end are not both there.
    SignedEndsMissing,
    /// The EVSE says `External`, but nobody can verify the signed values: no key and no encoding.
    SignedKeyMissing,
    /// MeteringCheck is `Failed`.
    MeteringCheckFailed,
    /// MeteringCheck is none of `Passed`, `Failed`, `Not Apply`.
    MeteringCheckUnknown,
    /// PartnerProductID is neither a recommended product nor one of the operator's price products.
    ProductUnknown,
}

impl CdrRule {
    /// Every rule.
    pub const ALL: [CdrRule; 27] = [
        CdrRule::EnergyMissing,
        CdrRule::CheckedWithoutEnergy,
        CdrRule::EnergyTooLarge,
        CdrRule::EnergyNegative,
        CdrRule::MeterBackwards,
        CdrRule::ChargingEndsBeforeStart,
        CdrRule::SessionInFuture,
        CdrRule::SignedValuesMissing,
        CdrRule::ForeignEvse,
        CdrRule::SessionEndsBeforeStart,
        CdrRule::ChargingInFuture,
        CdrRule::EnergyNotDifference,
        CdrRule::EnergyInNoTime,
        CdrRule::ReadingsUnordered,
        CdrRule::TooManyDecimals,
        CdrRule::SignedValuesUnordered,
        CdrRule::SignedValueIncomplete,
        CdrRule::OtherEvse,
        CdrRule::OtherMedium,
        CdrRule::OtherReference,
        CdrRule::EndsBeforeSession,
        CdrRule::StartsLongBeforeSession,
        CdrRule::SignedEndsMissing,
        CdrRule::SignedKeyMissing,
        CdrRule::MeteringCheckFailed,
        CdrRule::MeteringCheckUnknown,
        CdrRule::ProductUnknown,
    ];

    /// The stable kebab-case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CdrRule::EnergyMissing => "energy-missing",
            CdrRule::CheckedWithoutEnergy => "checked-without-energy",
            CdrRule::EnergyTooLarge => "energy-too-large",
            CdrRule::EnergyNegative => "energy-negative",
            CdrRule::MeterBackwards => "meter-backwards",
            CdrRule::ChargingEndsBeforeStart => "charging-ends-before-start",
            CdrRule::SessionInFuture => "session-in-future",
            CdrRule::SignedValuesMissing => "signed-values-missing",
            CdrRule::ForeignEvse => "foreign-evse",
            CdrRule::SessionEndsBeforeStart => "session-ends-before-start",
            CdrRule::ChargingInFuture => "charging-in-future",
            CdrRule::EnergyNotDifference => "energy-not-difference",
            CdrRule::EnergyInNoTime => "energy-in-no-time",
            CdrRule::ReadingsUnordered => "readings-unordered",
            CdrRule::TooManyDecimals => "too-many-decimals",
            CdrRule::SignedValuesUnordered => "signed-values-unordered",
            CdrRule::SignedValueIncomplete => "signed-value-incomplete",
            CdrRule::OtherEvse => "other-evse",
            CdrRule::OtherMedium => "other-medium",
            CdrRule::OtherReference => "other-reference",
            CdrRule::EndsBeforeSession => "ends-before-session",
            CdrRule::StartsLongBeforeSession => "starts-long-before-session",
            CdrRule::SignedEndsMissing => "signed-ends-missing",
            CdrRule::SignedKeyMissing => "signed-key-missing",
            CdrRule::MeteringCheckFailed => "metering-check-failed",
            CdrRule::MeteringCheckUnknown => "metering-check-unknown",
            CdrRule::ProductUnknown => "product-unknown",
        }
    }

    /// The code that the hub refuses with; `None`: accepted and reported (GAPS C23).
    #[must_use]
    pub fn refusal(self) -> Option<Code> {
        match self {
            CdrRule::ForeignEvse => Some(Code::InconsistentEvseId),
            CdrRule::EnergyMissing
            | CdrRule::CheckedWithoutEnergy
            | CdrRule::EnergyTooLarge
            | CdrRule::EnergyNegative
            | CdrRule::MeterBackwards
            | CdrRule::ChargingEndsBeforeStart
            | CdrRule::SessionInFuture
            | CdrRule::SignedValuesMissing => Some(Code::DataError),
            _ => None,
        }
    }
}

/// One implausible thing, in a sentence for `AdditionalInfo` and reports. Names no person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdrFinding {
    /// The rule.
    pub rule: CdrRule,
    /// What is wrong.
    pub message: String,
}

impl CdrFinding {
    pub(super) fn new(rule: CdrRule, message: impl Into<String>) -> CdrFinding {
        CdrFinding { rule, message: message.into() }
    }

    /// The code to refuse the record with; `None`: accept it and report.
    #[must_use]
    pub fn refusal(&self) -> Option<Code> {
        self.rule.refusal()
    }
}

/// What is implausible about a record by itself, refusals first; empty for a good one.
#[must_use]
pub fn cdr_findings(cdr: &ChargeDetailRecord, now_ms: i64) -> Vec<CdrFinding> {
    let mut found = Vec::new();
    energy(cdr, &mut found);
    times(cdr, now_ms, &mut found);
    readings(cdr, &mut found);
    signed_order(cdr, &mut found);
    found.sort_by_key(|finding| finding.refusal().is_none());
    found
}

/// What breaks the calibration law's rules, given the EVSE record's `CalibrationLawDataAvailability`:
/// `External` promises signed values with the CDR.
#[must_use]
pub fn calibration_findings(cdr: &ChargeDetailRecord, availability: Option<&str>) -> Vec<CdrFinding> {
    let signed =
        cdr.signed_values.iter().any(|signed| signed.value.as_deref().is_some_and(|v| !v.is_empty()));
    if availability == Some("External") && !signed {
        let message =
            "the EVSE's CalibrationLawDataAvailability is External, but SignedMeteringValues are missing";
        return vec![CdrFinding::new(CdrRule::SignedValuesMissing, message)];
    }
    Vec::new()
}

/// The finding that the record's EVSE is not of the sending CPO (018); `may_send` is asked with the canonical
/// operator part of the EvseID.
pub fn foreign_evse(cdr: &ChargeDetailRecord, may_send: impl Fn(&str) -> bool) -> Option<CdrFinding> {
    let foreign = !may_send(cdr.evse_id.key().operator());
    foreign.then(|| CdrFinding::new(CdrRule::ForeignEvse, cdr.evse_id.as_str()))
}

fn energy(cdr: &ChargeDetailRecord, found: &mut Vec<CdrFinding>) {
    let Some(energy) = &cdr.consumed_energy else {
        let check = cdr.calibration.as_ref().and_then(|info| info.metering_check.as_deref());
        found.push(match check {
            Some("Passed") => CdrFinding::new(
                CdrRule::CheckedWithoutEnergy,
                "MeteringCheck is Passed, but ConsumedEnergy is missing",
            ),
            _ => CdrFinding::new(CdrRule::EnergyMissing, "ConsumedEnergy is missing"),
        });
        return;
    };
    if *energy > Decimal::whole(ENERGY_KWH_MAX) {
        let message = format!("ConsumedEnergy of {energy} kWh is more than {ENERGY_KWH_MAX} kWh");
        found.push(CdrFinding::new(CdrRule::EnergyTooLarge, message));
    }
    if energy.is_negative() {
        let message = format!("ConsumedEnergy of {energy} kWh is negative");
        found.push(CdrFinding::new(CdrRule::EnergyNegative, message));
    }
    if let (Some(start), Some(end)) = (&cdr.meter_start, &cdr.meter_end)
        && let Some(difference) = end.minus(start)
        && difference != *energy
    {
        let message =
            format!("ConsumedEnergy is {energy} kWh, MeterValueEnd - MeterValueStart is {difference} kWh");
        found.push(CdrFinding::new(CdrRule::EnergyNotDifference, message));
    }
    if !energy.is_zero() && cdr.charging_start.unix_ms() == cdr.charging_end.unix_ms() {
        let message = "ChargingStart equals ChargingEnd although energy flowed";
        found.push(CdrFinding::new(CdrRule::EnergyInNoTime, message));
    }
}

fn times(cdr: &ChargeDetailRecord, now_ms: i64, found: &mut Vec<CdrFinding>) {
    let order = [
        (&cdr.charging_start, &cdr.charging_end, CdrRule::ChargingEndsBeforeStart, "Charging"),
        (&cdr.session_start, &cdr.session_end, CdrRule::SessionEndsBeforeStart, "Session"),
    ];
    for (start, end, rule, name) in order {
        if end.unix_ms() < start.unix_ms() {
            found.push(CdrFinding::new(rule, format!("{name}End {end} is before {name}Start {start}")));
        }
    }
    let latest = now_ms.saturating_add(CLOCK_AHEAD_MAX_MS);
    let all = [
        (&cdr.session_start, CdrRule::SessionInFuture, "SessionStart"),
        (&cdr.session_end, CdrRule::SessionInFuture, "SessionEnd"),
        (&cdr.charging_start, CdrRule::ChargingInFuture, "ChargingStart"),
        (&cdr.charging_end, CdrRule::ChargingInFuture, "ChargingEnd"),
    ];
    for (instant, rule, name) in all {
        if instant.unix_ms() > latest {
            found.push(CdrFinding::new(rule, format!("{name} {instant} is in the future")));
        }
    }
}

fn readings(cdr: &ChargeDetailRecord, found: &mut Vec<CdrFinding>) {
    if let (Some(start), Some(end)) = (&cdr.meter_start, &cdr.meter_end)
        && end < start
    {
        let message = format!("MeterValueEnd {end} is below MeterValueStart {start}");
        found.push(CdrFinding::new(CdrRule::MeterBackwards, message));
    }
    let mut before: Option<&Decimal> = None;
    let all = cdr.meter_start.iter().chain(&cdr.meter_in_between).chain(&cdr.meter_end);
    if !cdr.meter_in_between.is_empty()
        && !all.clone().all(|reading| {
            let ordered = before.is_none_or(|earlier| earlier <= reading);
            before = Some(reading);
            ordered
        })
    {
        let message = "MeterValueInBetween does not ascend from MeterValueStart to MeterValueEnd";
        found.push(CdrFinding::new(CdrRule::ReadingsUnordered, message));
    }
    let named = [
        ("MeterValueStart", &cdr.meter_start),
        ("MeterValueEnd", &cdr.meter_end),
        ("ConsumedEnergy", &cdr.consumed_energy),
    ];
    for (name, value) in named {
        if value.as_ref().is_some_and(|value| value.decimals() > ENERGY_DECIMALS_MAX) {
            let message = format!("{name} has more than {ENERGY_DECIMALS_MAX} decimals");
            found.push(CdrFinding::new(CdrRule::TooManyDecimals, message));
        }
    }
}

fn signed_order(cdr: &ChargeDetailRecord, found: &mut Vec<CdrFinding>) {
    let incomplete = cdr
        .signed_values
        .iter()
        .any(|signed| signed.status.is_none() || signed.value.as_deref().is_none_or(str::is_empty));
    if incomplete {
        let message = "a signed meter value has no text or no MeteringStatus";
        found.push(CdrFinding::new(CdrRule::SignedValueIncomplete, message));
        return;
    }
    let statuses: Vec<_> = cdr.signed_values.iter().filter_map(|signed| signed.status.as_ref()).collect();
    let ordered = match statuses.as_slice() {
        [] => true,
        [MeteringStatus::Start, between @ .., MeteringStatus::End] => {
            between.iter().all(|status| **status == MeteringStatus::Progress)
        }
        _ => false,
    };
    if !ordered {
        let message = "SignedMeteringValues are not in the order Start, Progress, End";
        found.push(CdrFinding::new(CdrRule::SignedValuesUnordered, message));
    }
}

#[cfg(test)]
#[path = "cdr_check_tests.rs"]
mod tests;
