//! What the core reports, as log lines for the operator of the node.

use crate::protocol::CdrState;
use crate::roaming::{ClockState, Report};

/// Tells the operator of the node.
pub(super) fn tell(report: &Report) {
    match report {
        Report::Conflict { key, kind, shown, claimed_by } if claimed_by.len() > 1 => {
            let claimed_by: Vec<String> = claimed_by.iter().map(ToString::to_string).collect();
            let shown = shown.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
            let kind = kind.name();
            tracing::warn!(evse = %key, kind, shown, claimed_by = claimed_by.join(", "), "an EVSE is claimed by several parties");
        }
        Report::Conflict { key, .. } => tracing::info!(evse = %key, "a claim conflict is over"),
        Report::Equivocation { feed } => {
            tracing::error!(%feed, "the writer showed two histories; the feed is frozen until a higher incarnation");
        }
        Report::Inconsistent { feed } => {
            tracing::error!(%feed, "the writer's records do not yield the root that it signed");
        }
        Report::Repaired { feed, records } => tracing::info!(%feed, records, "repaired"),
        Report::OwnFeedBehind { feed } => {
            tracing::warn!(%feed, "peers hold a newer state of this feed of ours: taking it back from them");
        }
        Report::Held { id, feed, removes } => {
            tracing::warn!(id, %feed, removes, "a push that would remove much is held: `chargemesh push confirm {id}`");
        }
        Report::RevocationsStale { ago_s: Some(ago_s) } => {
            tracing::warn!(
                ago_s,
                "no peer has said for long what was revoked: nothing new is started but with pinned partners; what runs goes on. Connect this node to the mesh"
            );
        }
        Report::RevocationsStale { ago_s: None } => tracing::info!("a peer has said what was revoked"),
        Report::IdConflict { conflict, own: true } => {
            tracing::error!(party = %conflict.party, newcomers = conflict.newcomers.len(), "somebody else claims this id of ours; they are frozen here. Ask the issuer that vouched for them");
        }
        Report::IdConflict { conflict, own: false } => {
            tracing::warn!(party = %conflict.party, newcomers = conflict.newcomers.len(), "several keys claim one id; the newcomers are frozen");
        }
        Report::IdConflictOver { party } => tracing::info!(%party, "nobody else claims this id any more"),
        Report::IssuerFull { issuer, max } => {
            tracing::error!(
                issuer,
                max,
                "an issuer vouches for more parties than are kept of one: no further ones are known here. Ask it why, or take it out of the trust list"
            );
        }
        Report::Replaced { party } => {
            tracing::info!(%party, "a rotation replaced the key that it spoke with")
        }
        Report::AgreementBelieved { id } => {
            let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            tracing::info!(%id, "an agreement is in force again: its signers are believed");
        }
        Report::Revoked { party, own: true } => {
            tracing::error!(%party, "what this node speaks with was revoked: nobody believes it any more. Install a new credential or delegation");
        }
        Report::Revoked { party, own: false } => {
            tracing::warn!(%party, "a credential or delegation was revoked; what it signs is ignored");
        }
        Report::Agreement { id, what, offerer, accepter } => {
            let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            tracing::info!(%id, %offerer, %accepter, what, "an agreement");
        }
        Report::AgreementRefused { from, why } => tracing::warn!(%from, %why, "an agreement was not taken"),
        Report::AgreementNotBelieved { why } => {
            tracing::warn!(%why, "an agreement is not in force: a signer is not believed any more");
        }
        Report::PartnerCard { party, why } => {
            tracing::warn!(%party, %why, "a card of a partner is of no use: it is looked for again");
        }
        Report::Clock { state } => tell_clock(*state),
        Report::Refused { from, why } => tracing::debug!(%from, %why, "a message was not taken"),
        Report::Session { .. }
        | Report::Cdr { .. }
        | Report::CdrNotTaken { .. }
        | Report::CdrWaits { .. } => {
            tell_charging(report);
        }
    }
}

/// What became of sessions and their records.
fn tell_charging(report: &Report) {
    match report {
        Report::Session { session, operation, partner, phase } => tracing::info!(
            %session,
            operation = operation.as_str(),
            partner = partner.as_ref().map_or_else(String::new, ToString::to_string),
            phase = phase.as_str(),
            "a session changed"
        ),
        Report::Cdr {
            session,
            partner,
            incoming,
            state: state @ (CdrState::Rejected | CdrState::Refused),
        } => {
            tracing::warn!(%session, %partner, incoming, state = state.as_str(), "a charge detail record is not taken");
        }
        Report::Cdr { session, partner, incoming, state } => tracing::info!(
            %session, %partner, incoming, state = state.as_str(), "a charge detail record"
        ),
        Report::CdrNotTaken { session, partner, why } => {
            tracing::warn!(%session, %partner, %why, "a charge detail record or its receipt was not taken");
        }
        Report::CdrWaits { session, partner, incoming, state, since_unix_ms } => tracing::error!(
            %session,
            %partner,
            incoming,
            state = state.as_str(),
            since_unix_ms,
            "a charge detail record waits for too long: see `chargemesh cdr list`"
        ),
        _ => {}
    }
}

fn tell_clock(state: ClockState) {
    match state {
        ClockState::Unknown => tracing::debug!("no other party's clock was heard lately"),
        ClockState::Right { off_ms } => {
            tracing::info!(off_ms, "the clock agrees with those of other parties")
        }
        ClockState::Doubtful { off_ms, parties } => tracing::warn!(
            off_ms,
            parties,
            "other parties' clocks are ahead of this machine's by off_ms (behind if negative): compare it with a \
             time server"
        ),
        ClockState::Wrong { off_ms, parties } => tracing::error!(
            off_ms,
            parties,
            "this machine's clock is wrong, as other parties agree (they are ahead by off_ms): nothing is signed \
             and pushes are refused until it is set right. Start its time service, as in `timedatectl set-ntp true`"
        ),
    }
}
