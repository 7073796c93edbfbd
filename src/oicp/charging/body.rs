//! Reading one received message: its schema first, then single fields. A mandatory field that cannot be read
//! refuses the message; an optional one counts as absent in tolerant reading (strict reading has refused it).

use super::identification::{Identification, Media, given};
use super::session_id::{PartnerSessions, SessionId};
use crate::oicp::check;
use crate::oicp::decimal::Decimal;
use crate::oicp::finding::{Fault, Finding, Severity, VALIDATION_ERRORS_MAX};
use crate::oicp::id::{EvseId, OperatorId, ProviderId};
use crate::oicp::json::Node;
use crate::oicp::push::FINDINGS_MAX;
use crate::oicp::reading::Reading;
use crate::oicp::schema::Table;
use crate::oicp::time::DateTime;

pub(super) struct Body<'n, 'a> {
    root: &'n Node<'a>,
    table: &'static Table,
    reading: Reading,
}

impl<'n, 'a> Body<'n, 'a> {
    /// Checks the message against its table.
    pub(super) fn open(
        root: &'n Node<'a>,
        table: &'static Table,
        reading: Reading,
    ) -> Result<Body<'n, 'a>, Fault> {
        if !root.is_object() {
            return Err(Fault::single("", "the body has to be an object"));
        }
        if reading == Reading::Strict {
            let broken = check::findings_from(root, table, VALIDATION_ERRORS_MAX, Severity::OwnerMustSupply);
            if !broken.is_empty() {
                return Err(Fault::from_findings(&broken));
            }
        }
        Ok(Body { root, table, reading })
    }

    /// All deviations, at most [`FINDINGS_MAX`].
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = check::findings(self.root, self.table, FINDINGS_MAX);
        let media = self.get("Identification").map_or(0, |node| given(node).count());
        if media > 1 {
            findings.truncate(FINDINGS_MAX.saturating_sub(1));
            let message = format!("{media} media in one message: the first that it may hold counts");
            findings.push(Finding::several_media("/Identification", message));
        }
        findings
    }

    pub(super) fn reading(&self) -> Reading {
        self.reading
    }

    /// The value of a field in any of its spellings.
    pub(super) fn get(&self, name: &str) -> Option<&'n Node<'a>> {
        check::of_field(self.root, self.table.exact(name)?)
    }

    /// A text that is not empty; a number stands for its digits.
    pub(super) fn text(&self, name: &str) -> Option<&'n str> {
        text_of(self.get(name)?)
    }

    pub(super) fn owned_text(&self, name: &str) -> Option<Box<str>> {
        self.text(name).map(Box::from)
    }

    /// The value that a mandatory field has to have.
    pub(super) fn needed<T>(&self, name: &str, value: Option<T>) -> Result<T, Fault> {
        value.ok_or_else(|| {
            let problem = if self.get(name).is_none() { "may not be null" } else { "cannot be read" };
            Fault::single(&format!("/{name}"), format!("{name} {problem}"))
        })
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        SessionId::parse(self.text("SessionID")?)
    }

    pub(super) fn needed_session(&self) -> Result<SessionId, Fault> {
        self.needed("SessionID", self.session())
    }

    pub(super) fn partners(&self) -> PartnerSessions {
        PartnerSessions::read(self.root)
    }

    pub(super) fn operator(&self, name: &str) -> Option<OperatorId> {
        OperatorId::parse(self.text(name)?).ok()
    }

    pub(super) fn needed_operator(&self) -> Result<OperatorId, Fault> {
        self.needed("OperatorID", self.operator("OperatorID"))
    }

    pub(super) fn provider(&self, name: &str) -> Option<ProviderId> {
        ProviderId::parse(self.text(name)?).ok()
    }

    pub(super) fn needed_provider(&self) -> Result<ProviderId, Fault> {
        self.needed("ProviderID", self.provider("ProviderID"))
    }

    pub(super) fn evse(&self) -> Option<EvseId> {
        EvseId::parse(self.text("EvseID")?).ok()
    }

    pub(super) fn needed_evse(&self) -> Result<EvseId, Fault> {
        self.needed("EvseID", self.evse())
    }

    pub(super) fn instant(&self, name: &str) -> Option<DateTime> {
        DateTime::parse(self.text(name)?)
    }

    pub(super) fn needed_instant(&self, name: &str) -> Result<DateTime, Fault> {
        self.needed(name, self.instant(name))
    }

    pub(super) fn decimal(&self, name: &str) -> Option<Decimal> {
        Decimal::read(self.get(name)?)
    }

    pub(super) fn whole_number(&self, name: &str) -> Option<u64> {
        self.decimal(name)?.shortest().parse().ok()
    }

    /// Meter readings in either of their shapes (GAPS A4), at most `readings_max`.
    pub(super) fn readings(&self, name: &str, readings_max: usize) -> Vec<Decimal> {
        let Some(node) = self.get(name) else { return Vec::new() };
        let list = node.field_any_case(&["meterValues"]).unwrap_or(node);
        list.items().iter().filter_map(Decimal::read).take(readings_max).collect()
    }

    pub(super) fn needed_identification(&self, media: Media) -> Result<Identification, Fault> {
        let node = self.needed("Identification", self.get("Identification"))?;
        let read = match self.reading {
            Reading::Strict => Identification::read(node, media),
            Reading::Tolerant => Identification::read_first(node, media),
        };
        read.map_err(|error| error.at("/Identification"))
    }

    /// An identification that nothing depends on: unreadable in tolerant reading means absent.
    pub(super) fn identification(&self, media: Media) -> Result<Option<Identification>, Fault> {
        if self.get("Identification").is_none() {
            return Ok(None);
        }
        match (self.needed_identification(media), self.reading) {
            (Ok(identification), _) => Ok(Some(identification)),
            (Err(_), Reading::Tolerant) => Ok(None),
            (Err(fault), Reading::Strict) => Err(fault),
        }
    }
}

/// A text that is not empty; a number stands for its digits.
pub(super) fn text_of<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    node.as_str().or_else(|| node.number_text()).map(str::trim).filter(|text| !text.is_empty())
}

/// The text of an object's field in any spelling.
pub(super) fn field_text<'n>(node: &'n Node<'_>, name: &str) -> Option<&'n str> {
    text_of(node.field_any_case(&[name])?)
}
