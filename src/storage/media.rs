//! The media that EMPs of this node uploaded, in the ledger: what is needed to answer for them, and no more.

use rusqlite::{Connection, Result, Transaction, params};

use super::error::{Database, StorageError};
use super::value::{Number, damaged};
use crate::identity::PartyId;
use crate::oicp::charging::{HashedPin, MediumKey};
use crate::roaming::change::{KnownMedium, MediumChange};

/// Writes what changed.
pub(super) fn write(tx: &Transaction<'_>, party: &PartyId, changes: &[MediumChange]) -> Result<()> {
    let party = party.to_text();
    let mut put = tx.prepare_cached(
        "INSERT OR REPLACE INTO media(party, medium, pin_hash, until_unix_ms) VALUES (?, ?, ?, ?)",
    )?;
    let mut delete = tx.prepare_cached("DELETE FROM media WHERE party = ? AND medium = ?")?;
    for MediumChange { key, known } in changes {
        match known {
            Some(KnownMedium { pin, until_unix_ms }) => put.execute(params![
                party,
                key.expose(),
                pin.as_ref().map(HashedPin::expose),
                until_unix_ms.map(Number),
            ])?,
            None => delete.execute(params![party, key.expose()])?,
        };
    }
    Ok(())
}

/// All of them.
pub(super) fn all(
    connection: &Connection,
) -> std::result::Result<Vec<(PartyId, MediumKey, KnownMedium)>, StorageError> {
    let read = || -> Result<Vec<(PartyId, MediumKey, KnownMedium)>> {
        let mut statement = connection.prepare("SELECT party, medium, pin_hash, until_unix_ms FROM media")?;
        let rows = statement.query_map([], |row| {
            let party = PartyId::parse(&row.get::<_, String>(0)?).map_err(|error| damaged(0, error))?;
            let key = MediumKey::from_stored(&row.get::<_, String>(1)?);
            let pin = row.get::<_, Option<String>>(2)?.and_then(|text| HashedPin::parse(&text));
            let until = row.get::<_, Option<i64>>(3)?.map(|until| u64::try_from(until).unwrap_or(0));
            Ok((party, key, KnownMedium { pin, until_unix_ms: until }))
        })?;
        rows.collect()
    };
    read().map_err(|error| StorageError::of(Database::Ledger, error))
}
