//! What messages carry that is signed in itself: charge detail records and their receipts.

use super::verify::Judge;
use crate::identity::{Chain, Receipt, SignedCdr, Speaker};
use crate::protocol::SessionMessage;

impl Judge<'_> {
    /// Checks what a message carries, each signer at the time when it signed.
    pub(super) fn check_inner(&self, message: &SessionMessage) -> Result<(), String> {
        match message {
            SessionMessage::Cdr { session, signed, chain } => self.check_record(session, signed, chain),
            SessionMessage::Receipts { session, receipts, chains } => {
                receipts.iter().try_for_each(|receipt| self.check_receipt(session, receipt, chains))
            }
            _ => Ok(()),
        }
    }

    fn check_record(&self, session: &str, signed: &[u8], chain: &Chain) -> Result<(), String> {
        let created = SignedCdr::claimed_time(signed, self.network).map_err(|error| error.to_string())?;
        let speaker = self.signer(chain, created)?;
        let cdr = SignedCdr::open(signed, self.network, &speaker).map_err(|error| error.to_string())?;
        same_session(&cdr.session, session)
    }

    fn check_receipt(&self, session: &str, signed: &[u8], chains: &[Chain]) -> Result<(), String> {
        let (signer, at) = Receipt::claimed(signed, self.network).map_err(|error| error.to_string())?;
        let chain = chains.iter().find(|chain| chain.delegation_hash() == signer);
        let speaker = self.signer(chain.ok_or("the chain of a receipt's signer is missing")?, at)?;
        let receipt = Receipt::open(signed, self.network, &speaker).map_err(|error| error.to_string())?;
        same_session(&receipt.session, session)
    }

    fn signer(&self, chain: &Chain, at_unix_ms: u64) -> Result<Speaker, String> {
        self.speaker(chain, at_unix_ms / 1_000).map_err(|error| format!("its signer: {error}"))
    }
}

fn same_session(found: &str, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err("it is about another session".to_owned()) }
}
