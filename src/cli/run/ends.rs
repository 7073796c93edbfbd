//! What ends by itself, and who is told in time.

use chargemesh::node::Identity;
use chargemesh::tls::{Use, Used};

/// Hours before an end at which it is told, and told again.
const WARNING_HOURS: [u64; 2] = [48, 24];

/// The same for certificates of HTTPS, which people renew: 30 days, 7 days and one.
const CERTIFICATE_WARNING_HOURS: [u64; 3] = [30 * 24, 7 * 24, 24];

/// An hour in seconds.
const HOUR_S: u64 = 3_600;

/// What ends by itself: delegations, credentials, the trust list, and certificates of HTTPS.
pub(super) struct Ends(Vec<End>);

#[derive(Clone)]
struct End {
    what: String,
    /// What to do about it.
    remedy: &'static str,
    at_unix_s: u64,
    /// What follows from it.
    then: &'static str,
    /// When it is told.
    warning_hours: &'static [u64],
    /// How many of the warnings were given, the end itself counted.
    warned: usize,
}

impl Ends {
    pub(super) fn of(identity: &Identity, certificates: &[Used]) -> Ends {
        let end = |what, remedy, at_unix_s| {
            let then = "others stop listening";
            End { what, remedy, at_unix_s, then, warning_hours: &WARNING_HOURS, warned: 0 }
        };
        let mut ends = Vec::new();
        for party in &identity.parties {
            let (credential_s, delegation_s) = party.speaker.ends();
            let name = &party.party;
            ends.push(end(format!("the delegation of {name}"), "call `chargemesh renew`", delegation_s));
            ends.push(end(
                format!("the credential of {name}"),
                "get a new one from its issuer",
                credential_s,
            ));
        }
        let trust_s = identity.trust.valid_until_unix_s;
        ends.push(end("the trust list of this node".to_owned(), "install a new one", trust_s));
        ends.extend(certificates.iter().map(End::of_certificate));
        Ends(ends)
    }

    /// Goes on with another identity. What is the same is not told again.
    pub(super) fn replace(&mut self, identity: &Identity, certificates: &[Used]) {
        let before = std::mem::replace(self, Ends::of(identity, certificates));
        for end in &mut self.0 {
            let same = |old: &&End| old.what == end.what && old.at_unix_s == end.at_unix_s;
            end.warned = before.0.iter().find(same).map_or(0, |old| old.warned);
        }
    }

    /// Logs what is due.
    pub(super) fn warn(&mut self, now_unix_s: u64) {
        for end in &mut self.0 {
            let (what, remedy, then) = (end.what.clone(), end.remedy, end.then);
            match end.due(now_unix_s) {
                None => {}
                Some(0) => {
                    tracing::error!("{what} has ended: {then}; {remedy}")
                }
                Some(hours) => {
                    tracing::warn!("{what} ends in {hours} hours, then {then}: {remedy}")
                }
            }
        }
    }
}

impl End {
    fn of_certificate(used: &Used) -> End {
        let certificate = &used.certificate;
        let what = format!("{} {}", used.what_for.words(), used.party);
        let remedy = match used.what_for {
            Use::Facade | Use::Backend | Use::Hub => {
                "get a new one and put it in its place; no restart is needed"
            }
            Use::ClientCa | Use::BackendCa | Use::HubCa => {
                "add the new one to its file; no restart is needed"
            }
        };
        End {
            what: format!("{} ({}, {})", what.trim(), certificate.subject, certificate.fingerprint),
            remedy,
            at_unix_s: certificate.not_after_unix_s,
            then: "there are no connections with it",
            warning_hours: &CERTIFICATE_WARNING_HOURS,
            warned: 0,
        }
    }

    /// The hours that are left, rounded up, if they are to be told now; each warning is given once.
    fn due(&mut self, now_unix_s: u64) -> Option<u64> {
        let left_s = self.at_unix_s.saturating_sub(now_unix_s);
        let passed = self.warning_hours.iter().chain(&[0]).filter(|hours| left_s <= **hours * HOUR_S).count();
        let is_new = passed > self.warned;
        self.warned = passed;
        is_new.then(|| left_s.div_ceil(HOUR_S))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_warning_is_given_once() {
        let end = |at_unix_s| End {
            what: String::new(),
            remedy: "",
            at_unix_s,
            then: "",
            warning_hours: &WARNING_HOURS,
            warned: 0,
        };
        let mut early = end(1_000 * HOUR_S);
        let at = |hours_left: u64| (1_000 - hours_left) * HOUR_S;
        assert_eq!(early.due(at(100)), None);
        assert_eq!(early.due(at(48)), Some(48));
        assert_eq!(early.due(at(47)), None);
        assert_eq!(early.due(at(20)), Some(20), "a machine that slept is told late, but told");
        assert_eq!(early.due(at(10)), None);
        assert_eq!(early.due(at(0)), Some(0));
        assert_eq!(early.due(at(0) + 5), None);
        assert_eq!(end(0).due(7), Some(0), "not three warnings, but the last");
    }

    #[test]
    fn certificates_are_told_30_days_7_days_and_a_day_before() {
        let certificate = chargemesh::tls::Certificate {
            fingerprint: chargemesh::tls::Fingerprint::of_der(b"one"),
            subject: "CN=one".to_owned(),
            not_before_unix_s: 0,
            not_after_unix_s: 10_000 * HOUR_S,
        };
        let mut end = End::of_certificate(&Used::list(Use::Backend, "EMP:DEXYZ", vec![certificate])[0]);
        assert!(end.what.contains("the backend of EMP:DEXYZ (CN=one, sha256:"), "{}", end.what);
        let at = |hours_left: u64| (10_000 - hours_left) * HOUR_S;
        let told = [721, 720, 719, 168, 100, 24, 1, 0].map(|hours| end.due(at(hours)));
        assert_eq!(told, [None, Some(720), None, Some(168), None, Some(24), None, Some(0)]);
    }

    #[test]
    fn after_a_reload_only_what_is_new_is_told() {
        let trust = |until| chargemesh::identity::TrustList {
            issuers: Vec::new(),
            pins: Vec::new(),
            seq: 1,
            valid_until_unix_s: until,
        };
        let identity = |until| Identity::without_party([1; 32], trust(until));
        let mut ends = Ends::of(&identity(40 * HOUR_S), &[]);
        ends.warn(0);
        ends.replace(&identity(40 * HOUR_S), &[]);
        assert_eq!(ends.0[0].due(0), None);
        ends.replace(&identity(41 * HOUR_S), &[]);
        assert_eq!(ends.0[0].due(0), Some(41));
    }
}
