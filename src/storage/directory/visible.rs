//! Who sees what: records that everybody sees, and those of closed audiences that a puller is a member of.

use rusqlite::{Connection, Result};

use super::CommitVersion;
use crate::identity::PartyId;
use crate::storage::value::audience;

/// `visible` of a record that everybody sees.
pub(super) const PUBLIC: i64 = 1;

/// `visible` of a record that the audience of its feed sees.
pub(super) const CLOSED: i64 = 2;

/// The feeds of closed audiences that a puller is a member of. For most there are none, and what is asked of the
/// database is then what it would be without audiences.
#[derive(Debug, Default)]
pub(super) struct Closed {
    feeds: Vec<i64>,
    /// The same as text for `IN (...)`.
    list: String,
}

impl Closed {
    /// Looks them up; without a puller there are none.
    pub(super) fn of(connection: &Connection, puller: Option<&PartyId>) -> Result<Closed> {
        let Some(puller) = puller else { return Ok(Closed::default()) };
        let mut statement =
            connection.prepare_cached("SELECT id, audience FROM feeds WHERE audience != '' ORDER BY id")?;
        let mut rows = statement.query([])?;
        let mut feeds = Vec::new();
        while let Some(row) = rows.next()? {
            if audience(row, 1)?.admits(puller) {
                feeds.push(row.get(0)?);
            }
        }
        let list = feeds.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        Ok(Closed { feeds, list })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.feeds.is_empty()
    }

    pub(super) fn contains(&self, feed: i64) -> bool {
        self.feeds.binary_search(&feed).is_ok()
    }

    /// The feeds as a list for SQL.
    pub(super) fn list(&self) -> &str {
        &self.list
    }

    /// A condition on `data d`: the puller may see the version, whenever it was valid.
    pub(super) fn may_see(&self) -> String {
        if self.is_empty() {
            return format!("d.visible = {PUBLIC}");
        }
        format!("(d.visible = {PUBLIC} OR d.visible = {CLOSED} AND d.feed IN ({}))", self.list)
    }

    /// The keys of what the puller sees as a member in a version, as a question.
    pub(super) fn keys(&self, CommitVersion(version): CommitVersion) -> String {
        format!(
            "SELECT c.key FROM data c INDEXED BY data_closed WHERE c.visible = {CLOSED} AND c.feed IN ({})
             AND c.born <= {version} AND (c.died IS NULL OR c.died > {version})",
            self.list
        )
    }

    /// As [`Closed::may_see`], but of one EVSE the member's record alone.
    pub(super) fn sees(&self, version: CommitVersion) -> String {
        if self.is_empty() {
            return format!("d.visible = {PUBLIC}");
        }
        format!(
            "(d.visible = {PUBLIC} AND d.key NOT IN ({}) OR d.visible = {CLOSED} AND d.feed IN ({}))",
            self.keys(version),
            self.list
        )
    }
}
