//! Which of our records only named parties may see. The first rule that matches decides; what none names is
//! public.

use serde::{Deserialize, Serialize};

use crate::identity::{CanonicalId, PartyId, Role};
use crate::oicp::id::{EvseId, EvseKey};
use crate::oicp::price_key::EVERYBODY;
use crate::protocol::{Audience, MEMBERS_MAX, Members};

/// Most rules; each may lead to two feeds more for each party.
pub const RULES_MAX: usize = 256;

/// Most ids in one rule: a list of whole EvseIDs that is longer is better said by their beginning.
const EVSES_MAX: usize = 10_000;

/// `[visibility]`: who may see what parties of this node publish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Visibility {
    /// The rules, at most [`RULES_MAX`]; the first that matches decides.
    #[serde(rename = "rule")]
    pub rules: Vec<VisibilityRule>,
}

/// `[[visibility.rule]]`: data and status of these EVSEs are for these parties alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RuleText", into = "RuleText")]
pub struct VisibilityRule {
    /// Of which EVSEs.
    pub evses: Vec<Evses>,
    /// Who may see them.
    pub members: Members,
}

/// EVSEs as a rule names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evses {
    /// All of an operator id.
    Of(CanonicalId),
    /// This one.
    One(EvseKey),
    /// All of the same operator id whose EvseIDs begin like this.
    Beginning(EvseKey),
}

impl Evses {
    /// Whether an EVSE is meant.
    pub fn covers(&self, key: &EvseKey) -> bool {
        match self {
            Evses::Of(operator) => operator.as_str() == key.operator(),
            Evses::One(one) => one == key,
            Evses::Beginning(first) => {
                first.operator() == key.operator() && key.as_str().starts_with(first.as_str())
            }
        }
    }
}

impl Visibility {
    /// Who may see a record of ours: of an EVSE, or a price. A price for one provider is for that one alone; one for
    /// all is for those who may see the EVSE.
    pub fn audience_of(&self, key: &EvseKey) -> Audience {
        let provider = key.provider().filter(|provider| *provider != EVERYBODY);
        if let Some(party) = provider.and_then(|provider| PartyId::new(Role::Emp, provider).ok())
            && let Ok(members) = Members::new([party])
        {
            return Audience::Named(members);
        }
        let evse = key.priced_evse();
        let key = evse.as_ref().unwrap_or(key);
        let rule = self.rules.iter().find(|rule| rule.evses.iter().any(|evses| evses.covers(key)));
        rule.map_or(Audience::Public, |rule| Audience::Named(rule.members.clone()))
    }

    /// The closed audiences that there are.
    pub fn audiences(&self) -> impl Iterator<Item = Audience> {
        self.rules.iter().map(|rule| Audience::Named(rule.members.clone()))
    }
}

/// A rule as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    evses: Vec<String>,
    parties: Vec<String>,
}

impl TryFrom<RuleText> for VisibilityRule {
    type Error = String;

    fn try_from(text: RuleText) -> Result<VisibilityRule, String> {
        if text.evses.is_empty() || text.evses.len() > EVSES_MAX {
            return Err(format!(
                "`evses`: write 1 to {EVSES_MAX} operator ids, EvseIDs or beginnings of EvseIDs"
            ));
        }
        let evses = text.evses.iter().map(|evses| read_evses(evses)).collect::<Result<_, _>>()?;
        let parties = text.parties.iter().map(|party| read_party(party)).collect::<Result<Vec<_>, _>>()?;
        let members = Members::new(parties)
            .map_err(|_| format!("`parties`: write 1 to {MEMBERS_MAX} parties as ROLE:ID"))?;
        Ok(VisibilityRule { evses, members })
    }
}

impl From<VisibilityRule> for RuleText {
    fn from(rule: VisibilityRule) -> RuleText {
        let text = |evses: &Evses| match evses {
            Evses::Of(operator) => operator.as_str().to_owned(),
            Evses::One(key) => key.to_string(),
            Evses::Beginning(key) => format!("{key}*"),
        };
        RuleText {
            evses: rule.evses.iter().map(text).collect(),
            parties: rule.members.parties().iter().map(PartyId::to_text).collect(),
        }
    }
}

/// An EvseID that ends in `*` stands for all that begin like it; whole ids never end so.
fn read_evses(text: &str) -> Result<Evses, String> {
    if let Ok(operator) = CanonicalId::parse(text) {
        return Ok(Evses::Of(operator));
    }
    let (id, beginning) = text.strip_suffix('*').map_or((text, false), |id| (id, true));
    let wrong = |error| {
        format!(
            "`evses`: {text:?} is no operator id (DE*ABC), EvseID (DE*ABC*E123) or beginning of one \
             (DE*ABC*E12*): {error}"
        )
    };
    let key = EvseId::parse(id).map_err(wrong)?.key().clone();
    Ok(if beginning { Evses::Beginning(key) } else { Evses::One(key) })
}

fn read_party(text: &str) -> Result<PartyId, String> {
    let party = text.split_once(':').and_then(|(role, id)| PartyId::new(Role::parse(role).ok()?, id).ok());
    party.ok_or_else(|| format!("`parties`: {text:?} is not ROLE:ID, as in EMP:DE-XYZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(evses: &[&str], parties: &[&str]) -> Result<VisibilityRule, String> {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        VisibilityRule::try_from(RuleText { evses: texts(evses), parties: texts(parties) })
    }

    fn key(text: &str) -> EvseKey {
        EvseId::parse(text).unwrap().key().clone()
    }

    #[test]
    fn the_first_rule_that_covers_an_evse_decides_and_the_rest_is_public() {
        let rules = vec![
            rule(&["DE*ABC*E7"], &["EMP:DE-ONE", "EMP:DE-TWO"]).unwrap(),
            rule(&["de*abc*e1*", "DE*XYZ"], &["EMP:DE-ONE"]).unwrap(),
        ];
        let visibility = Visibility { rules };
        for (evse, members) in [
            ("DE*ABC*E7", vec!["EMP:DEONE", "EMP:DETWO"]),
            ("DE*ABC*E77", vec![]),
            ("DE*ABC*E1", vec!["EMP:DEONE"]),
            ("DE*ABC*E12*3", vec!["EMP:DEONE"]),
            ("DEABCE12", vec!["EMP:DEONE"]),
            ("DE*ABC*E2", vec![]),
            ("DE*XYZ*E2", vec!["EMP:DEONE"]),
            ("DE*XYA*E1", vec![]),
        ] {
            assert_eq!(visibility.audience_of(&key(evse)).to_texts(), members, "{evse}");
        }
        let texts: Vec<RuleText> = visibility.rules.iter().cloned().map(RuleText::from).collect();
        let again = texts.into_iter().map(|text| VisibilityRule::try_from(text).unwrap()).collect();
        assert_eq!(Visibility { rules: again }, visibility);
    }

    #[test]
    fn a_price_is_for_its_provider_and_one_for_all_for_those_who_see_the_evse() {
        let visibility = Visibility { rules: vec![rule(&["DE*ABC*E7"], &["EMP:DE-ONE"]).unwrap()] };
        for (price, members) in [
            ("DEABCE7/DETWO", vec!["EMP:DETWO"]),
            ("DEABCE7/*", vec!["EMP:DEONE"]),
            ("DEABCE8/DETWO", vec!["EMP:DETWO"]),
            ("DEABCE8/*", vec![]),
            ("DEABC/DETWO", vec!["EMP:DETWO"]),
            ("DEABC/DETWO/0123456789abcdef0123456789abcdef", vec!["EMP:DETWO"]),
            ("DEABC/*", vec![]),
        ] {
            let key = EvseKey::parse_price(price).unwrap();
            assert_eq!(visibility.audience_of(&key).to_texts(), members, "{price}");
        }
        let all = Visibility { rules: vec![rule(&["DE*ABC"], &["EMP:DE-ONE"]).unwrap()] };
        let list = EvseKey::parse_price("DEABC/*").unwrap();
        assert_eq!(all.audience_of(&list).to_texts(), ["EMP:DEONE"], "all of an operator is closed");
    }

    #[test]
    fn wrong_rules_are_refused_with_what_to_write() {
        for (evses, parties, told) in [
            (&[][..], &["EMP:DE-ONE"][..], "`evses`"),
            (&["DE*ABC*X1"], &["EMP:DE-ONE"], "DE*ABC*X1"),
            (&["DE*ABC*E*"], &["EMP:DE-ONE"], "operator id"),
            (&["DE*ABC"], &[], "`parties`"),
            (&["DE*ABC"], &["DE-ONE"], "ROLE:ID"),
            (&["DE*ABC"], &["*"], "ROLE:ID"),
        ] {
            assert!(rule(evses, parties).unwrap_err().contains(told), "{evses:?} {parties:?}");
        }
    }
}
