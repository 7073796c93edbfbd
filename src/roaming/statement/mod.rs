//! The month-end statement of a CPO and an EMP: every charge detail record whose session ended in a month, in UTC.
//!
//! Both sides make it on their own, from the same received bytes, and it is the same to the byte: no time of making,
//! no language, no name that only one side knows, numbers as they were received and sums by exact decimal arithmetic
//! (`decisions.md` 30). It names sessions and no drivers.

mod chart;
mod csv;
mod html;
mod json;
mod month;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

pub use month::Month;

use crate::identity::{PartyId, Role};
use crate::oicp::charging::ChargeDetailRecord;
use crate::oicp::decimal::Decimal;
use crate::protocol::Digest;

/// Most records of one statement: a large CPO's month with a large EMP, at some 500 bytes each.
pub const STATEMENT_RECORDS_MAX: usize = 500_000;

/// Most characters that are shown of a product's name.
const PRODUCT_CHARACTERS_MAX: usize = 100;

/// What the EMP said to a record that its node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Delivered: accepted, or not yet answered by its backend.
    Delivered,
    /// Its backend rejected it: it is shown, and does not count.
    Rejected,
}

impl Standing {
    /// The word in the files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Delivered => "delivered",
            Standing::Rejected => "rejected",
        }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementLine {
    /// SessionID.
    pub session: String,
    /// CPOPartnerSessionID.
    pub cpo_reference: Option<String>,
    /// EMPPartnerSessionID.
    pub emp_reference: Option<String>,
    /// EvseID as received.
    pub evse: String,
    /// PartnerProductID as received.
    pub product: Option<String>,
    /// SessionStart as received.
    pub session_start: String,
    /// SessionEnd as received.
    pub session_end: String,
    /// The same in unix milliseconds: decides the month and the day.
    pub ended_unix_ms: i64,
    /// ChargingStart as received.
    pub charging_start: String,
    /// ChargingEnd as received.
    pub charging_end: String,
    /// MeterValueStart, kWh, as received.
    pub meter_start: Option<Decimal>,
    /// MeterValueEnd, kWh, as received.
    pub meter_end: Option<Decimal>,
    /// ConsumedEnergy, kWh.
    pub energy: Option<Decimal>,
    /// What the EMP said to it.
    pub standing: Standing,
    /// The SHA-256 of the OICP message.
    pub hash: Digest,
    /// The SHA-256 of the record that it corrects.
    pub replaces: Option<Digest>,
}

impl StatementLine {
    /// The line of a record, whose OICP message has this hash.
    #[must_use]
    pub fn of(
        cdr: &ChargeDetailRecord,
        hash: Digest,
        standing: Standing,
        replaces: Option<Digest>,
    ) -> StatementLine {
        let reference = |id: &Option<crate::oicp::charging::PartnerSessionId>| {
            id.as_ref().map(|id| id.as_str().to_owned())
        };
        StatementLine {
            session: cdr.session_id.as_str().to_owned(),
            cpo_reference: reference(&cdr.partners.cpo),
            emp_reference: reference(&cdr.partners.emp),
            evse: cdr.evse_id.as_str().to_owned(),
            product: cdr.product_id.as_deref().map(str::to_owned),
            session_start: cdr.session_start.as_str().to_owned(),
            session_end: cdr.session_end.as_str().to_owned(),
            ended_unix_ms: cdr.session_end.unix_ms(),
            charging_start: cdr.charging_start.as_str().to_owned(),
            charging_end: cdr.charging_end.as_str().to_owned(),
            meter_start: cdr.meter_start.clone(),
            meter_end: cdr.meter_end.clone(),
            energy: cdr.consumed_energy.clone(),
            standing,
            hash,
            replaces,
        }
    }
}

/// Records and their energy.
#[derive(Clone, Debug, PartialEq)]
pub struct Total {
    /// How many records.
    pub records: u64,
    /// Their energy in kWh; `None` if it has too many digits to be added exactly.
    pub energy: Option<Decimal>,
}

impl Default for Total {
    fn default() -> Total {
        Total { records: 0, energy: Some(Decimal::whole(0)) }
    }
}

impl Total {
    fn add(&mut self, line: &StatementLine) {
        self.records += 1;
        if let Some(energy) = &line.energy {
            self.energy = self.energy.as_ref().and_then(|sum| sum.plus(energy));
        }
    }

    /// The energy in the shortest spelling; `-` if it could not be added.
    #[must_use]
    pub fn energy_text(&self) -> String {
        self.energy.as_ref().map_or_else(|| "-".to_owned(), Decimal::shortest)
    }
}

/// Why there is no statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not one CPO and one EMP.
    #[error("a statement is between a CPO and an EMP, not between {0} and {1}")]
    Roles(PartyId, PartyId),
    /// More than fit.
    #[error("the month has more than {STATEMENT_RECORDS_MAX} records")]
    TooMany,
    /// Two records of one session count.
    #[error("session {0} has two records that count: reconcile first")]
    Doubled(String),
    /// A record of another month.
    #[error("session {0} did not end in this month")]
    OtherMonth(String),
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    cpo: PartyId,
    emp: PartyId,
    month: Month,
    lines: Vec<StatementLine>,
    digest: Digest,
}

impl Statement {
    /// Puts the records of a month in order.
    ///
    /// # Errors
    /// [`StatementError`] says why they make no statement.
    pub fn new(
        one: PartyId,
        other: PartyId,
        month: Month,
        mut lines: Vec<StatementLine>,
    ) -> Result<Statement, StatementError> {
        let (cpo, emp) = match (one.role, other.role) {
            (Role::Cpo, Role::Emp) => (one, other),
            (Role::Emp, Role::Cpo) => (other, one),
            _ => return Err(StatementError::Roles(one, other)),
        };
        if lines.len() > STATEMENT_RECORDS_MAX {
            return Err(StatementError::TooMany);
        }
        if let Some(line) = lines.iter().find(|line| !month.holds(line.ended_unix_ms)) {
            return Err(StatementError::OtherMonth(line.session.clone()));
        }
        lines.sort_by(|one, other| one.session.cmp(&other.session));
        if let Some([line, _]) = lines.array_windows().find(|[one, other]| one.session == other.session) {
            return Err(StatementError::Doubled(line.session.clone()));
        }
        let mut statement = Statement { cpo, emp, month, lines, digest: [0; 32] };
        statement.digest = statement.hash();
        Ok(statement)
    }

    /// The CPO.
    #[must_use]
    pub fn cpo(&self) -> &PartyId {
        &self.cpo
    }

    /// The EMP.
    #[must_use]
    pub fn emp(&self) -> &PartyId {
        &self.emp
    }

    /// The month.
    #[must_use]
    pub fn month(&self) -> Month {
        self.month
    }

    /// The records, by SessionID.
    #[must_use]
    pub fn lines(&self) -> &[StatementLine] {
        &self.lines
    }

    /// What both sides sign: the SHA-256 over parties, month and the CSV. Equal statements have equal digests.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What counts.
    #[must_use]
    pub fn total(&self) -> Total {
        self.sum(Standing::Delivered)
    }

    /// What the EMP's backend rejected.
    #[must_use]
    pub fn rejected(&self) -> Total {
        self.sum(Standing::Rejected)
    }

    fn sum(&self, standing: Standing) -> Total {
        let mut total = Total::default();
        self.lines.iter().filter(|line| line.standing == standing).for_each(|line| total.add(line));
        total
    }

    fn counting(&self) -> impl Iterator<Item = &StatementLine> {
        self.lines.iter().filter(|line| line.standing == Standing::Delivered)
    }

    /// What counts by product; those without one under the empty name.
    #[must_use]
    pub fn by_product(&self) -> BTreeMap<&str, Total> {
        let mut totals = BTreeMap::<&str, Total>::new();
        for line in self.counting() {
            totals.entry(line.product.as_deref().unwrap_or_default()).or_default().add(line);
        }
        totals
    }

    /// What counts by day, UTC, from the first of the month on; days without a record are zero.
    #[must_use]
    pub fn by_day(&self) -> Vec<Total> {
        let mut days = vec![Total::default(); self.month.days()];
        for line in self.counting() {
            if let Some(day) = days.get_mut(self.month.day_of(line.ended_unix_ms)) {
                day.add(line);
            }
        }
        days
    }

    fn hash(&self) -> Digest {
        let mut hash = Sha256::new();
        for text in [self.cpo.to_text(), self.emp.to_text(), self.month.to_string()] {
            hash.update(text.as_bytes());
            hash.update(b"\n");
        }
        hash.update(self.to_csv().as_bytes());
        hash.finalize().into()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
