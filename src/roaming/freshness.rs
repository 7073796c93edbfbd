//! How old is what we know of revocations, and what still goes on when it is too old (`design/trust.md`).
//!
//! Revocations reach a node by gossip and by comparing registries with peers, and by the status lists of
//! issuers. Who cuts a node off, or holds a list back, makes a dead partner look alive. So nobody begins
//! anything new on old knowledge, but with partners whose key was compared by hand; what runs goes on, for a
//! car must get its stop and a session its CDR.

use super::Roaming;
use super::effect::{Action, Effects, Report};
use super::input::Now;
use crate::identity::{Credential, IssuerClass, PartyId, Verified};

/// Age of the last comparison of registries with any peer from which on it is too old, in milliseconds. One is
/// made every minute while anybody is connected: sixty in a row do not fail by chance.
pub const COMPARED_MS_MAX: u64 = 3_600_000;

/// Attesters whose word together counts as a registrar's.
const ATTESTERS_NEEDED: usize = 2;

/// What is to be done with or for a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Its public directory data and statuses are taken and shown.
    Directory,
    /// An offer of it is accepted. To offer binds nobody yet.
    AgreementStart,
    /// An agreement with it is ended.
    AgreementEnd,
    /// One of its customers is authorized, or one of ours with it.
    Authorization,
    /// A session is started from afar.
    RemoteStart,
    /// An EVSE is reserved.
    Reservation,
    /// Notifications and other messages of a session that runs.
    RunningSession,
    /// A session is stopped, or a reservation given up.
    RemoteStop,
    /// A CDR is sent or accepted.
    Cdr,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 9] = [
        Operation::Directory,
        Operation::AgreementStart,
        Operation::AgreementEnd,
        Operation::Authorization,
        Operation::RemoteStart,
        Operation::Reservation,
        Operation::RunningSession,
        Operation::RemoteStop,
        Operation::Cdr,
    ];

    /// Whether it begins something that costs money: that is what stale knowledge stops.
    pub fn is_new_start(self) -> bool {
        match self {
            Operation::AgreementStart
            | Operation::Authorization
            | Operation::RemoteStart
            | Operation::Reservation => true,
            Operation::Directory
            | Operation::AgreementEnd
            | Operation::RunningSession
            | Operation::RemoteStop
            | Operation::Cdr => false,
        }
    }
}

/// What is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// No peer's registry was compared since the start.
    #[error("no peer has told this node yet what was revoked: connect it to the mesh")]
    NeverCompared,
    /// The last comparison is too long ago.
    #[error("the last peer told this node {ago_s} s ago what was revoked: connect it to the mesh")]
    NotCompared {
        /// How long ago, in seconds.
        ago_s: u64,
    },
    /// The issuers that vouch for the partner are late with their status lists.
    #[error(
        "the status list of the issuer that vouches for the partner is overdue since {until_unix_s} (Unix time): \
         ask the issuer for a new one"
    )]
    ListOverdue {
        /// First second in which the newest list did not count any more, Unix time.
        until_unix_s: u64,
    },
}

/// How fresh what we know of a partner's revocation is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Age of the last comparison of registries with any peer, in milliseconds; `None`: none since the start.
    pub compared_ago_ms: Option<u64>,
    /// Since when the lists that matter for the partner are overdue, Unix time; `None`: they are not, or none was
    /// ever seen.
    pub list_overdue_since_unix_s: Option<u64>,
    /// Whether the partner's org key was pinned by hand.
    pub pinned: bool,
}

impl Freshness {
    /// What is stale; `None` if nothing is.
    pub fn stale(&self) -> Option<Stale> {
        match (self.compared_ago_ms, self.list_overdue_since_unix_s) {
            (None, _) => Some(Stale::NeverCompared),
            (Some(ago_ms), _) if ago_ms > COMPARED_MS_MAX => {
                Some(Stale::NotCompared { ago_s: ago_ms / 1_000 })
            }
            (_, Some(until_unix_s)) => Some(Stale::ListOverdue { until_unix_s }),
            _ => None,
        }
    }
}

/// Whether something still goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailMode {
    /// It does.
    GoesOn,
    /// It does, although something is stale: a person should know.
    GoesOnWarned(Stale),
    /// It does not.
    Refused(Stale),
}

impl FailMode {
    /// Why not; `None` if it goes on.
    pub fn refused(self) -> Option<Stale> {
        match self {
            FailMode::Refused(stale) => Some(stale),
            FailMode::GoesOn | FailMode::GoesOnWarned(_) => None,
        }
    }
}

/// The table of `design/trust.md`: with stale knowledge what runs goes on, and new starts only with pinned
/// partners. Whether the partner is believed at all, and what was agreed with it, is asked elsewhere.
pub fn fail_mode(operation: Operation, freshness: &Freshness) -> FailMode {
    match freshness.stale() {
        None => FailMode::GoesOn,
        Some(stale) if operation.is_new_start() && !freshness.pinned => FailMode::Refused(stale),
        Some(stale) => FailMode::GoesOnWarned(stale),
    }
}

/// When a registry was compared last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compared {
    mono_ms: u64,
    pub(super) unix_ms: u64,
}

impl Roaming {
    /// Whether something may still be done with a partner, by the age of what is known of its revocation. A party of
    /// this very node needs no news of itself.
    pub fn may_still(&self, partner: &PartyId, operation: Operation, now: Now) -> FailMode {
        if self.parties.contains_key(partner) {
            return FailMode::GoesOn;
        }
        fail_mode(operation, &self.freshness_of(partner, now))
    }

    /// How fresh what we know of a partner's revocation is.
    pub fn freshness_of(&self, partner: &PartyId, now: Now) -> Freshness {
        Freshness {
            compared_ago_ms: self.compared_ago_ms(now),
            list_overdue_since_unix_s: self.list_overdue_since(partner, now),
            pinned: self.speakers.trust().pin(partner).is_some(),
        }
    }

    /// All that a peer has of the registry was heard.
    pub(super) fn registry_compared(&mut self, now: Now) {
        self.compared = Some(Compared { mono_ms: now.mono_ms, unix_ms: now.unix_ms });
    }

    fn compared_ago_ms(&self, now: Now) -> Option<u64> {
        self.compared.map(|compared| now.mono_ms.saturating_sub(compared.mono_ms))
    }

    /// Whether a registry was compared lately.
    pub(super) fn is_compared(&self, now: Now) -> bool {
        self.compared_ago_ms(now).is_some_and(|ago_ms| ago_ms <= COMPARED_MS_MAX)
    }

    /// Tells when comparing fails, and when it is done again.
    pub(super) fn tick_freshness(&mut self, now: Now, fx: &mut Effects) {
        let ago_ms = self.compared_ago_ms(now).unwrap_or(now.mono_ms.saturating_sub(self.started_ms));
        let is_stale = ago_ms > COMPARED_MS_MAX;
        if is_stale != self.told_stale {
            self.told_stale = is_stale;
            let ago_s = is_stale.then_some(ago_ms / 1_000);
            fx.actions.push(Action::Report(Report::RevocationsStale { ago_s }));
        }
    }

    /// Since when those who vouch for a party are late. An issuer that never showed a list promises none, and
    /// of several on whom the party may rest alone one in time is enough.
    fn list_overdue_since(&self, partner: &PartyId, now: Now) -> Option<u64> {
        let (registry, trust) = (self.speakers.registry(), self.speakers.trust());
        let live = |credential: &&Verified<Credential>| {
            credential.terms.expires_unix_s > now.unix_s() && !registry.is_credential_dead(credential)
        };
        let mut signers: Vec<_> =
            registry.credentials(partner).filter(live).map(|credential| *credential.signer()).collect();
        signers.sort_unstable();
        signers.dedup();
        let (mut registrars, mut attesters) = (Vec::new(), Vec::new());
        for signer in signers {
            let trusted =
                |issuer: &&crate::identity::Issuer| issuer.is_trusted_for(partner.id.country(), partner.role);
            let Some(issuer) = trust.issuer(&signer).filter(trusted) else { continue };
            let list = registry.status_list(&signer);
            let overdue =
                list.filter(|list| !list.is_fresh(now.unix_s())).map(|list| list.valid_until_unix_s);
            match issuer.class {
                IssuerClass::Registrar => registrars.push(overdue),
                IssuerClass::Attester => attesters.push(overdue),
            }
        }
        let in_time = attesters.iter().filter(|overdue| overdue.is_none()).count();
        if registrars.contains(&None) || in_time >= ATTESTERS_NEEDED {
            return None;
        }
        registrars.into_iter().chain(attesters).flatten().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_design() {
        use FailMode::{GoesOn, GoesOnWarned, Refused};
        let fresh = Freshness { compared_ago_ms: Some(COMPARED_MS_MAX), ..Freshness::default() };
        let cut_off = Freshness { compared_ago_ms: Some(COMPARED_MS_MAX + 1), ..Freshness::default() };
        let late = Freshness { list_overdue_since_unix_s: Some(77), ..fresh.clone() };
        let never = Freshness::default();
        let starts = [
            Operation::AgreementStart,
            Operation::Authorization,
            Operation::RemoteStart,
            Operation::Reservation,
        ];
        for operation in Operation::ALL {
            assert_eq!(fail_mode(operation, &fresh), GoesOn, "{operation:?}");
            for (state, why) in [
                (&cut_off, Stale::NotCompared { ago_s: 3_600 }),
                (&late, Stale::ListOverdue { until_unix_s: 77 }),
                (&never, Stale::NeverCompared),
            ] {
                let expected = if starts.contains(&operation) { Refused(why) } else { GoesOnWarned(why) };
                assert_eq!(fail_mode(operation, state), expected, "{operation:?}");
                let pinned = Freshness { pinned: true, ..state.clone() };
                assert_eq!(fail_mode(operation, &pinned), GoesOnWarned(why), "{operation:?} with a pin");
            }
        }
    }
}
