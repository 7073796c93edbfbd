//! Who may do what with us. Identity is not permission: behind a believed id stands this policy.
//!
//! The first rule that matches decides. Without one the public directory is open, and everything that
//! costs money needs a live agreement.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::{CanonicalId, PartyId, Role, Service};
use crate::oicp::status_code::Code;

/// Most rules: a few for each of some hundred partners. All of them are looked through for every message.
pub const RULES_MAX: usize = 1_000;

/// What the policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allowed,
    /// It would need an agreement, and there is none now.
    NoContract,
    /// A rule says no, whatever was agreed.
    Denied,
}

impl Decision {
    /// The OICP status code of a refusal: 210 without a contract, 017 if it is denied.
    pub fn code(self) -> Option<Code> {
        match self {
            Decision::Allowed => None,
            Decision::NoContract => Some(Code::NoValidContract),
            Decision::Denied => Some(Code::UnauthorizedAccess),
        }
    }

    /// For people: `allowed`, `no contract`, `denied`.
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Allowed => "allowed",
            Decision::NoContract => "no contract",
            Decision::Denied => "denied",
        }
    }
}

/// `[policy]`: who may do what with the parties of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// The rules, at most [`RULES_MAX`]; the first that matches decides.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// `[[policy.rule]]`: matches if everything that it names fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RuleText", into = "RuleText")]
pub struct Rule {
    /// Whom it is about.
    pub whom: Whom,
    /// For which services; empty: for all.
    pub services: BTreeSet<Service>,
    /// What it says.
    pub allow: bool,
}

/// Whom a rule is about. What is `None` fits everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whom {
    /// This party alone.
    pub party: Option<PartyId>,
    /// Parties whose main id is of this country: `CH`, or `+41` for a DIN id.
    pub country: Option<String>,
    /// Parties of this role.
    pub role: Option<Role>,
}

impl Whom {
    /// Whether a party is meant.
    pub fn fits(&self, party: &PartyId) -> bool {
        self.party.as_ref().is_none_or(|this| this == party)
            && self.country.as_ref().is_none_or(|country| country == party.id.country())
            && self.role.is_none_or(|role| role == party.role)
    }
}

impl Policy {
    /// Whether a party may do this with us. `has_agreement` is asked only if that matters.
    pub fn decide(
        &self,
        party: &PartyId,
        service: Service,
        has_agreement: impl FnOnce() -> bool,
    ) -> Decision {
        let covers = |rule: &&Rule| {
            rule.whom.fits(party) && (rule.services.is_empty() || rule.services.contains(&service))
        };
        match self.rules.iter().find(covers) {
            Some(rule) if rule.allow => Decision::Allowed,
            Some(_) => Decision::Denied,
            None if service.is_public() || has_agreement() => Decision::Allowed,
            None => Decision::NoContract,
        }
    }
}

/// A rule as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    party: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<Country>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<RoleText>,
    #[serde(default)]
    services: Vec<ServiceText>,
    allow: bool,
}

impl TryFrom<RuleText> for Rule {
    type Error = &'static str;

    fn try_from(text: RuleText) -> Result<Rule, &'static str> {
        if text.party.is_none() && text.country.is_none() && text.role.is_none() {
            return Err(
                "a rule of the policy says whom it is about: `party` (\"*\" is everybody), `country` or `role`",
            );
        }
        let party = text.party.and_then(|Named(party)| party);
        let country = text.country.map(|Country(country)| country);
        let whom = Whom { party, country, role: text.role.map(|RoleText(role)| role) };
        let services = text.services.into_iter().map(|ServiceText(service)| service).collect();
        Ok(Rule { whom, services, allow: text.allow })
    }
}

impl From<Rule> for RuleText {
    fn from(rule: Rule) -> RuleText {
        let Whom { party, country, role } = rule.whom;
        let everybody = party.is_none() && country.is_none() && role.is_none();
        RuleText {
            party: if everybody { Some(Named(None)) } else { party.map(|party| Named(Some(party))) },
            country: country.map(Country),
            role: role.map(RoleText),
            services: rule.services.into_iter().map(ServiceText).collect(),
            allow: rule.allow,
        }
    }
}

/// Text that stands for a value; errors name the setting, the file's reader adds the line.
macro_rules! written_as_text {
    ($name:ident, $read:expr, $write:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = String::deserialize(deserializer)?;
                let read: fn(&str) -> Result<$name, String> = $read;
                read(&text).map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let write: fn(&$name) -> String = $write;
                serializer.serialize_str(&write(self))
            }
        }
    };
}

/// A party, or everybody.
struct Named(Option<PartyId>);
struct Country(String);
struct RoleText(Role);
struct ServiceText(Service);

written_as_text!(
    Named,
    |text| match text.split_once(':') {
        _ if text == "*" => Ok(Named(None)),
        Some((role, id)) => Role::parse(role)
            .and_then(|role| PartyId::new(role, id))
            .map(|party| Named(Some(party)))
            .map_err(|error| format!("`party`: {error}")),
        None => Err(format!("`party`: {text:?} is neither ROLE:ID, as in EMP:DE-XYZ, nor \"*\"")),
    },
    |Named(party)| party.as_ref().map_or_else(|| "*".to_owned(), PartyId::to_text)
);

written_as_text!(
    Country,
    |text| {
        // A country is right if an id can begin with it.
        let alphabetic = text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
        let id = if alphabetic { format!("{text}AAA") } else { format!("{text}*000") };
        match CanonicalId::parse(&id) {
            Ok(id) if id.country() == text => Ok(Country(text.to_owned())),
            _ => Err(format!(
                "`country`: {text:?} is none: write two capital letters (DE) or + and a calling code (+49)"
            )),
        }
    },
    |Country(country)| country.clone()
);

written_as_text!(
    RoleText,
    |text| Role::parse(text).map(RoleText).map_err(|error| format!("`role`: {error}")),
    |RoleText(role)| role.as_str().to_owned()
);

written_as_text!(
    ServiceText,
    |text| Service::parse(text).map(ServiceText).ok_or_else(|| {
        let known: Vec<&str> = Service::ALL.iter().map(|service| service.as_str()).collect();
        format!("`services`: {text:?} is none: write some of {}", known.join(", "))
    }),
    |ServiceText(service)| service.as_str().to_owned()
);

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(text: &str) -> PartyId {
        PartyId::parse(text).unwrap()
    }

    fn rule(
        party: Option<&str>,
        country: Option<&str>,
        role: Option<Role>,
        services: &[Service],
        allow: bool,
    ) -> Rule {
        let whom = Whom { party: party.map(super::tests::party), country: country.map(str::to_owned), role };
        Rule { whom, services: services.iter().copied().collect(), allow }
    }

    #[test]
    fn without_rules_the_directory_is_open_and_money_needs_an_agreement() {
        let (policy, emp) = (Policy::default(), party("EMP:DEXYZ"));
        for (service, without, with) in [
            (Service::EvseData, Decision::Allowed, Decision::Allowed),
            (Service::EvseStatus, Decision::Allowed, Decision::Allowed),
            (Service::Authorization, Decision::NoContract, Decision::Allowed),
            (Service::Reservation, Decision::NoContract, Decision::Allowed),
            (Service::Cdr, Decision::NoContract, Decision::Allowed),
            (Service::Pricing, Decision::NoContract, Decision::Allowed),
        ] {
            assert_eq!(policy.decide(&emp, service, || false), without, "{service:?}");
            assert_eq!(policy.decide(&emp, service, || true), with, "{service:?}");
        }
        assert_eq!(Decision::NoContract.code().map(Code::as_str), Some("210"));
        assert_eq!(Decision::Denied.code().map(Code::as_str), Some("017"));
        assert_eq!(Decision::Allowed.code(), None);
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        use Decision::{Allowed, Denied, NoContract};
        use Service::{Authorization, Cdr, EvseData};
        let policy = Policy {
            rules: vec![
                rule(Some("EMP:DEBAD"), None, None, &[], false),
                rule(Some("EMP:DEXYZ"), None, None, &[Authorization], true),
                rule(None, Some("FR"), None, &[Cdr], true),
                rule(None, Some("FR"), Some(Role::Emp), &[], false),
                rule(None, None, Some(Role::Hub), &[], false),
                rule(None, Some("+49"), None, &[EvseData], false),
            ],
        };
        for (who, service, agreed, expected) in [
            ("EMP:DEBAD", EvseData, true, Denied),
            ("EMP:DEBAD", Cdr, true, Denied),
            // The same id in another role is another party.
            ("CPO:DEBAD", Cdr, true, Allowed),
            ("EMP:DEXYZ", Authorization, false, Allowed),
            ("EMP:DEXYZ", Cdr, false, NoContract),
            ("EMP:DEXYZ", Cdr, true, Allowed),
            // Allowed before it is denied; country and role must both fit.
            ("EMP:FRABC", Cdr, false, Allowed),
            ("EMP:FRABC", Authorization, true, Denied),
            ("CPO:FRABC", Authorization, true, Allowed),
            ("CPO:FRABC", Authorization, false, NoContract),
            ("HUB:CHABC", EvseData, true, Denied),
            // A DIN id of a country is not an ISO id of it.
            ("CPO:+49*123", EvseData, true, Denied),
            ("CPO:DEABC", EvseData, false, Allowed),
        ] {
            let said = policy.decide(&party(who), service, || agreed);
            assert_eq!(said, expected, "{who} {service:?} agreed: {agreed}");
        }
    }

    #[test]
    fn a_rule_for_everybody_closes_or_opens_what_comes_after() {
        let mut policy = Policy {
            rules: vec![
                rule(Some("EMP:DEXYZ"), None, None, &[], true),
                rule(None, None, None, &[Service::EvseData], false),
            ],
        };
        let open = |policy: &Policy, who: &str| policy.decide(&party(who), Service::EvseData, || false);
        assert_eq!(open(&policy, "EMP:DEXYZ"), Decision::Allowed);
        assert_eq!(open(&policy, "EMP:DEABC"), Decision::Denied);
        policy.rules.reverse();
        assert_eq!(open(&policy, "EMP:DEXYZ"), Decision::Denied, "order counts");
    }
}
