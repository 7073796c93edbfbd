//! Sessions that one side lost: it gets what proves them from the other, and knows them again. Which of a partner's
//! words count is decided by the side that lost them ([`crate::roaming::rebuilt`]).

use std::collections::BTreeMap;

use super::super::handle::Command;
use super::serve::named;
use super::{AccountError, Accounts, AccountsCommand};
use crate::identity::{PartyId, Role};
use crate::protocol::{
    BOOKS_MISSING_MAX, BooksMessage, CdrMark, CdrState, Digest, MarkState, SessionKind, SessionPhase,
};
use crate::roaming::reconcile::{BooksAnswer, BooksFailure, SessionDifference};

/// Most sessions that one comparison brings back, so that it ends within a minute over a slow line; the next brings more.
pub(super) const LOST_SESSIONS_MAX: usize = 200;

/// Which side lacks a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacking {
    Here,
    There,
}

/// The side that lacks a session which ran at the other; `None` if it is another difference. One that was refused may
/// have been refused because it was unknown.
pub(super) fn lacking(difference: &SessionDifference) -> Option<Lacking> {
    let ran = |phase: Option<SessionPhase>| phase.and_then(SessionKind::of) == Some(SessionKind::Ran);
    let lacks = |phase: Option<SessionPhase>| matches!(phase, None | Some(SessionPhase::Refused));
    match (difference.here, difference.there) {
        (here, there) if lacks(here) && ran(there) => Some(Lacking::Here),
        (here, there) if ran(here) && lacks(there) => Some(Lacking::There),
        _ => None,
    }
}

/// What became of the sessions that were lost, in one comparison.
#[derive(Default)]
pub(super) struct LostSessions {
    became: BTreeMap<String, Result<(), String>>,
    /// Why no more is asked for.
    given_up: Option<String>,
    /// Records that are on their way again, since their session is known.
    pub(super) sent_again: u64,
}

impl Accounts {
    /// Has the side that lacks a session know it again, once in a comparison. `Ok(Err(_))` says why it does not.
    pub(super) async fn bring_back(
        &self,
        (ours, partner): (&PartyId, &PartyId),
        session: &str,
        lacking: Lacking,
        lost: &mut LostSessions,
    ) -> Result<Result<(), String>, AccountError> {
        if let Some(became) = lost.became.get(session) {
            return Ok(became.clone());
        }
        if let Some(why) = &lost.given_up {
            return Ok(Err(why.clone()));
        }
        if lost.became.len() >= LOST_SESSIONS_MAX {
            return Ok(Err(format!("{LOST_SESSIONS_MAX} were brought back before it: compare again")));
        }
        let brought = match lacking {
            Lacking::Here => self.fetch(ours, partner, session).await,
            Lacking::There => self.hand_over(ours, partner, session).await,
        };
        let became = match brought {
            Ok(Ok(sent_again)) => {
                lost.sent_again += sent_again;
                Ok(())
            }
            Ok(Err(why)) => Err(why),
            Err(AccountError::Refused(partner, why)) => Err(format!("the node of {partner} says: {why}")),
            Err(AccountError::Partner(failure)) => {
                let why = given_up(&failure);
                lost.given_up = Some(why.clone());
                return Ok(Err(why));
            }
            Err(other) => return Err(other),
        };
        lost.became.insert(session.to_owned(), became.clone());
        Ok(became)
    }

    /// Asks the partner what proves it. Gives the number of records that are on their way again.
    async fn fetch(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        session: &str,
    ) -> Result<Result<u64, String>, AccountError> {
        let asked = self.ask(ours, partner, BooksMessage::AskEvidence(session.to_owned())).await?;
        let BooksMessage::Evidence(evidence) = asked.message else { return Err(Self::unexpected(partner)) };
        let take = |reply| {
            let (ours, partner, session) = (ours.clone(), partner.clone(), session.to_owned());
            Command::Accounts(AccountsCommand::TakeLost { ours, partner, session, evidence, reply })
        };
        let refused = match self.engine.ask(take).await?? {
            Ok(refused) => refused,
            Err(why) => return Ok(Err(why)),
        };
        if ours.role != Role::Emp || refused.is_empty() {
            return Ok(Ok(0));
        }
        // They were refused for their session was unknown: the CPO's node sends them once more.
        let mark = |hash: Digest| CdrMark { session: session.to_owned(), hash, state: MarkState::Good };
        let missing = refused.into_iter().take(BOOKS_MISSING_MAX).map(mark).collect();
        Ok(match self.ask(ours, partner, BooksMessage::Missing(missing)).await {
            Ok(BooksAnswer { message: BooksMessage::Resending(count), .. }) => Ok(u64::from(count)),
            Ok(_) => {
                Err("it is known again; its record was refused before, and is not sent again".to_owned())
            }
            Err(error) => {
                Err(format!("it is known again; its record, refused before, is not sent again: {error}"))
            }
        })
    }

    /// Proves it to the partner.
    async fn hand_over(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        session: &str,
    ) -> Result<Result<u64, String>, AccountError> {
        let between = (ours.clone(), partner.clone());
        let evidence = match self.engine.evidence_for_partner(session.to_owned(), between).await? {
            Ok(evidence) => evidence,
            Err(why) => return Ok(Err(why.to_string())),
        };
        let proof = BooksMessage::TakeEvidence { session: session.to_owned(), evidence };
        let BooksMessage::Taken = self.ask(ours, partner, proof).await?.message else {
            return Err(Self::unexpected(partner));
        };
        if ours.role != Role::Cpo {
            return Ok(Ok(0));
        }
        let mut cdrs = self.store.0.reader.cdrs_of(session.to_owned()).await?.cdrs;
        cdrs.retain(|cdr| {
            !cdr.incoming && cdr.partner == *partner && cdr.ours == *ours && cdr.state == CdrState::Refused
        });
        let count = cdrs.len() as u64;
        if count > 0 {
            self.engine.ask(|reply| Command::Accounts(AccountsCommand::Resend { cdrs, reply })).await?;
        }
        Ok(Ok(count))
    }

    /// Of records that the EMP lacks, those whose session its side knows, or knows again now; of the others why not. A
    /// record of an unknown session would be refused for good.
    pub(super) async fn with_session(
        &self,
        (ours, partner): (&PartyId, &PartyId),
        missing: Vec<CdrMark>,
        lost: &mut LostSessions,
    ) -> Result<(Vec<CdrMark>, BTreeMap<String, String>), AccountError> {
        let names: Vec<String> = missing.iter().map(|mark| mark.session.clone()).collect();
        let (ours_is_emp, at) = (ours.role == Role::Emp, (ours, partner));
        let Some(at_emp) = self.phases(at, &names, ours_is_emp).await? else {
            return Ok((missing, BTreeMap::new()));
        };
        let unknown = |name: &String| is_unknown(at_emp.get(name));
        let names: Vec<String> = names.into_iter().filter(unknown).collect();
        let Some(at_cpo) = self.phases(at, &names, !ours_is_emp).await? else {
            return Ok((missing, BTreeMap::new()));
        };
        let lacking = if ours.role == Role::Emp { Lacking::Here } else { Lacking::There };
        let (mut ready, mut held_back) = (Vec::new(), BTreeMap::new());
        for mark in missing {
            if !is_lost(at_emp.get(&mark.session), at_cpo.get(&mark.session)) {
                ready.push(mark);
                continue;
            }
            match self.bring_back((ours, partner), &mark.session, lacking, lost).await? {
                Ok(()) => ready.push(mark),
                Err(why) => drop(held_back.insert(mark.session, why)),
            }
        }
        Ok((ready, held_back))
    }

    /// How far these sessions have come here or at the partner's; `None` if its node does not say: an older one cannot.
    async fn phases(
        &self,
        (ours, partner): (&PartyId, &PartyId),
        names: &[String],
        here: bool,
    ) -> Result<Option<Phases>, AccountError> {
        let mut phases = Phases::new();
        for names in names.chunks(BOOKS_MISSING_MAX) {
            let found = match here {
                true => named(&self.store, ours, partner, names.to_vec()).await?,
                false => match self.ask(ours, partner, BooksMessage::AskSessions(names.to_vec())).await {
                    Ok(BooksAnswer { message: BooksMessage::Sessions(sessions), .. }) => sessions,
                    Ok(_) => return Err(Self::unexpected(partner)),
                    Err(AccountError::Partner(_) | AccountError::Refused(..)) => return Ok(None),
                    Err(other) => return Err(other),
                },
            };
            phases.extend(found.into_iter().map(|mark| (mark.session, mark.phase)));
        }
        Ok(Some(phases))
    }
}

/// What a side knows of sessions; `None` in it: it goes through the hub.
type Phases = BTreeMap<String, Option<SessionPhase>>;

/// Whether a record of it would be refused; a session through the hub is known by its record.
fn is_unknown(at_emp: Option<&Option<SessionPhase>>) -> bool {
    matches!(at_emp, None | Some(Some(SessionPhase::Refused)))
}

/// Whether a session has to be brought back before its record is sent: the EMP's side does not know it, and between the
/// nodes the CPO's does.
fn is_lost(at_emp: Option<&Option<SessionPhase>>, at_cpo: Option<&Option<SessionPhase>>) -> bool {
    let ran = |phase: &Option<SessionPhase>| phase.and_then(SessionKind::of) == Some(SessionKind::Ran);
    is_unknown(at_emp) && at_cpo.is_some_and(ran)
}

/// Why a partner's node is asked no more.
fn given_up(failure: &BooksFailure) -> String {
    match failure {
        BooksFailure::Silent(partner) => {
            format!(
                "the node of {partner} does not hand lost sessions over: it runs an older version, or is busy"
            )
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SessionPhase::{Active, Closed, Expired, InDoubt, Refused, Unconfirmed};

    #[test]
    fn what_ran_at_one_side_alone_is_lost_at_the_other() {
        let of = |here, there| lacking(&SessionDifference { session: "s".into(), here, there });
        for ran in [Active, Closed, Expired] {
            for lacks in [None, Some(Refused)] {
                assert_eq!(of(lacks, Some(ran)), Some(Lacking::Here), "{lacks:?} {ran:?}");
                assert_eq!(of(Some(ran), lacks), Some(Lacking::There), "{ran:?} {lacks:?}");
            }
            // One side knows it, and asks by itself.
            assert_eq!(of(Some(InDoubt), Some(ran)), None);
        }
        assert_eq!(of(None, Some(Unconfirmed)), None);
        assert_eq!(of(Some(InDoubt), Some(Refused)), None);
    }

    #[test]
    fn a_record_waits_for_its_session_only_where_that_was_lost() {
        let lost = |at_emp: Option<Option<SessionPhase>>, at_cpo: Option<Option<SessionPhase>>| {
            is_lost(at_emp.as_ref(), at_cpo.as_ref())
        };
        for unknown in [None, Some(Some(Refused))] {
            assert!(lost(unknown, Some(Some(Closed))) && lost(unknown, Some(Some(Active))));
            // It goes through the hub at the CPO's, or is lost there as well: its record speaks for itself.
            assert!(!lost(unknown, Some(None)) && !lost(unknown, None));
        }
        for known in [Some(None), Some(Some(Active)), Some(Some(InDoubt))] {
            assert!(!lost(known, Some(Some(Closed))), "{known:?}");
        }
    }

    #[test]
    fn a_node_that_cannot_says_why_to_people() {
        let partner = PartyId::parse("EMP:DEDCB").unwrap();
        let why = given_up(&BooksFailure::Silent(partner.clone()));
        assert!(why.contains("EMP:DEDCB") && why.contains("older version"), "{why}");
        assert!(given_up(&BooksFailure::Away(partner)).contains("connected"));
    }
}
