//! The guard rail (`decisions.md` 12): a push that would remove much is held until somebody confirms it.

use bytes::Bytes;

use super::Roaming;
use super::change::{HeldPush, LedgerChange};
use super::effect::{Action, Effects, Report};
use super::input::{CallId, Input, Now};
use super::publish::{Change, Push, Refused, reply};
use super::records;
use crate::oicp::pricing::PushPrices;
use crate::oicp::push::ActionType;
use crate::oicp::reading::Reading;
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::{FeedId, Kind};

impl Roaming {
    /// Refuses a push that would remove more than the settings allow, and keeps it. An empty full load is
    /// never done at once, however small the feed.
    pub(super) fn guard(
        &mut self,
        feed_id: &FeedId,
        push: &Push,
        changes: &[Change],
        body: &Bytes,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(), Refused> {
        let removes = changes.iter().filter(|(_, value)| value.is_none()).count() as u64;
        let of: u64 = self.feeds_of(&feed_id.party, push.kind).map(|(_, feed)| feed.tree.count()).sum();
        let share = u64::from(self.config.guard_share_percent);
        let empties = removes > 0 && push.action == ActionType::FullLoad && push.records.is_empty();
        let few =
            removes <= self.config.guard_records || removes.saturating_mul(100) <= share.saturating_mul(of);
        if few && !empties {
            return Ok(());
        }
        let digest = records::hash(body);
        let joined = self.held.values().find(|held| held.feed == *feed_id && held.digest == digest);
        let id = match joined {
            Some(held) => held.id,
            None => {
                let (feed, body, at_unix_ms) = (feed_id.clone(), body.clone(), now.unix_ms);
                let id = self.next_held;
                self.hold_back(HeldPush { id, feed, digest, body, at_unix_ms, removes, of }, fx);
                id
            }
        };
        let info = format!(
            "held: this push would remove {removes} of {of} records. Nothing was changed. To do it: \
             chargemesh push confirm {id}"
        );
        Err(StatusCode::with_info(Code::DataTransactionError, &info))
    }

    fn hold_back(&mut self, push: HeldPush, fx: &mut Effects) {
        if self.held.len() >= self.config.held_pushes_max
            && let Some((oldest, _)) = self.held.pop_first()
        {
            fx.ledger.push(LedgerChange::HeldDone { id: oldest });
        }
        self.next_held += 1;
        let (id, feed, removes) = (push.id, push.feed.clone(), push.removes);
        fx.ledger.push(LedgerChange::Held { push: push.clone() });
        fx.actions.push(Action::Report(Report::Held { id, feed, removes }));
        self.held.insert(id, push);
    }

    /// Does a held push after all.
    pub(super) fn confirm(&mut self, call: CallId, held: u64, now: Now, fx: &mut Effects) {
        if self.held.get(&held).is_some_and(|push| self.must_wait(&push.feed.party, now)) {
            return self.wait_push(Input::Confirm { call, held }, call, fx);
        }
        if let Err(refused) = self.refuse_unless_signing() {
            return reply(call, Err(refused), fx);
        }
        let Some(push) = self.held.remove(&held) else {
            let info = format!("there is no held push {held}: see `chargemesh peers --held`");
            return reply(call, Err(StatusCode::with_info(Code::DataError, &info)), fx);
        };
        fx.ledger.push(LedgerChange::HeldDone { id: held });
        let party = push.feed.party.clone();
        // It was read when it was held; reading it again tolerantly cannot be stricter.
        let parsed = match push.feed.kind {
            Kind::Data => crate::oicp::push::read_evse_data(&push.body, Reading::Tolerant).map(Push::of_data),
            Kind::Status => {
                crate::oicp::push::read_evse_status(&push.body, Reading::Tolerant).map(Push::of_status)
            }
            Kind::Pricing => PushPrices::read(&push.body, Reading::Tolerant).map(Push::of_prices),
        };
        let outcome = match parsed {
            Ok(parsed) => self.push(&party, parsed, None, now, fx),
            Err(fault) => Err(StatusCode::with_info(Code::DataError, &fault.to_string())),
        };
        reply(call, outcome, fx);
    }
}
