//! Records that a comparison of books found missing at the EMP's node: they are sent once more, as they were signed.

use super::cdr::CdrKey;
use crate::oicp::charging::SessionId;
use crate::protocol::{CdrState, RECEIPTS_MAX, Via};
use crate::roaming::Roaming;
use crate::roaming::change::StoredCdr;
use crate::roaming::effect::Effects;
use crate::roaming::input::Now;

/// Receipts of a record until nothing more is said of it: received, kept, accepted or rejected.
const LAST_WORDS: usize = 3;

impl Roaming {
    /// Sends settled records of our parties again. What is open is on its way anyhow.
    pub(in crate::roaming) fn resend_cdrs(&mut self, cdrs: Vec<StoredCdr>, now: Now, fx: &mut Effects) {
        for mut stored in cdrs {
            let Some(session) = SessionId::parse(&stored.session) else { continue };
            let key = CdrKey { session, hash: stored.hash, incoming: false };
            let ours = !stored.incoming && self.parties.contains_key(&stored.ours) && stored.signed.is_some();
            if !ours || self.charging.cdrs.open.contains_key(&key) || !self.has_room_for_cdr() {
                continue;
            }
            if stored.state == CdrState::Refused {
                // Its session was unknown there, and is known now. Whatever is said next must find its place.
                if stored.record.receipts.len() + LAST_WORDS > RECEIPTS_MAX {
                    continue;
                }
                stored.state = CdrState::Waiting;
            }
            stored.is_open = true;
            // Its node asks for it, whichever way it went before.
            stored.record.via = Via::Direct;
            self.charging.cdrs.put(key, stored, now.mono_ms);
            self.remember_cdr(key, fx);
            self.cdr_due(key, now, fx);
        }
    }
}
