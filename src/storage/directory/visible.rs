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

#[cfg(test)]
mod tests {
    use super::super::{Area, DataPage, DataQuery, Delta, StatusQuery};
    use crate::identity::PartyId;
    use crate::protocol::{Audience, FeedId, Have, Kind, Members, SyncRequest};
    use crate::storage::testing::{
        Opened, feed, gone, head_change, key, memory, open, record, records, root, status, visibility, wait,
    };

    const PLACE: Option<(f64, f64)> = Some((47.0, 8.0));

    fn emp(id: &str) -> Option<PartyId> {
        Some(PartyId::parse(&format!("EMP:{id}")).unwrap())
    }

    fn closed(kind: Kind) -> FeedId {
        let members = Members::new([emp("DEMEM").unwrap(), emp("DETWO").unwrap()]).unwrap();
        FeedId { audience: Audience::Named(members), ..feed("CH*ABC", kind) }
    }

    /// 1 and 2 are public, 2 (another party's claim) and 3 are for members.
    fn opened() -> Opened {
        let mut opened = open(&memory());
        let (public, members) = (feed("CH*XYZ", Kind::Data), closed(Kind::Data));
        let kept = vec![record(2, 1, "two'", PLACE), record(3, 2, "three", PLACE)];
        let sum = root(&kept);
        let changes = [
            records(&public, vec![record(1, 1, "one", PLACE), record(2, 2, "two", PLACE)]),
            head_change(&public, 1, 2, [0; 32]),
            records(&members, kept),
            head_change(&members, 1, 2, sum),
            records(
                &feed("CH*XYZ", Kind::Status),
                vec![status(1, 1, "Available"), status(2, 2, "Available")],
            ),
            records(&closed(Kind::Status), vec![status(2, 1, "Occupied"), status(3, 2, "Occupied")]),
        ];
        opened.directory.commit(&changes, 1_000_000).unwrap();
        opened
    }

    fn texts(page: &DataPage) -> Vec<String> {
        assert!(page.rows.len() as u64 <= page.total);
        page.rows.iter().map(|row| String::from_utf8(row.payload.to_vec()).unwrap()).collect()
    }

    fn pulled(opened: &Opened, query: DataQuery) -> (Vec<String>, u64) {
        let page = wait(opened.reader.data_page(query)).unwrap();
        (texts(&page), page.total)
    }

    fn all(puller: Option<PartyId>) -> DataQuery {
        DataQuery { size: 2_000, puller, ..DataQuery::default() }
    }

    #[test]
    fn members_see_their_records_and_of_one_evse_theirs_alone() {
        let opened = opened();
        let area = Some(Area { lat: 47.0, lon: 8.0, radius_km: 1.0 });
        for (puller, seen) in [
            (None, vec!["one", "two"]),
            (emp("DEOTH"), vec!["one", "two"]),
            (emp("DEMEM"), vec!["one", "two'", "three"]),
            (emp("DETWO"), vec!["one", "two'", "three"]),
            (Some(PartyId::parse("CPO:DEMEM").unwrap()), vec!["one", "two"]),
        ] {
            let count = seen.len() as u64;
            let seen: Vec<String> = seen.into_iter().map(str::to_owned).collect();
            assert_eq!(pulled(&opened, all(puller.clone())), (seen.clone(), count), "{puller:?}");
            let around = DataQuery { center: area, ..all(puller.clone()) };
            assert_eq!(pulled(&opened, around), (seen.clone(), count), "{puller:?} around a place");
            let paged: Vec<String> = (0..4)
                .flat_map(|page| pulled(&opened, DataQuery { page, size: 1, ..all(puller.clone()) }).0)
                .collect();
            assert_eq!(paged, seen, "{puller:?} page by page");
        }
        let mut even = all(emp("DEMEM"));
        even.filter.renewable_energy = Some(true);
        assert_eq!(pulled(&opened, even), (vec!["two'".to_owned()], 1), "filters count for both");
        assert_eq!(wait(opened.reader.counts()).unwrap().view_evses, 2, "what everybody sees");
        for (evse, puller, seen) in [
            (3, None, None),
            (3, emp("DEOTH"), None),
            (3, emp("DEMEM"), Some("three")),
            (2, None, Some("two")),
            (2, emp("DEMEM"), Some("two'")),
            (1, emp("DEMEM"), Some("one")),
        ] {
            let row = wait(opened.reader.data_record(key(evse), puller.clone())).unwrap();
            let text = row.map(|row| String::from_utf8(row.payload.to_vec()).unwrap());
            assert_eq!(text.as_deref(), seen, "{evse} to {puller:?}");
        }
    }

    #[test]
    fn statuses_likewise() {
        let opened = opened();
        let area = Some(Area { lat: 47.0, lon: 8.0, radius_km: 1.0 });
        let of = |query: StatusQuery| {
            let rows = wait(opened.reader.statuses(query)).unwrap();
            let mut rows: Vec<_> = rows.into_iter().map(|row| (row.evse_id, row.status)).collect();
            rows.sort();
            rows.into_iter().map(|(id, status)| format!("{} {status}", &id[11..])).collect::<Vec<_>>()
        };
        for (puller, seen) in [
            (None, vec!["01 Available", "02 Available"]),
            (emp("DEOTH"), vec!["01 Available", "02 Available"]),
            (emp("DEMEM"), vec!["01 Available", "02 Occupied", "03 Occupied"]),
        ] {
            let query = |center| StatusQuery { puller: puller.clone(), center, ..StatusQuery::default() };
            assert_eq!(of(query(None)), seen, "{puller:?}");
            assert_eq!(of(query(area)), seen, "{puller:?} around a place");
            let by_key =
                wait(opened.reader.statuses_by_key(vec![key(1), key(2), key(3)], puller.clone())).unwrap();
            let by_key: Vec<_> = by_key.iter().map(|(_, row)| &row.status).collect();
            assert_eq!(by_key.len(), seen.len(), "{puller:?}");
            assert!(by_key.iter().zip(&seen).all(|(status, seen)| seen.ends_with(&***status)), "{puller:?}");
        }
    }

    #[test]
    fn a_delta_is_the_difference_of_what_the_puller_sees() {
        let mut opened = opened();
        let (public, members) = (feed("CH*XYZ", Kind::Data), closed(Kind::Data));
        let delta = |opened: &Opened, since_ms: u64, puller| {
            let page = wait(opened.reader.data_delta(since_ms + 60_000, all(puller))).unwrap().unwrap();
            let kinds: Vec<Delta> = page.rows.iter().map(|row| row.delta.unwrap()).collect();
            texts(&page).into_iter().zip(kinds).collect::<Vec<_>>()
        };
        let one = |text: &str, delta| vec![(text.to_owned(), delta)];
        // The public record under the members' changes and goes: members see no difference.
        opened.directory.commit(&[records(&public, vec![record(2, 3, "new", PLACE)])], 2_000_000).unwrap();
        opened.directory.commit(&[records(&public, vec![gone(2, 4)])], 3_000_000).unwrap();
        assert_eq!(delta(&opened, 1_000_000, emp("DEMEM")), []);
        assert_eq!(delta(&opened, 1_000_000, None), one("two", Delta::Delete));
        // The members' goes to the public.
        let moved =
            [records(&members, vec![gone(3, 3)]), records(&public, vec![record(3, 5, "three", PLACE)])];
        opened.directory.commit(&moved, 4_000_000).unwrap();
        assert_eq!(delta(&opened, 3_000_000, emp("DEMEM")), one("three", Delta::Update));
        assert_eq!(delta(&opened, 3_000_000, emp("DEOTH")), one("three", Delta::Insert));
        opened.directory.commit(&[visibility(&members, 2, false)], 5_000_000).unwrap();
        assert_eq!(delta(&opened, 4_000_000, emp("DEMEM")), one("two'", Delta::Delete));
        assert_eq!(delta(&opened, 4_000_000, None), []);
        assert_eq!(pulled(&opened, all(emp("DEMEM"))).0, ["one", "three"]);
    }

    #[test]
    fn a_repair_names_the_audience_and_the_feed_outlives_a_start() {
        let opened = opened();
        let answer = |feed: FeedId| {
            wait(opened.reader.feed_answer(SyncRequest { feed, have: Have::Nothing })).unwrap()
        };
        assert_eq!(answer(closed(Kind::Data)).map(|answer| answer.chunks.len()), Some(1));
        assert!(answer(feed("CH*ABC", Kind::Data)).is_none(), "there is no public one");
        let restored = wait(opened.reader.restore_directory()).unwrap();
        let closed = restored.iter().find(|feed| feed.feed == closed(Kind::Data)).unwrap();
        assert_eq!((closed.entries.len(), closed.entries.iter().all(|entry| entry.visible)), (2, true));
    }
}
