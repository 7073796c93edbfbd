//! What the facade asks of the directory's read side: pages, deltas and statuses, each from one snapshot.
//!
//! The shapes are OICP's own, so that the read side can be tested and changed without the facade. Storage's
//! read handle is put behind it by the composition root.

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::identity::PartyId;
use crate::oicp::conform::DeltaType;
use crate::oicp::evse_status::EvseStatus;
use crate::oicp::id::EvseKey;
use crate::oicp::page::PageRequest;
use crate::oicp::pull::{PullEvseData, SearchCenter};
use crate::storage::{CdrFacts, CdrFilter, CdrPull, CdrSubject, PriceQuery, PriceRow, StoredCdr};

/// A commit of this node's directory; pages are read as of one (`decisions.md` 13).
pub type Version = u64;

/// Which statuses are asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum StatusQuestion {
    /// All that match, ordered by operator.
    Matching {
        /// Only this status.
        status: Option<EvseStatus>,
        /// Only of EVSEs around a point.
        center: Option<SearchCenter>,
        /// Only of these publishing operators (canonical ids); empty for all.
        operators: Vec<String>,
    },
    /// Those of the keys that are known, in any order; at most 100 keys (RULES 14).
    Keys(Vec<EvseKey>),
}

/// One record of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct DataRow {
    /// The record as its publisher sent it.
    pub payload: Bytes,
    /// OperatorID of the publisher, as it spells it.
    pub operator_id: String,
    /// OperatorName of the publisher; empty if unknown.
    pub operator_name: String,
    /// When this node committed the version, in unix milliseconds.
    pub last_update_unix_ms: u64,
    /// What changed, in a delta.
    pub delta: Option<DeltaType>,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataPage {
    /// The records of the page, ordered by key.
    pub rows: Vec<DataRow>,
    /// Records of all pages.
    pub total: u64,
    /// The version that the page shows.
    pub version: Version,
}

/// One status.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusRow {
    /// The EVSE.
    pub key: EvseKey,
    /// Its EvseID as its operator spells it.
    pub evse_id: String,
    /// OperatorID of the publisher, as it spells it.
    pub operator_id: String,
    /// OperatorName of the publisher; empty if unknown.
    pub operator_name: String,
    /// The status.
    pub status: EvseStatus,
    /// When the publisher says that it changed, in unix milliseconds.
    pub observed_at_unix_ms: u64,
    /// When the publisher last confirmed its feed, in unix milliseconds.
    pub confirmed_at_unix_ms: u64,
}

/// An EVSE as the central hub has it; nobody signed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Bridged {
    /// Its record.
    pub data: DataRow,
    /// Its status, if it is known.
    pub status: Option<StatusRow>,
}

/// Why the directory did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Too many questions wait: try again later.
    #[error("the directory is busy: try again later")]
    Busy,
    /// The question costs more than it may, or its answer is too large.
    #[error("the question is too large: {0}")]
    TooLarge(String),
    /// The store failed.
    #[error("the directory could not be read: {0}")]
    Failed(String),
}

/// The read side of the directory. Only what the puller may see is answered: shadowed records are not, nor is
/// what is for named parties alone and not for it.
pub trait Directory: Send + Sync + 'static {
    /// One page of the records that match the pull's filters (its `last_call_ms` is not looked at), as of a
    /// version or of now.
    fn data_page(
        &self,
        pull: PullEvseData,
        page: PageRequest,
        as_of: Option<Version>,
    ) -> BoxFuture<'_, Result<DataPage, DirectoryError>>;

    /// One page of the net difference between `since_unix_ms` and the version, filtered likewise. `None` if the
    /// history does not reach back so far: then a full pull is due.
    fn data_delta(
        &self,
        pull: PullEvseData,
        since_unix_ms: u64,
        page: PageRequest,
        as_of: Option<Version>,
    ) -> BoxFuture<'_, Result<Option<DataPage>, DirectoryError>>;

    /// Statuses that `puller` may see; without one, those that everybody may.
    fn statuses(
        &self,
        puller: Option<PartyId>,
        question: StatusQuestion,
    ) -> BoxFuture<'_, Result<Vec<StatusRow>, DirectoryError>>;

    /// The prices of operators that a puller may see, by operator and key.
    fn prices(&self, query: PriceQuery) -> BoxFuture<'_, Result<Vec<PriceRow>, DirectoryError>>;

    /// The record of one EVSE that a puller may see, or everybody.
    fn data_of(
        &self,
        key: EvseKey,
        puller: Option<PartyId>,
    ) -> BoxFuture<'_, Result<Option<DataRow>, DirectoryError>>;

    /// What a charge detail record is held against.
    fn cdr_facts(&self, subject: CdrSubject) -> BoxFuture<'_, Result<CdrFacts, DirectoryError>>;

    /// The record of one EVSE that came through the central hub, whoever may see it.
    fn bridged_of(&self, key: EvseKey) -> BoxFuture<'_, Result<Option<Bridged>, DirectoryError>>;

    /// One page of the charge detail records that an EMP of this node received, the oldest first, and how many there
    /// are on all pages.
    fn pulled_cdrs(&self, pull: CdrPull) -> BoxFuture<'_, Result<(u64, Vec<StoredCdr>), DirectoryError>>;

    /// The newest charge detail records that fit a filter.
    fn listed_cdrs(&self, filter: CdrFilter) -> BoxFuture<'_, Result<Vec<StoredCdr>, DirectoryError>>;
}
