//! One commit: changes become rows. A changed, deleted, shown or hidden record ends a version; statuses have none.

use std::collections::BTreeMap;

use rusqlite::{CachedStatement, OptionalExtension, Result, Transaction, params};

use super::CommitVersion;
use super::columns::{knows_all_changes, modes_text};
use super::geo::micro_box;
use super::latest::{PRICE, STATUS};
use super::visible::{CLOSED, PUBLIC};
use crate::identity::PartyId;
use crate::oicp::id::EvseKey;
use crate::protocol::{FeedId, Head, Kind, SignedHead};
use crate::roaming::change::{DirectoryChange, RecordChange};
use crate::storage::value::{Number, audience_text, number};

/// A commit in the making.
pub(super) struct Commit<'c> {
    pub(super) tx: &'c Transaction<'c>,
    version: u64,
    pub(super) at_unix_ms: u64,
    last_row: u64,
    shown: i64,
    touched: bool,
    /// Numbers of the changes since the stored head, by feed: tells whether all are known.
    news: BTreeMap<i64, Vec<u64>>,
}

const INSERT_DATA: &str = "INSERT INTO data(id, feed, key, seq, at_unix_ms, hash, visible, born, evse_id, lat, lon, \
     country, accessibility, calibration, renewable, hubject, open_24_hours, auth_modes) \
     VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(feed, key) WHERE died IS NULL DO NOTHING";

const INSERT_PLACE: &str = "INSERT INTO geo(id, lon_min, lon_max, lat_min, lat_max) VALUES (?, ?, ?, ?, ?)";

/// What inserts a version, looked up once for many records.
struct Inserts<'c> {
    data: CachedStatement<'c>,
    payload: CachedStatement<'c>,
    place: CachedStatement<'c>,
}

impl<'c> Inserts<'c> {
    fn prepare(tx: &'c Transaction<'c>) -> Result<Inserts<'c>> {
        Ok(Inserts {
            data: tx.prepare_cached(INSERT_DATA)?,
            payload: tx.prepare_cached("INSERT INTO payloads(id, body) VALUES (?, ?)")?,
            place: tx.prepare_cached(INSERT_PLACE)?,
        })
    }
}

pub(super) struct Feed {
    pub(super) id: i64,
    /// What `visible` is for a record of this feed that is shown.
    level: i64,
    /// Incarnation and seq of the stored head.
    pub(super) head: Option<(u64, u64)>,
}

impl Feed {
    pub(super) fn visible(&self, visible: bool) -> i64 {
        if visible { self.level } else { 0 }
    }
}

/// A live version that has just ended.
struct Ended {
    id: i64,
    visible: i64,
    placed: bool,
}

impl<'c> Commit<'c> {
    pub(super) fn begin(tx: &'c Transaction<'c>, now_unix_ms: u64) -> Result<Commit<'c>> {
        let last = tx
            .prepare_cached(
                "SELECT version, at_unix_ms, last_row, shown FROM commits ORDER BY version DESC LIMIT 1",
            )?
            .query_row([], |row| Ok((number(row, 0)?, number(row, 1)?, number(row, 2)?, row.get(3)?)))
            .optional()?;
        let (version, at_unix_ms, last_row, shown) = last.unwrap_or((0, 0, 0, 0));
        // A clock that is set back must not reorder history.
        let at_unix_ms = at_unix_ms.max(now_unix_ms);
        Ok(Commit {
            tx,
            version: version + 1,
            at_unix_ms,
            last_row,
            shown,
            touched: false,
            news: BTreeMap::new(),
        })
    }

    /// Writes the commit's own row if the view can have changed, and returns the version of the view.
    pub(super) fn finish(self) -> Result<CommitVersion> {
        self.tx
            .prepare_cached("INSERT OR IGNORE INTO meta(name, value) VALUES ('history_from_unix_ms', ?)")?
            .execute([Number(self.at_unix_ms)])?;
        if !self.touched {
            return Ok(CommitVersion(self.version - 1));
        }
        self.tx
            .prepare_cached("INSERT INTO commits(version, at_unix_ms, last_row, shown) VALUES (?, ?, ?, ?)")?
            .execute(params![
                Number(self.version),
                Number(self.at_unix_ms),
                Number(self.last_row),
                self.shown
            ])?;
        Ok(CommitVersion(self.version))
    }

    /// The version in the making; there will be one.
    pub(super) fn touch(&mut self) -> u64 {
        self.touched = true;
        self.version
    }

    pub(super) fn apply(&mut self, change: &DirectoryChange) -> Result<()> {
        match change {
            DirectoryChange::Chain { delegation, chain } => {
                self.run(
                    "INSERT OR IGNORE INTO chains(hash, credential, delegation) VALUES (?, ?, ?)",
                    params![delegation, chain.credential, chain.delegation],
                )?;
                Ok(())
            }
            DirectoryChange::Records { feed, records } => self.records(feed, records),
            DirectoryChange::Visibility { feed, key, visible } => self.visibility(feed, key, *visible),
            DirectoryChange::Head { head, signed, received_unix_ms } => {
                self.head(head, signed, *received_unix_ms)
            }
            DirectoryChange::Dropped { feed } => {
                let feed = self.feed(feed)?;
                self.drop_feed(feed.id)
            }
            DirectoryChange::Equivocation { feed, first, second } => {
                let feed = self.feed(feed)?;
                self.run(
                    "INSERT OR IGNORE INTO equivocations(feed, first, second) VALUES (?, ?, ?)",
                    params![feed.id, first.as_bytes().as_ref(), second.as_bytes().as_ref()],
                )?;
                Ok(())
            }
            DirectoryChange::Conflict { key, kind, shown, claimed_by } => {
                self.conflict(key, *kind, shown.as_ref(), claimed_by)
            }
        }
    }

    fn records(&mut self, feed: &FeedId, records: &[RecordChange]) -> Result<()> {
        let row = self.feed(feed)?;
        let known_seq = row.head.map_or(0, |(_, seq)| seq);
        let news = self.news.entry(row.id).or_default();
        news.extend(records.iter().map(|record| record.seq).filter(|seq| *seq > known_seq));
        match feed.kind {
            Kind::Data => self.data_records(&row, records),
            Kind::Status => self.latest_records(&STATUS, &row, records),
            Kind::Pricing => self.latest_records(&PRICE, &row, records),
        }
    }

    fn data_records(&mut self, feed: &Feed, records: &[RecordChange]) -> Result<()> {
        let mut inserts = Inserts::prepare(self.tx)?;
        let mut buried = self.any("SELECT EXISTS(SELECT 1 FROM tombstones WHERE feed = ?)", feed.id)?;
        for record in records {
            self.touched = true;
            // A cold sync fills a feed that has no head yet: there is no version to end, and to look for one
            // costs as much as the insert.
            if feed.head.is_some() || record.value.is_none() {
                self.end(feed.id, &record.key)?;
            }
            let Some(value) = &record.value else {
                self.bury(feed.id, record)?;
                buried = true;
                continue;
            };
            if buried {
                self.unbury(feed.id, &record.key)?;
            }
            if !self.insert(&mut inserts, feed, record, value)? {
                // Twice in one feed: the later one counts.
                self.end(feed.id, &record.key)?;
                self.insert(&mut inserts, feed, record, value)?;
            }
        }
        Ok(())
    }

    /// Inserts a version; false, and nothing is done, if the record has a live one.
    fn insert(
        &mut self,
        inserts: &mut Inserts<'_>,
        feed: &Feed,
        record: &RecordChange,
        value: &[u8],
    ) -> Result<bool> {
        let id = Number(self.last_row + 1);
        let summary = record.summary.as_deref();
        let position = summary.and_then(|summary| summary.position);
        let inserted = inserts.data.execute(params![
            id,
            feed.id,
            record.key.as_str(),
            Number(record.seq),
            Number(record.at_unix_ms),
            record.hash,
            feed.visible(record.visible),
            Number(self.version),
            summary.map(|summary| &*summary.evse_id),
            position.map(|position| position.lat),
            position.map(|position| position.lon),
            summary.and_then(|summary| summary.country.as_deref()),
            summary.and_then(|summary| summary.accessibility.as_deref()),
            summary.and_then(|summary| summary.calibration_law.as_deref()),
            summary.and_then(|summary| summary.renewable_energy),
            summary.and_then(|summary| summary.hubject_compatible),
            summary.and_then(|summary| summary.open_24_hours),
            summary.map(modes_text),
        ])?;
        if inserted == 0 {
            return Ok(false);
        }
        self.last_row += 1;
        inserts.payload.execute(params![id, value])?;
        if record.visible {
            self.show(
                &mut inserts.place,
                feed.level,
                self.last_row,
                position.map(|position| (position.lat, position.lon)),
            )?;
        }
        Ok(true)
    }

    /// A version has entered the view.
    fn show(
        &mut self,
        insert: &mut CachedStatement<'_>,
        level: i64,
        id: u64,
        position: Option<(f64, f64)>,
    ) -> Result<()> {
        self.shown += i64::from(level == PUBLIC);
        if let Some((lat, lon)) = position {
            let place = micro_box(lat, lon);
            insert.execute(params![
                Number(id),
                place.lon_min,
                place.lon_max,
                place.lat_min,
                place.lat_max
            ])?;
        }
        Ok(())
    }

    /// Ends the live version of a record, if there is one.
    fn end(&mut self, feed: i64, key: &EvseKey) -> Result<Option<Ended>> {
        let ended = self
            .tx
            .prepare_cached(
                "UPDATE data SET died = ? WHERE feed = ? AND key = ? AND died IS NULL
                 RETURNING id, visible, lat IS NOT NULL",
            )?
            .query_row(params![Number(self.version), feed, key.as_str()], |row| {
                Ok(Ended { id: row.get(0)?, visible: row.get(1)?, placed: row.get(2)? })
            })
            .optional()?;
        if let Some(ended) = &ended {
            self.touched = true;
            self.shown -= i64::from(ended.visible == PUBLIC);
            if ended.visible != 0 && ended.placed {
                self.run("DELETE FROM geo WHERE id = ?", [ended.id])?;
            }
        }
        Ok(ended)
    }

    pub(super) fn bury(&mut self, feed: i64, record: &RecordChange) -> Result<()> {
        self.run(
            "INSERT OR REPLACE INTO tombstones(feed, key, seq, at_unix_ms, kept_since_unix_ms)
             VALUES (?, ?, ?, ?, ?)",
            params![
                feed,
                record.key.as_str(),
                Number(record.seq),
                Number(record.at_unix_ms),
                Number(self.at_unix_ms)
            ],
        )?;
        Ok(())
    }

    pub(super) fn unbury(&mut self, feed: i64, key: &EvseKey) -> Result<()> {
        self.run("DELETE FROM tombstones WHERE feed = ? AND key = ?", params![feed, key.as_str()])?;
        Ok(())
    }

    fn visibility(&mut self, feed: &FeedId, key: &EvseKey, visible: bool) -> Result<()> {
        let row = self.feed(feed)?;
        let visible = row.visible(visible);
        match feed.kind {
            Kind::Data => {}
            Kind::Status => return self.show_latest(&STATUS, row.id, key, visible),
            Kind::Pricing => return self.show_latest(&PRICE, row.id, key, visible),
        }
        let differs =
            "SELECT EXISTS(SELECT 1 FROM data WHERE feed = ? AND key = ? AND died IS NULL AND visible != ?)";
        let differs: bool = self
            .tx
            .prepare_cached(differs)?
            .query_row(params![row.id, key.as_str(), visible], |row| row.get(0))?;
        if !differs {
            return Ok(());
        }
        let Some(old) = self.end(row.id, key)? else { return Ok(()) };
        self.reborn(old.id, visible)
    }

    /// The version that has just ended goes on as a new one.
    fn reborn(&mut self, old: i64, visible: i64) -> Result<()> {
        self.last_row += 1;
        let id = Number(self.last_row);
        let position = self
            .tx
            .prepare_cached(
                "INSERT INTO data(id, feed, key, seq, at_unix_ms, hash, visible, born, evse_id, lat, lon, country,
                    accessibility, calibration, renewable, hubject, open_24_hours, auth_modes)
                 SELECT ?1, feed, key, seq, at_unix_ms, hash, ?2, ?3, evse_id, lat, lon, country,
                    accessibility, calibration, renewable, hubject, open_24_hours, auth_modes
                 FROM data WHERE id = ?4 RETURNING lat, lon",
            )?
            .query_row(params![id, visible, Number(self.version), old], |row| {
                Ok(row.get::<_, Option<f64>>(0)?.zip(row.get::<_, Option<f64>>(1)?))
            })?;
        self.run(
            "INSERT INTO payloads(id, body) SELECT ?, body FROM payloads WHERE id = ?",
            params![id, old],
        )?;
        if visible == 0 {
            return Ok(());
        }
        let mut insert = self.tx.prepare_cached(INSERT_PLACE)?;
        self.show(&mut insert, visible, self.last_row, position)
    }

    fn head(&mut self, head: &Head, signed: &SignedHead, received_unix_ms: u64) -> Result<()> {
        let feed = self.feed(&head.feed)?;
        let mut news = self.news.remove(&feed.id).unwrap_or_default();
        let complete = knows_all_changes(feed.head, head, &mut news);
        self.run(
            "UPDATE feeds SET epoch = ?, incarnation = ?, seq = ?, count = ?, root = ?, created_unix_ms = ?,
                base_seq = ?, body = ?, operator_id = ?, operator_name = ?, signed = ?, received_unix_ms = ?,
                horizon_seq = iif(?, horizon_seq, ?)
             WHERE id = ?",
            params![
                Number(head.epoch),
                Number(head.incarnation),
                Number(head.seq),
                Number(head.count),
                head.root,
                Number(head.created_unix_ms),
                Number(head.base_seq),
                head.body,
                head.operator_id,
                head.operator_name,
                signed.as_bytes().as_ref(),
                Number(received_unix_ms),
                complete,
                Number(head.seq),
                feed.id,
            ],
        )?;
        Ok(())
    }

    /// Everything of a feed goes; its data records stay in the history.
    pub(super) fn drop_feed(&mut self, feed: i64) -> Result<()> {
        self.news.remove(&feed);
        let ended = self
            .tx
            .prepare_cached(
                "SELECT count(*), coalesce(sum(visible = 1), 0) FROM data WHERE feed = ? AND died IS NULL",
            )?
            .query_row([feed], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        if ended.0 > 0 {
            self.touched = true;
            self.shown -= ended.1;
            self.run(
                "DELETE FROM geo WHERE id IN
                    (SELECT id FROM data WHERE feed = ? AND died IS NULL AND visible > 0 AND lat IS NOT NULL)",
                [feed],
            )?;
            self.run(
                "UPDATE data SET died = ? WHERE feed = ? AND died IS NULL",
                params![Number(self.version), feed],
            )?;
        }
        self.run("DELETE FROM status WHERE feed = ?", [feed])?;
        self.run("DELETE FROM price WHERE feed = ?", [feed])?;
        self.run("DELETE FROM tombstones WHERE feed = ?", [feed])?;
        self.run(
            "UPDATE feeds SET signed = NULL, seq = NULL, incarnation = NULL, horizon_seq = 0 WHERE id = ?",
            [feed],
        )?;
        Ok(())
    }

    fn conflict(
        &mut self,
        key: &EvseKey,
        kind: Kind,
        shown: Option<&PartyId>,
        claimed_by: &[PartyId],
    ) -> Result<()> {
        if claimed_by.len() < 2 {
            self.run("DELETE FROM conflicts WHERE key = ? AND kind = ?", params![key.as_str(), kind.code()])?;
            return Ok(());
        }
        let claimed_by: Vec<String> = claimed_by.iter().map(PartyId::to_text).collect();
        self.run(
            "INSERT OR REPLACE INTO conflicts(key, kind, shown, claimed_by) VALUES (?, ?, ?, ?)",
            params![key.as_str(), kind.code(), shown.map(PartyId::to_text), claimed_by.join("\n")],
        )?;
        Ok(())
    }

    fn feed(&mut self, feed: &FeedId) -> Result<Feed> {
        let (party, audience) = (feed.party.to_text(), audience_text(&feed.audience));
        let level = if feed.audience.is_public() { PUBLIC } else { CLOSED };
        let found = self
            .tx
            .prepare_cached(
                "SELECT id, incarnation, seq, signed IS NOT NULL FROM feeds
                 WHERE party = ? AND kind = ? AND audience = ?",
            )?
            .query_row(params![party, feed.kind.code(), audience], |row| {
                let head = if row.get(3)? { Some((number(row, 1)?, number(row, 2)?)) } else { None };
                Ok(Feed { id: row.get(0)?, level, head })
            })
            .optional()?;
        match found {
            Some(feed) => Ok(feed),
            None => {
                self.run(
                    "INSERT INTO feeds(party, kind, audience) VALUES (?, ?, ?)",
                    params![party, feed.kind.code(), audience],
                )?;
                Ok(Feed { id: self.tx.last_insert_rowid(), level, head: None })
            }
        }
    }

    pub(super) fn any(&self, question: &str, feed: i64) -> Result<bool> {
        self.tx.prepare_cached(question)?.query_row([feed], |row| row.get(0))
    }

    pub(super) fn run(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize> {
        self.tx.prepare_cached(sql)?.execute(params)
    }
}
