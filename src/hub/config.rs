//! `[hub]`: where the central hub is, for which parties of ours, which way messages take, and its limits.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::identity::{PartyId, Role};
use crate::outbound::{OutboundError, Tls};
use crate::roaming::{HUB_ROUTES_MAX, HubRoute, Ways};

/// `[hub]`: the central hub as one more peer. Its acceptable use policy applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HubConfig {
    /// Base URL, OICP's paths are appended; `https`, or `http` on loopback. Empty: there is no hub.
    pub url: String,
    /// PEM file with our client certificate; empty: none.
    pub certificate: PathBuf,
    /// PEM file with its key; empty: none.
    pub key: PathBuf,
    /// PEM file with the roots that the hub's certificate is signed by; empty: the system's.
    pub ca: PathBuf,
    /// Our parties that are partners of the hub, as `ROLE:ID` in any wire spelling.
    pub parties: Vec<String>,
    /// Which way messages take; the first that fits decides, without one `direct-then-hub`.
    #[serde(rename = "route")]
    pub routes: Vec<HubRoute>,
    /// Messages to the hub under way at once; more go nowhere.
    pub calls_max: usize,
    /// Full load of EVSE data, every so many seconds; 0: nothing is pushed.
    pub push_data_full_s: u64,
    /// Full load of EVSE status, every so many seconds; 0: nothing is pushed.
    pub push_status_full_s: u64,
    /// Pull of others' EVSE data, every so many seconds; 0: never.
    pub pull_data_s: u64,
    /// Pull of others' EVSE status, every so many seconds; 0: never.
    pub pull_status_s: u64,
    /// How many calls per minute the hub allows.
    pub limits: HubLimits,
}

impl Default for HubConfig {
    fn default() -> HubConfig {
        HubConfig {
            url: String::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            ca: PathBuf::new(),
            parties: Vec::new(),
            routes: Vec::new(),
            calls_max: 256,
            push_data_full_s: 604_800,
            push_status_full_s: 86_400,
            pull_data_s: 86_400,
            pull_status_s: 300,
            limits: HubLimits::default(),
        }
    }
}

/// `[hub.limits]`: calls per minute of each operation that the node calls (the hub's acceptable use policy); 0: no
/// limit. All parties behind one certificate share them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HubLimits {
    /// AuthorizeStart.
    pub authorize_start: u32,
    /// AuthorizeStop.
    pub authorize_stop: u32,
    /// AuthorizeRemoteStart.
    pub remote_start: u32,
    /// AuthorizeRemoteStop.
    pub remote_stop: u32,
    /// AuthorizeRemoteReservationStart and -Stop together.
    pub reservation: u32,
    /// ChargingNotifications.
    pub notification: u32,
    /// ChargeDetailRecord.
    pub charge_detail_record: u32,
    /// PushEvseData.
    pub push_data: u32,
    /// PushEvseStatus.
    pub push_status: u32,
    /// PullEvseData, each page.
    pub pull_data: u32,
    /// PullEvseStatus.
    pub pull_status: u32,
    /// PullEvseStatusByOperatorID.
    pub pull_status_by_operator_id: u32,
}

impl Default for HubLimits {
    fn default() -> HubLimits {
        HubLimits {
            authorize_start: 200,
            authorize_stop: 50,
            remote_start: 100,
            remote_stop: 200,
            reservation: 100,
            notification: 100,
            charge_detail_record: 350,
            push_data: 375,
            push_status: 2_000,
            pull_data: 25,
            pull_status: 6,
            pull_status_by_operator_id: 75,
        }
    }
}

impl HubConfig {
    /// Whether there is a hub.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// Reads our certificate, its key, and the hub's roots.
    ///
    /// # Errors
    /// [`OutboundError::Tls`] names the file and what to do.
    pub fn tls(&self) -> Result<Tls, OutboundError> {
        Tls::read(&self.ca, &self.certificate, &self.key)
            .map_err(|source| OutboundError::Tls { url: self.url.clone(), source })
    }

    /// What the core has to know: our partners of the hub and the routes. Without a hub: nobody, so that all is direct.
    #[must_use]
    pub fn ways(&self) -> Ways {
        if !self.is_on() {
            return Ways::default();
        }
        let parties = self.parties.iter().filter_map(|name| PartyId::parse_written(name).ok()).collect();
        Ways { parties, routes: self.routes.clone() }
    }

    /// Checks the section against the parties of the node.
    ///
    /// # Errors
    /// The key, and what is wrong with it and what to do.
    pub fn check(&self, own: &BTreeSet<PartyId>) -> Result<(), (String, String)> {
        let wrong = |key: &str, rule: String| Err((format!("hub.{key}"), rule));
        if self.routes.len() > HUB_ROUTES_MAX {
            let rule = format!("more than {HUB_ROUTES_MAX} routes: write \"*\" in the place of partners");
            return wrong("route", rule);
        }
        let mut named = BTreeSet::new();
        for (index, name) in self.parties.iter().enumerate() {
            let key = format!("parties[{index}]");
            match PartyId::parse_written(name) {
                Ok(party) if !own.contains(&party) => {
                    return wrong(
                        &key,
                        format!("{party} is no party of this node: add it under [[parties]]"),
                    );
                }
                Ok(party) if party.role == Role::Hub => {
                    return wrong(&key, format!("{party} is a hub itself: name CPOs and EMPs"));
                }
                Ok(party) if !named.insert(party.clone()) => {
                    return wrong(&key, format!("{party} is named twice: keep one of them"));
                }
                Ok(_) => {}
                Err(error) => return wrong(&key, format!("{error}; write ROLE:ID, for example CPO:DE*ABC")),
            }
        }
        if self.certificate.as_os_str().is_empty() != self.key.as_os_str().is_empty() {
            return wrong("certificate", "`certificate` and `key` go together: name both or none".into());
        }
        if !self.is_on() {
            return Ok(());
        }
        if named.is_empty() {
            return wrong(
                "parties",
                "the hub is on for nobody: name our parties that are its partners".into(),
            );
        }
        if self.calls_max == 0 {
            return wrong("calls_max", "0 lets no message through: write at least 1".into());
        }
        match self.url.split_once("://") {
            Some(("https", host)) if !host.is_empty() => Ok(()),
            Some(("http", host)) if is_loopback(host) => Ok(()),
            Some(("http", _)) => {
                wrong("url", format!("{:?}: plain http only on loopback; write https://…", self.url))
            }
            _ => wrong("url", format!("{:?} is no base URL: write https://host", self.url)),
        }
    }

    /// Why a caller of the facade cannot be configured so; `hub`: it is the hub.
    #[must_use]
    pub fn refuses(&self, hub: bool, parties: &[String]) -> Option<String> {
        match hub {
            true if !self.is_on() => Some("there is no hub: write its `url` under [hub]".to_owned()),
            true if !parties.is_empty() => {
                Some("the hub names no `parties` here: it may call for those of [hub]".to_owned())
            }
            _ => None,
        }
    }
}

/// Whether the authority of a URL is this machine.
fn is_loopback(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> BTreeSet<PartyId> {
        ["CPO:DEABC", "EMP:DEDCB", "HUB:DEHUB"].map(|text| PartyId::parse(text).unwrap()).into()
    }

    fn on() -> HubConfig {
        let url = "http://127.0.0.1:9".to_owned();
        HubConfig { url, parties: vec!["CPO:DE*ABC".into()], ..HubConfig::default() }
    }

    #[test]
    fn what_cannot_work_is_named_with_its_key() {
        assert_eq!(HubConfig::default().check(&own()), Ok(()), "off by default");
        assert_eq!(on().check(&own()), Ok(()));
        for url in ["https://service.example", "http://[::1]:9/x", "http://localhost"] {
            assert_eq!(HubConfig { url: url.into(), ..on() }.check(&own()), Ok(()), "{url}");
        }
        let parties =
            |names: &[&str]| HubConfig { parties: names.iter().map(|n| (*n).to_owned()).collect(), ..on() };
        let url = |url: &str| HubConfig { url: url.into(), ..on() };
        for (config, key, told) in [
            (url("http://hub.example"), "hub.url", "loopback"),
            (url("http://127.0.0.1.example"), "hub.url", "loopback"),
            (url("hub.example"), "hub.url", "base URL"),
            (parties(&[]), "hub.parties", "nobody"),
            (parties(&["CPO:DE*XXX"]), "hub.parties[0]", "no party of this node"),
            (parties(&["CPO:DE*ABC", "DE*ABC"]), "hub.parties[1]", "ROLE:ID"),
            (parties(&["CPO:DE*ABC", "CPO:DEABC"]), "hub.parties[1]", "twice"),
            (parties(&["HUB:DE*HUB"]), "hub.parties[0]", "hub itself"),
            (HubConfig { key: "x.pem".into(), ..on() }, "hub.certificate", "go together"),
            (HubConfig { calls_max: 0, ..on() }, "hub.calls_max", "at least 1"),
        ] {
            let (at, rule) = config.check(&own()).expect_err(told);
            assert!(at == key && rule.contains(told), "{at}: {rule}");
        }
        assert!(HubConfig::default().refuses(true, &[]).is_some_and(|rule| rule.contains("[hub]")));
        assert!(on().refuses(true, &["CPO:DE*ABC".into()]).is_some_and(|rule| rule.contains("no `parties`")));
        assert_eq!(on().refuses(true, &[]), None);
        assert_eq!(HubConfig::default().refuses(false, &["CPO:DE*ABC".into()]), None);
    }

    #[test]
    fn without_a_hub_everything_is_direct() {
        assert!(HubConfig { url: String::new(), ..on() }.ways().parties.is_empty());
        assert_eq!(on().ways().parties.len(), 1);
    }
}
