//! A comparison of sessions with the partner's node: hashes of days, then the sessions of days that differ, then those
//! by name that only one list has; what one side lost is brought back.

use super::compare::day_text;
use super::lost::{LostSessions, lacking};
use super::serve::{named, session_day_marks, session_marks_of};
use super::{AccountError, Accounts};
use crate::identity::PartyId;
use crate::protocol::{BOOKS_MISSING_MAX, BooksMessage, SessionMark, SessionPhase};
use crate::roaming::reconcile::{
    BooksFailure, DIFFERENCES_MAX, SessionDifference, differing_days, looked_up, session_differences,
};

/// One session about which the two sides do not agree, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SessionDifferenceView {
    /// The day on which it began, as in `2026-11-21` (UTC).
    pub day: String,
    /// SessionID.
    pub session: String,
    /// How far it has come here, as in `active`, or `absent`.
    pub here: &'static str,
    /// ... and there.
    pub there: &'static str,
    /// Whether the side that had lost it got it back from the other just now.
    pub fetched: bool,
    /// Why a session that one side lost was not brought back; `None` if it was, or none was lost.
    pub not_fetched: Option<String>,
}

/// What a comparison of sessions found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct SessionsCompared {
    /// Sessions here that were not refused.
    pub here: u64,
    /// ... and there.
    pub there: u64,
    /// Days on which the two sides differ.
    pub differing_days: u64,
    /// Every difference, by day and session; at most [`DIFFERENCES_MAX`].
    pub differences: Vec<SessionDifferenceView>,
    /// How many there are.
    pub difference_count: u64,
    /// Sessions that one side had lost and got back from the other just now, these among the differences.
    pub fetched: u64,
    /// Why they were not compared, if so: the partner's node cannot, or did not answer.
    pub not_compared: Option<String>,
}

impl Accounts {
    /// Compares the sessions that began on so many days since 1970 (UTC). That the partner's node does not answer is a
    /// result: an older one cannot.
    pub(super) async fn compare_sessions(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        (from, days): (u32, u32),
        lost: &mut LostSessions,
    ) -> Result<SessionsCompared, AccountError> {
        told(self.sessions_compared(ours, partner, (from, days), lost).await)
    }

    async fn sessions_compared(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        (from, days): (u32, u32),
        lost: &mut LostSessions,
    ) -> Result<SessionsCompared, AccountError> {
        let here = session_day_marks(&self.store, ours, partner, from, days).await?;
        let answer = self.ask(ours, partner, BooksMessage::AskSessionDays { from, days }).await?;
        let BooksMessage::Days(there) = answer.message else { return Err(Self::unexpected(partner)) };
        let mut differing = differing_days(&here, &there);
        differing.retain(|day| (from..from.saturating_add(days)).contains(day));
        let mut done = SessionsCompared {
            here: here.iter().map(|day| u64::from(day.records)).sum(),
            there: there.iter().map(|day| u64::from(day.records)).sum(),
            ..SessionsCompared::default()
        };
        for day in differing {
            let here = session_marks_of(&self.store, ours, partner, day).await?;
            let question = |after| BooksMessage::AskSessionDay { day, after };
            let there = self.listed_there(ours, partner, question, sessions_in).await?;
            let found = self.look_up(ours, partner, session_differences(&here, &there)).await?;
            done.differing_days += u64::from(!found.is_empty());
            done.difference_count += found.len() as u64;
            for difference in found {
                let became = match lacking(&difference) {
                    Some(side) => {
                        Some(self.bring_back((ours, partner), &difference.session, side, lost).await?)
                    }
                    None => None,
                };
                done.fetched += u64::from(became == Some(Ok(())));
                if done.differences.len() < DIFFERENCES_MAX {
                    done.differences.push(view(day, &difference, became));
                }
            }
        }
        Ok(done)
    }

    /// Asks each side by name for the sessions that its list lacks: they may have begun there on another day, or been
    /// refused.
    async fn look_up(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        found: Vec<SessionDifference>,
    ) -> Result<Vec<SessionDifference>, AccountError> {
        let names = |lacks: fn(&SessionDifference) -> bool| -> Vec<String> {
            found.iter().filter(|one| lacks(one)).map(|one| one.session.clone()).collect()
        };
        let (lacking_here, lacking_there) =
            (names(|one| one.here.is_none()), names(|one| one.there.is_none()));
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for names in lacking_here.chunks(BOOKS_MISSING_MAX) {
            here.extend(named(&self.store, ours, partner, names.to_vec()).await?);
        }
        for names in lacking_there.chunks(BOOKS_MISSING_MAX) {
            let answer = self.ask(ours, partner, BooksMessage::AskSessions(names.to_vec())).await?;
            there.extend(sessions_in(answer.message).ok_or_else(|| Self::unexpected(partner))?);
        }
        Ok(looked_up(found, &here, &there))
    }
}

/// Has a partner's node that does not answer as a result.
fn told(compared: Result<SessionsCompared, AccountError>) -> Result<SessionsCompared, AccountError> {
    let why = match compared {
        Err(AccountError::Partner(BooksFailure::Silent(partner))) => {
            format!("the node of {partner} does not compare sessions: it runs an older version, or is busy")
        }
        Err(error @ (AccountError::Partner(_) | AccountError::Refused(..) | AccountError::TooMany(_))) => {
            error.to_string()
        }
        other => return other,
    };
    Ok(SessionsCompared { not_compared: Some(why), ..SessionsCompared::default() })
}

fn sessions_in(message: BooksMessage) -> Option<Vec<SessionMark>> {
    match message {
        BooksMessage::Sessions(sessions) => Some(sessions),
        _ => None,
    }
}

fn view(
    day: u32,
    difference: &SessionDifference,
    became: Option<Result<(), String>>,
) -> SessionDifferenceView {
    let text = |phase: Option<SessionPhase>| phase.map_or("absent", SessionPhase::as_str);
    SessionDifferenceView {
        day: day_text(day),
        session: difference.session.clone(),
        here: text(difference.here),
        there: text(difference.there),
        fetched: became == Some(Ok(())),
        not_fetched: became.and_then(Result::err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_as_people_read_it() {
        let difference =
            SessionDifference { session: "s".into(), here: Some(SessionPhase::InDoubt), there: None };
        let shown = view(20_778, &difference, None);
        assert_eq!((shown.day.as_str(), shown.here, shown.there), ("2026-11-21", "in doubt", "absent"));
        assert_eq!((shown.fetched, shown.not_fetched), (false, None));
        let shown = view(20_778, &difference, Some(Err("why".to_owned())));
        assert_eq!((shown.fetched, shown.not_fetched.as_deref()), (false, Some("why")));
        let shown = view(20_778, &difference, Some(Ok(())));
        assert_eq!((shown.fetched, shown.not_fetched), (true, None));
    }

    #[test]
    fn a_node_that_compares_no_sessions_is_a_result_and_a_fault_of_ours_is_none() {
        let partner = PartyId::parse("EMP:DEDCB").unwrap();
        let silent = AccountError::Partner(BooksFailure::Silent(partner.clone()));
        let why = told(Err(silent)).unwrap().not_compared.unwrap();
        assert!(why.contains("EMP:DEDCB does not compare sessions"), "{why}");
        let refused = AccountError::Refused(partner, "its storage cannot be read now".to_owned());
        assert!(told(Err(refused)).unwrap().not_compared.unwrap().contains("storage"));
        assert!(told(Err(AccountError::Period("no such day"))).is_err());
        let compared = SessionsCompared { here: 3, ..SessionsCompared::default() };
        let told = told(Ok(compared)).unwrap();
        assert_eq!((told.here, told.not_compared), (3, None));
    }
}
