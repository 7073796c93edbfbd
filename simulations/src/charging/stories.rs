//! One charge from its start to its end, as the backends of both sides know it.

use std::collections::{BTreeMap, BTreeSet};

use chargemesh::engine::ChargeRequest;
use chargemesh::engine::SessionOperation;

use super::draw::{How, Start};
use super::play::Play;

/// A call of a backend: number of the charge, and of the call in it. It travels as the partner's session reference.
pub(super) type Marker = (u32, u32);

/// One charge.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) start: Start,
    /// How the asked backend behaves, by the call that leads to it.
    pub(super) plays: BTreeMap<u32, Play>,
    pub(super) calls: u32,
    /// The session as the EMP's backend knows it.
    pub(super) emp_session: Option<String>,
    /// ... and as the CPO's does.
    pub(super) cpo_session: Option<String>,
    /// The sessions of which the backend that began it heard a yes, in answer to its call.
    pub(super) heard_yes: BTreeSet<String>,
    /// All sessions of which the EMP's backend heard that they run, by whatever way.
    pub(super) emp_knows: BTreeSet<String>,
    /// Sessions whose start the CPO's backend heard, and may have carried out: whatever it said, or did not say.
    pub(super) began: BTreeSet<String>,
    /// Sessions to which the CPO's backend said yes, and its node took the answer.
    pub(super) said_yes: BTreeMap<String, u64>,
    /// Sessions of which the CPO's backend was asked to stop the charging.
    pub(super) stopped: BTreeSet<String>,
    /// Sessions of which the CPO's backend itself said that they live.
    pub(super) shown_alive: BTreeSet<String>,
    /// Sessions whose start the CPO's backend is thinking about.
    pub(super) pending: BTreeSet<String>,
}

impl Story {
    pub(super) fn new(start: Start) -> Story {
        Story {
            plays: BTreeMap::new(),
            start,
            calls: 0,
            emp_session: None,
            cpo_session: None,
            heard_yes: BTreeSet::new(),
            emp_knows: BTreeSet::new(),
            began: BTreeSet::new(),
            said_yes: BTreeMap::new(),
            stopped: BTreeSet::new(),
            shown_alive: BTreeSet::new(),
            pending: BTreeSet::new(),
        }
    }

    /// What it begins with.
    pub(super) fn operation(&self) -> SessionOperation {
        match self.start.how {
            How::Remote => SessionOperation::RemoteStart,
            How::Reservation => SessionOperation::ReservationStart,
            How::Card | How::Contract => SessionOperation::AuthorizeStart,
        }
    }

    /// Whether the CPO's backend begins it.
    pub(super) fn by_card(&self) -> bool {
        matches!(self.start.how, How::Card | How::Contract)
    }

    /// The next call, and how the backend behaves that it leads to.
    pub(super) fn next_call(&mut self, play: Play) -> Marker {
        let number = self.calls;
        self.calls += 1;
        self.plays.insert(number, play);
        (self.start.charge, number)
    }
}

/// A marker as text.
pub(super) fn marker_text((charge, call): Marker) -> String {
    format!("c{charge}.{call}")
}

fn read_marker(text: &str) -> Option<Marker> {
    let (charge, call) = text.strip_prefix('c')?.split_once('.')?;
    Some((charge.parse().ok()?, call.parse().ok()?))
}

/// The call that a message comes from, by the reference of the side that asks; and that of the other side.
pub(super) fn markers_of(request: &ChargeRequest) -> (Option<Marker>, Option<Marker>) {
    let partners = request.partners();
    let read = |reference: &Option<chargemesh::oicp::charging::PartnerSessionId>| {
        reference.as_ref().and_then(|reference| read_marker(reference.as_str()))
    };
    (read(&partners.cpo), read(&partners.emp))
}
