//! Settings of a hub that is played: its partners, its limits, its patience, its faults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::operation::HubOperation;
use crate::backend::Behaviour;
use crate::backend::Kind;
use crate::engine::Clock;
use crate::oicp::id::{OperatorId, ProviderId};
use crate::tls::Fingerprint;

/// Most partners.
pub const PARTNERS_MAX: usize = 1_000;

/// Settings of a hub.
#[derive(Clone)]
pub struct HubConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who takes part, at most [`PARTNERS_MAX`].
    pub partners: Vec<Partner>,
    /// Its certificate, and whom it believes; without them it speaks plain HTTP.
    pub tls: Option<HubTls>,
    /// Calls per minute and partner that are taken.
    pub limits: Limits,
    /// How long it waits for a partner's answer to a message about a session; the real hub 60 s (OPERATIONS 4).
    pub timeout: Duration,
    /// How long it waits for an EMP's answer to a charge detail record; the real hub 30 s (OPERATIONS 4).
    pub cdr_timeout: Duration,
    /// Whether a remote start whose answer did not come in time stays a session, so that its record is taken
    /// (GAPS C11). The real hub is said to forget it.
    pub keep_late_sessions: bool,
    /// How it fails.
    pub faults: HubFaults,
    /// Foreign charging points that are made up, by number.
    pub seeds: u64,
    /// Says when something happened.
    pub clock: Arc<dyn Clock>,
}

impl HubConfig {
    /// A hub with these partners on a free port of loopback; limits as published.
    #[must_use]
    pub fn new(partners: Vec<Partner>, clock: Arc<dyn Clock>) -> HubConfig {
        HubConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            partners,
            tls: None,
            limits: Limits::default(),
            timeout: Duration::from_secs(60),
            cdr_timeout: Duration::from_secs(30),
            keep_late_sessions: false,
            faults: HubFaults::default(),
            seeds: 0,
            clock,
        }
    }
}

/// What the hub shows and asks for over TLS, in PEM. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct HubTls {
    /// Its certificate, also shown to partners that it calls.
    pub certificate: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
    /// The CA of its partners: who shows no certificate of it is not let in.
    pub client_ca: Vec<u8>,
}

impl fmt::Debug for HubTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubTls")
    }
}

/// Who takes part. As text: `CPO:DE*ABC` with `,url=…`, `,key=…`, `,certificate=sha256:…`, `,also=DE*ABD+DE*ABE`
/// (sub-partners) and `,only=push-data+push-status` behind it, each of them optional. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Partner {
    /// The side.
    pub kind: Kind,
    /// Its id as written.
    pub id: String,
    /// Its id without separators.
    pub canonical: String,
    /// Ids of its sub-partners, without separators.
    pub also: BTreeSet<String>,
    /// Base URL of its backend; without it nothing is forwarded to it (an offline EMP).
    pub url: Option<String>,
    /// What it says as HTTP Basic password or in the path, instead of a certificate.
    pub key: Option<String>,
    /// Its certificate, over TLS.
    pub certificate: Option<Fingerprint>,
    /// What it has subscribed to, as caller or as the one who is called; everything without it.
    pub only: Option<BTreeSet<HubOperation>>,
}

impl Partner {
    /// A partner with nothing but its id.
    ///
    /// # Errors
    /// A sentence, if the id is none.
    pub fn new(kind: Kind, id: &str) -> Result<Partner, String> {
        let canonical = canonical(kind, id)?;
        let (also, id) = (BTreeSet::new(), id.to_owned());
        Ok(Partner { kind, id, canonical, also, url: None, key: None, certificate: None, only: None })
    }

    /// Whether it has subscribed to an operation.
    #[must_use]
    pub fn takes_part_in(&self, operation: HubOperation) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&operation))
    }

    /// Whether an operator or provider part without separators is its own or a sub-partner's.
    #[must_use]
    pub fn speaks_for(&self, canonical: &str) -> bool {
        self.canonical == canonical || self.also.contains(canonical)
    }
}

fn canonical(kind: Kind, id: &str) -> Result<String, String> {
    match kind {
        Kind::Cpo => OperatorId::parse(id).map(|id| id.canonical()),
        Kind::Emp => ProviderId::parse(id).map(|id| id.canonical()),
    }
    .map_err(|error| error.to_string())
}

impl fmt::Debug for Partner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partner({}:{})", self.kind, self.id)
    }
}

impl FromStr for Partner {
    type Err = String;

    fn from_str(text: &str) -> Result<Partner, String> {
        let mut parts = text.split(',').map(str::trim);
        let who = parts.next().unwrap_or_default();
        let (role, id) = who.split_once(':').ok_or("write CPO:ID or EMP:ID first, as in CPO:DE*ABC")?;
        let kind = match role {
            "CPO" => Kind::Cpo,
            "EMP" => Kind::Emp,
            _ => return Err(format!("`{role}` is no side: write CPO or EMP")),
        };
        let mut partner = Partner::new(kind, id)?;
        for part in parts {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("`{part}`: write NAME=VALUE"))?;
            match name {
                "url" => partner.url = Some(value.to_owned()),
                "key" => partner.key = Some(value.to_owned()),
                "certificate" => {
                    let fingerprint = Fingerprint::parse(value).map_err(|error| error.to_string())?;
                    partner.certificate = Some(fingerprint);
                }
                "also" => {
                    partner.also =
                        value.split('+').map(|id| canonical(kind, id)).collect::<Result<_, _>>()?;
                }
                "only" => partner.only = Some(value.split('+').map(str::parse).collect::<Result<_, _>>()?),
                _ => return Err(format!("`{name}` is none of url, key, certificate, also, only")),
            }
        }
        Ok(partner)
    }
}

/// Calls per minute and partner, by operation. As text `published`, `none`, or a comma list behind one of them:
/// `published,pull-status=2,push-data=0`; 0 is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    published: bool,
    of_operation: BTreeMap<HubOperation, u32>,
}

impl Limits {
    /// No limits.
    #[must_use]
    pub fn none() -> Limits {
        Limits { published: false, of_operation: BTreeMap::new() }
    }

    /// The same, with another limit for one operation; 0 is none.
    #[must_use]
    pub fn with(mut self, operation: HubOperation, per_minute: u32) -> Limits {
        self.of_operation.insert(operation, per_minute);
        self
    }

    /// Calls per minute; `None`: as many as come.
    #[must_use]
    pub fn of(&self, operation: HubOperation) -> Option<u32> {
        let usual = if self.published { operation.published_limit() } else { 0 };
        let limit = self.of_operation.get(&operation).copied().unwrap_or(usual);
        (limit > 0).then_some(limit)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { published: true, of_operation: BTreeMap::new() }
    }
}

impl FromStr for Limits {
    type Err = String;

    fn from_str(text: &str) -> Result<Limits, String> {
        let mut limits = Limits::default();
        for part in text.split(',').map(str::trim) {
            match (part, part.split_once('=')) {
                ("published", _) => limits.published = true,
                ("none", _) => limits.published = false,
                (_, Some((operation, calls))) => {
                    let calls = calls.parse().map_err(|_| format!("`{calls}` is no number of calls"))?;
                    limits.of_operation.insert(operation.parse()?, calls);
                }
                _ => return Err(format!("`{part}`: write published, none or OPERATION=CALLS")),
            }
        }
        Ok(limits)
    }
}

/// How the hub fails: a behaviour for everything, with exceptions. As text as [`crate::backend::Behaviours`]:
/// `answer,push-data:http=500,pull-data:garbage`. What `http` answers is an HTML page; `refuse` refuses with OICP's
/// words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFaults {
    usual: Behaviour,
    of_operation: BTreeMap<HubOperation, Behaviour>,
}

impl HubFaults {
    /// The same, and another behaviour for one operation.
    #[must_use]
    pub fn with(mut self, operation: HubOperation, behaviour: Behaviour) -> HubFaults {
        self.of_operation.insert(operation, behaviour);
        self
    }

    /// How an operation is treated.
    #[must_use]
    pub fn of(&self, operation: HubOperation) -> Behaviour {
        self.of_operation.get(&operation).copied().unwrap_or(self.usual)
    }
}

impl Default for HubFaults {
    fn default() -> HubFaults {
        HubFaults::from(Behaviour::Answer)
    }
}

impl From<Behaviour> for HubFaults {
    fn from(usual: Behaviour) -> HubFaults {
        HubFaults { usual, of_operation: BTreeMap::new() }
    }
}

impl FromStr for HubFaults {
    type Err = String;

    fn from_str(text: &str) -> Result<HubFaults, String> {
        let mut faults = HubFaults::default();
        for part in text.split(',').map(str::trim) {
            let behaviour = |text: &str| text.parse::<Behaviour>().map_err(|error| error.to_string());
            match part.split_once(':') {
                None => faults.usual = behaviour(part)?,
                Some((operation, how)) => {
                    faults.of_operation.insert(operation.parse()?, behaviour(how)?);
                }
            }
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_limits_and_faults_are_read() {
        let text =
            "CPO:DE*ABC,url=http://127.0.0.1:1/k/secret,key=secret,also=DE*ABD+DE*ABE,only=push-data+cdr";
        let partner: Partner = text.parse().unwrap();
        assert!(partner.speaks_for("DEABC") && partner.speaks_for("DEABE") && !partner.speaks_for("DEXYZ"));
        assert!(partner.takes_part_in(HubOperation::PushData));
        assert!(!partner.takes_part_in(HubOperation::PushStatus));
        assert!(!format!("{partner:?}").contains("secret"));
        for bad in
            ["", "DE*ABC", "XYZ:DE*ABC", "CPO:nonsense!", "CPO:DE*ABC,only=push", "CPO:DE*ABC,certificate=1"]
        {
            assert!(bad.parse::<Partner>().is_err(), "{bad}");
        }
        let limits: Limits = "published,pull-status=2,push-data=0".parse().unwrap();
        let of = [HubOperation::PullStatus, HubOperation::PushData, HubOperation::PullData];
        assert_eq!(of.map(|operation| limits.of(operation)), [Some(2), None, Some(100)]);
        assert_eq!("none".parse::<Limits>().unwrap(), Limits::none());
        assert!("often".parse::<Limits>().is_err());
        let faults: HubFaults = "answer,push-data:http=500".parse().unwrap();
        assert_eq!(faults.of(HubOperation::PushData), Behaviour::Http(500));
        assert_eq!(faults.of(HubOperation::PullData), Behaviour::Answer);
        assert!("push:http=500".parse::<HubFaults>().is_err());
    }
}
