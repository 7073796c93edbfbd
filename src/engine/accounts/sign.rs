//! A statement that both sides sign: each says its digest in an envelope of its own, and keeps that of the other.

use super::serve::mark_of;
use super::{AccountError, Accounts};
use crate::identity::PartyId;
use crate::protocol::BooksMessage;
use crate::roaming::change::{LedgerChange, SignedStatement};
use crate::roaming::statement::Month;

/// What became of an attempt to agree on a statement.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CoSigned {
    /// Whether both sides have the same, and both signatures are kept here.
    pub agreed: bool,
    /// The month, as in `2026-11`.
    pub month: String,
    /// Our digest in hex.
    pub digest: String,
    /// How many records count here.
    pub records: u64,
    /// Their energy in kWh.
    pub energy_kwh: String,
    /// The partner's digest in hex.
    pub partner_digest: String,
    /// How many records count there.
    pub partner_records: u64,
    /// Their energy in kWh.
    pub partner_energy_kwh: String,
}

/// A statement that both sides signed.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SignedView {
    /// The digest in hex.
    pub digest: String,
    /// How many records count.
    pub records: u64,
    /// Their energy in kWh.
    pub energy_kwh: String,
    /// When the second side signed it, in unix milliseconds.
    pub agreed_unix_ms: u64,
    /// The envelope in which we signed it, in hex; empty if only the partner asked.
    pub signed_by_us: String,
    /// ... and that of the partner.
    pub signed_by_partner: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Accounts {
    /// The statements of a month that both sides signed, the newest first.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn signed(
        &self,
        ours: PartyId,
        partner: PartyId,
        month: Month,
    ) -> Result<Vec<SignedView>, AccountError> {
        let view = |signed: SignedStatement| SignedView {
            digest: hex(&signed.digest),
            records: signed.records,
            energy_kwh: signed.energy,
            agreed_unix_ms: signed.agreed_unix_ms,
            signed_by_us: hex(&signed.signed_by_us),
            signed_by_partner: hex(&signed.signed_by_partner),
        };
        let kept = self.store.0.reader.signed_statements(ours, partner, month.to_string()).await?;
        Ok(kept.into_iter().map(view).collect())
    }

    /// Asks the partner's node to sign the statement of a month, and keeps both signatures if it is the same.
    ///
    /// # Errors
    /// [`AccountError`]. Two different statements are an `Ok` that says so.
    pub async fn co_sign(
        &self,
        ours: PartyId,
        partner: PartyId,
        month: Month,
    ) -> Result<CoSigned, AccountError> {
        let statement = self.statement(ours.clone(), partner.clone(), month).await?;
        let mark = mark_of(&statement);
        let answer = self.ask(&ours, &partner, BooksMessage::Statement(mark.clone())).await?;
        let BooksMessage::Statement(theirs) = answer.message else { return Err(Self::unexpected(&partner)) };
        let agreed = theirs == mark;
        if agreed {
            let statement = SignedStatement {
                ours,
                partner,
                month: mark.month.clone(),
                digest: mark.digest,
                records: mark.records,
                energy: mark.energy.clone(),
                agreed_unix_ms: self.clock.now().unix_ms,
                signed_by_us: answer.asked,
                signed_by_partner: answer.signed,
            };
            let change = LedgerChange::Statement { statement: Box::new(statement) };
            self.store.commit_ledger(vec![change]).await?;
        }
        Ok(CoSigned {
            agreed,
            month: mark.month,
            digest: hex(&mark.digest),
            records: mark.records,
            energy_kwh: mark.energy,
            partner_digest: hex(&theirs.digest),
            partner_records: theirs.records,
            partner_energy_kwh: theirs.energy,
        })
    }
}
