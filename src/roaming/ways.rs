//! Which way a message to a partner takes: straight to the partner's node, or through the central hub.
//!
//! The first route of `[hub]` that names the partner and the service decides; a session stays on the way on which
//! it began.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::identity::{PartyId, Service};

/// Most routes: a few for each of some hundred partners. All of them are looked through for every session.
pub const ROUTES_MAX: usize = 1_000;

/// Which ways may be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// Only to the partner's own node.
    Direct,
    /// Only through the hub.
    Hub,
    /// To the partner's node; through the hub if none can be reached or there is no agreement with the partner.
    #[default]
    DirectThenHub,
}

impl Routing {
    /// Whether the partner's own node may be asked.
    #[must_use]
    pub fn may_direct(self) -> bool {
        self != Routing::Hub
    }

    /// Whether the hub may be asked.
    #[must_use]
    pub fn may_hub(self) -> bool {
        self != Routing::Direct
    }
}

/// `[[hub.route]]`: the way for a partner and a service. What is `None` fits all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RouteText", into = "RouteText")]
pub struct HubRoute {
    /// The partner.
    pub partner: Option<PartyId>,
    /// The service. Notifications belong to Authorization.
    pub service: Option<Service>,
    /// The way.
    pub way: Routing,
}

/// What the core knows of the hub: which parties of ours are its partners, and which way is taken to whom. Without a
/// party there is no hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Our parties that are partners of the hub.
    pub parties: BTreeSet<PartyId>,
    /// The routes, at most [`ROUTES_MAX`]; the first that fits decides.
    pub routes: Vec<HubRoute>,
}

impl Ways {
    /// Which ways a message of `ours` to `partner` may take. Only a partner of the hub has a choice.
    #[must_use]
    pub fn of(&self, ours: &PartyId, partner: &PartyId, service: Service) -> Routing {
        if !self.parties.contains(ours) {
            return Routing::Direct;
        }
        let fits = |route: &&HubRoute| {
            route.partner.as_ref().is_none_or(|named| named == partner)
                && route.service.is_none_or(|named| named == service)
        };
        self.routes.iter().find(fits).map(|route| route.way).unwrap_or_default()
    }

    /// The same while the partner is not known yet, as with a card.
    #[must_use]
    pub fn of_anybody(&self, ours: &PartyId, service: Service) -> Routing {
        if !self.parties.contains(ours) {
            return Routing::Direct;
        }
        let fits =
            |route: &&HubRoute| route.partner.is_none() && route.service.is_none_or(|named| named == service);
        self.routes.iter().find(fits).map(|route| route.way).unwrap_or_default()
    }
}

/// A route as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteText {
    partner: String,
    service: String,
    way: Routing,
}

impl TryFrom<RouteText> for HubRoute {
    type Error = String;

    fn try_from(text: RouteText) -> Result<HubRoute, String> {
        let RouteText { partner, service, way } = text;
        let partner = match partner.as_str() {
            "*" => None,
            named => Some(PartyId::parse_written(named).map_err(|error| {
                format!(
                    "`hub.route.partner`: {named:?} is neither ROLE:ID, as in EMP:DE-XYZ, nor \"*\": {error}"
                )
            })?),
        };
        let service = match service.as_str() {
            "*" => None,
            named => Some(Service::parse(named).ok_or_else(|| {
                let known: Vec<&str> = Service::ALL.iter().map(|service| service.as_str()).collect();
                format!("`hub.route.service`: {named:?} is none: write \"*\" or one of {}", known.join(", "))
            })?),
        };
        Ok(HubRoute { partner, service, way })
    }
}

impl From<HubRoute> for RouteText {
    fn from(route: HubRoute) -> RouteText {
        let all = || "*".to_owned();
        RouteText {
            partner: route.partner.as_ref().map_or_else(all, PartyId::to_text),
            service: route.service.map_or_else(all, |service| service.as_str().to_owned()),
            way: route.way,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(text: &str) -> PartyId {
        PartyId::parse(text).unwrap()
    }

    #[test]
    fn the_first_route_that_fits_decides_and_only_for_partners_of_the_hub() {
        let route =
            |partner: Option<&str>, service, way| HubRoute { partner: partner.map(party), service, way };
        let (ours, abc, xyz) = (party("EMP:DEDCB"), party("CPO:DEABC"), party("CPO:DEXYZ"));
        let mut ways = Ways {
            parties: BTreeSet::from([ours.clone()]),
            routes: vec![
                route(Some("CPO:DEABC"), Some(Service::Cdr), Routing::Direct),
                route(Some("CPO:DEABC"), None, Routing::Hub),
                route(None, Some(Service::Reservation), Routing::Direct),
            ],
        };
        for (partner, service, expected) in [
            (&abc, Service::Cdr, Routing::Direct),
            (&abc, Service::Authorization, Routing::Hub),
            (&abc, Service::Reservation, Routing::Hub),
            (&xyz, Service::Reservation, Routing::Direct),
            (&xyz, Service::Authorization, Routing::DirectThenHub),
        ] {
            assert_eq!(ways.of(&ours, partner, service), expected, "{partner} {service:?}");
        }
        ways.parties.clear();
        assert_eq!(ways.of(&ours, &abc, Service::Authorization), Routing::Direct, "no partner of the hub");
    }
}
