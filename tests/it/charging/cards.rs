//! Which of two providers hear of a card.

use std::collections::BTreeSet;

use chargemesh::backend::Kind;
use chargemesh::identity::PartyId;
use chargemesh::outbound::BackendTarget;
use chargemesh::roaming::{Policy, Rule, Whom};

use super::stage::{AUTHORIZE_START, CPO, Stage, backend};
use crate::support::{Plan, runtime, until};

const OTHER: &str = "EMP:DEZWO";

fn allowing(party: &str) -> Rule {
    let whom = Whom { party: Some(PartyId::parse(party).unwrap()), ..Whom::default() };
    Rule { whom, services: BTreeSet::new(), allow: true }
}

fn card(medium: &str) -> String {
    format!(r#"{{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{{{medium}}}}}"#)
}

#[test]
fn a_card_is_asked_of_both_once_and_then_of_the_one_that_knows_it() {
    runtime().block_on(async {
        let stage = Stage::with(|kind, plan| {
            if kind == Kind::Cpo {
                plan.settings.policy.rules.push(allowing(OTHER));
            }
        })
        .await;
        let other_backend = backend(Kind::Emp).await;
        other_backend.set_behaviour(chargemesh::backend::Behaviour::Refuse(None)).unwrap();
        let mut plan = Plan::new("other", Some(OTHER), stage.dir()).bootstrap(&[stage.cpo.mesh().to_owned()]);
        plan.settings.policy = Policy { rules: vec![allowing(CPO)] };
        plan.settings.outbound.backends = vec![BackendTarget {
            party: OTHER.to_owned(),
            url: other_backend.url(),
            notifications: false,
            ..BackendTarget::default()
        }];
        let other = stage.world.start(&plan).await;
        let met = |view: &serde_json::Value| {
            let partners = view["partners"].as_array().unwrap();
            partners.iter().any(|partner| partner["party"] == OTHER && partner["connected"] == true)
        };
        stage.until(Kind::Cpo, "the other provider", met).await;
        until(&other, "what was revoked", |view| view.registry_compared_unix_ms.is_some()).await;

        let uid = card(r#""RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}"#);
        let first = stage.cpo_calls(AUTHORIZE_START, uid.clone()).await;
        assert_eq!(first.json()["AuthorizationStatus"], "Authorized", "{first:?}");
        assert_eq!(first.json()["ProviderID"], "DE-EMP");
        let asked = stage.emp.next().await;
        assert_eq!(asked.session, other_backend.next().await.session, "one SessionID for all that are asked");
        assert_eq!(first.json()["SessionID"], asked.session.unwrap().as_str());
        until(&other, "the other's refusal", |view| view.session_counts["refused"] == 1).await;

        // The second time it is known whose card it is.
        let second = stage.cpo_calls(AUTHORIZE_START, uid).await;
        assert_eq!(second.json()["AuthorizationStatus"], "Authorized");
        let _asked = stage.emp.next().await;
        assert_eq!(other_backend.received().len(), 1);

        // A contract names its provider: nobody else hears of it.
        let contract = card(r#""PlugAndChargeIdentification":{"EvcoID":"DE-ZWO-C12345678-X"}"#);
        let answer = stage.cpo_calls(AUTHORIZE_START, contract).await;
        assert_eq!(answer.json()["AuthorizationStatus"], "NotAuthorized");
        assert_eq!((other_backend.received().len(), stage.emp.backend().received().len()), (2, 2));
        assert_eq!(stage.agreed().await.values().filter(|phase| *phase == "active").count(), 2);
        until(&other, "two refusals", |view| view.session_counts["refused"] == 2).await;
        other.shutdown().await;
        stage.end().await;
    });
}
