//! Records that a comparison of books found missing at the EMP's node: they are sent once more, as they were signed.

use super::cdr::CdrKey;
use crate::oicp::charging::SessionId;
use crate::roaming::Roaming;
use crate::roaming::change::StoredCdr;
use crate::roaming::effect::Effects;
use crate::roaming::input::Now;

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
            stored.is_open = true;
            self.charging.cdrs.put(key, stored, now.mono_ms);
            self.remember_cdr(key, fx);
            self.cdr_due(key, now, fx);
        }
    }
}
