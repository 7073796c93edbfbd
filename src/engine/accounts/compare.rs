//! A comparison with the partner's node: hashes of days, then the records of days that differ; what one side lacks is
//! sent again.

use std::collections::BTreeMap;

use super::super::handle::Command;
use super::lost::LostSessions;
use super::serve::{DAY_MS, day_marks, marks_of, stored};
use super::sessions::SessionsCompared;
use super::{AccountError, Accounts, AccountsCommand};
use crate::identity::{PartyId, Role};
use crate::oicp::time::format_ms;
use crate::protocol::{
    BOOKS_DAYS_MAX, BOOKS_MARKS_MAX, BOOKS_MISSING_MAX, BOOKS_OF_DAY_MAX, BooksMessage, CdrMark,
};
use crate::roaming::reconcile::{DIFFERENCES_MAX, Difference, differences, differing_days};

/// One difference, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DifferenceView {
    /// The day of SessionEnd, as in `2026-11-21` (UTC).
    pub day: String,
    /// SessionID.
    pub session: String,
    /// SHA-256 of the record in hex.
    pub hash: String,
    /// How it stands here: `good`, `rejected` or `absent`.
    pub here: &'static str,
    /// ... and there.
    pub there: &'static str,
    /// Why it is not sent to the EMP that lacks it: its session is not known there, and could not be brought back.
    pub not_sent: Option<String>,
}

/// What a comparison found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Reconciled {
    /// Our party, as `ROLE:ID`.
    pub ours: String,
    /// The other side.
    pub partner: String,
    /// The first day (UTC).
    pub from: String,
    /// The last day.
    pub to: String,
    /// Records here.
    pub records_here: u64,
    /// Records there.
    pub records_there: u64,
    /// Days on which the two sides differ.
    pub differing_days: u64,
    /// Every difference, by day and session; at most [`DIFFERENCES_MAX`].
    pub differences: Vec<DifferenceView>,
    /// How many there are.
    pub difference_count: u64,
    /// Records that are on their way to the side that lacks them.
    pub sent_again: u64,
    /// The sessions between the two that began on these days.
    pub sessions: SessionsCompared,
}

/// A day as people write it.
pub(super) fn day_text(day: u32) -> String {
    let unix_ms = i64::try_from(u64::from(day) * DAY_MS).unwrap_or(i64::MAX);
    format_ms(unix_ms).chars().take_while(|letter| *letter != 'T').collect()
}

impl Accounts {
    /// Compares what this node and the partner's hold of each other's records, for days since 1970 (UTC) of
    /// SessionEnd, the last one included. What is missing at the EMP's side is sent again. Before that their sessions
    /// that began on these days are compared, and what one side lost of them is brought back: a record of an unknown
    /// session would be refused.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn reconcile(
        &self,
        ours: PartyId,
        partner: PartyId,
        (from, to): (u32, u32),
    ) -> Result<Reconciled, AccountError> {
        let days = to.checked_sub(from).map(|days| days.saturating_add(1));
        let days = days.filter(|days| *days as usize <= BOOKS_DAYS_MAX);
        let days =
            days.ok_or(AccountError::Period("the days end before they begin, or are more than 400"))?;
        let mut lost = LostSessions::default();
        let sessions = self.compare_sessions(&ours, &partner, (from, days), &mut lost).await?;
        let here = day_marks(&self.store, &ours, &partner, from, days).await?;
        let answer = self.ask(&ours, &partner, BooksMessage::AskDays { from, days }).await?;
        let BooksMessage::Days(there) = answer.message else { return Err(Self::unexpected(&partner)) };
        let differing = differing_days(&here, &there);
        let in_period = |day: &u32| (from..=to).contains(day);
        let mut done = Reconciled {
            ours: ours.to_text(),
            partner: partner.to_text(),
            from: day_text(from),
            to: day_text(to),
            records_here: here.iter().map(|day| u64::from(day.records)).sum(),
            records_there: there.iter().map(|day| u64::from(day.records)).sum(),
            differing_days: differing.len() as u64,
            differences: Vec::new(),
            difference_count: 0,
            sent_again: 0,
            sessions,
        };
        for day in differing.into_iter().filter(in_period) {
            let here = marks_of(&self.store, &ours, &partner, day).await?;
            let question = |after| BooksMessage::AskDay { day, after };
            let there = self.listed_there(&ours, &partner, question, records_in).await?;
            let found = differences(&here, &there);
            let (sent, held_back) = self.bring((&ours, &partner), &found, &mut lost).await?;
            done.sent_again += sent;
            done.difference_count += found.len() as u64;
            let room = DIFFERENCES_MAX.saturating_sub(done.differences.len());
            done.differences.extend(found.iter().take(room).map(|difference| {
                let not_sent = held_back.get(difference.session()).cloned();
                DifferenceView { not_sent, ..view(day, difference) }
            }));
        }
        done.sent_again += lost.sent_again;
        Ok(done)
    }

    /// All that the partner's node lists of a day, page by page.
    pub(super) async fn listed_there<Mark>(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        question: impl Fn(u32) -> BooksMessage,
        read: fn(BooksMessage) -> Option<Vec<Mark>>,
    ) -> Result<Vec<Mark>, AccountError> {
        let mut marks: Vec<Mark> = Vec::new();
        loop {
            let after = u32::try_from(marks.len()).unwrap_or(u32::MAX);
            let answer = self.ask(ours, partner, question(after)).await?;
            let page = read(answer.message).ok_or_else(|| Self::unexpected(partner))?;
            let is_last = page.len() < BOOKS_MARKS_MAX;
            marks.extend(page);
            if marks.len() > BOOKS_OF_DAY_MAX {
                return Err(AccountError::TooMany(format!(
                    "{partner} lists more of one day than there can be"
                )));
            }
            if is_last {
                return Ok(marks);
            }
        }
    }

    /// Has what the EMP lacks sent again, and says by session what was held back and why. A CPO that lacks a record of
    /// its own has lost it: that is only listed.
    async fn bring(
        &self,
        (ours, partner): (&PartyId, &PartyId),
        found: &[Difference],
        lost: &mut LostSessions,
    ) -> Result<(u64, BTreeMap<String, String>), AccountError> {
        let missing = |difference: &Difference| match (ours.role, difference) {
            (Role::Cpo, Difference::OnlyHere(mark)) | (Role::Emp, Difference::OnlyThere(mark)) => {
                Some(mark.clone())
            }
            _ => None,
        };
        let missing: Vec<CdrMark> = found.iter().filter_map(missing).collect();
        if missing.is_empty() {
            return Ok((0, BTreeMap::new()));
        }
        let (missing, held_back) = self.with_session((ours, partner), missing, lost).await?;
        let mut on_their_way = 0;
        for missing in missing.chunks(BOOKS_MISSING_MAX) {
            on_their_way += self.send_again(ours, partner, missing).await?;
        }
        Ok((on_their_way, held_back))
    }

    /// As CPO we send them; as EMP we ask the CPO's node to.
    async fn send_again(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        missing: &[CdrMark],
    ) -> Result<u64, AccountError> {
        if ours.role == Role::Cpo {
            let cdrs = stored(&self.store, ours, partner, missing).await;
            let count = cdrs.len() as u64;
            self.engine.ask(|reply| Command::Accounts(AccountsCommand::Resend { cdrs, reply })).await?;
            return Ok(count);
        }
        let answer = self.ask(ours, partner, BooksMessage::Missing(missing.to_vec())).await?;
        match answer.message {
            BooksMessage::Resending(count) => Ok(u64::from(count)),
            _ => Err(Self::unexpected(partner)),
        }
    }
}

fn records_in(message: BooksMessage) -> Option<Vec<CdrMark>> {
    match message {
        BooksMessage::Day(records) => Some(records),
        _ => None,
    }
}

fn view(day: u32, difference: &Difference) -> DifferenceView {
    let (mark, here, there) = match difference {
        Difference::OnlyHere(mark) => (mark, mark.state.as_str(), "absent"),
        Difference::OnlyThere(mark) => (mark, "absent", mark.state.as_str()),
        Difference::State { here, there } => (here, here.state.as_str(), there.as_str()),
    };
    DifferenceView {
        day: day_text(day),
        session: mark.session.clone(),
        hash: mark.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        here,
        there,
        not_sent: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MarkState;

    #[test]
    fn days_and_differences_as_people_read_them() {
        assert_eq!((day_text(0).as_str(), day_text(20_778).as_str()), ("1970-01-01", "2026-11-21"));
        let mark = CdrMark { session: "s".into(), hash: [0xab; 32], state: MarkState::Rejected };
        let shown = view(20_778, &Difference::OnlyThere(mark));
        assert_eq!((shown.here, shown.there, shown.hash.len()), ("absent", "rejected", 64));
    }
}
