//! Charge detail records held against what the directory shows of their EVSE and of price products: both sides find
//! the same, each from its own directory.

use super::super::agreements::{cpo, emp};
use super::super::*;
use super::agreed;
use super::cdr::cdr;
use super::hub::{GIVEN, both};
use crate::identity::SignedCdr;
use crate::oicp::charging::ChargeDetailRecord;
use crate::protocol::{CdrState, SessionMessage};
use crate::roaming::{CdrArrival, CdrSubject, Routing};

/// Signed values that a driver cannot verify: there is no key.
const BLIND: &str = r#""SignedMeteringValues":[{"SignedMeteringValue":"a","MeteringStatus":"Start"},{"SignedMeteringValue":"b","MeteringStatus":"End"}],"x-own""#;

/// Rules about the EVSE and prices.
const LOOKED_AT: [&str; 4] =
    ["signed-values-missing", "signed-ends-missing", "signed-key-missing", "product-unknown"];

fn signed_values(body: &str) -> String {
    body.replace(r#""x-own""#, BLIND)
}

fn product(body: &str, product: &str) -> String {
    body.replace(r#""x-own""#, &format!(r#""PartnerProductID":"{product}","x-own""#))
}

impl World {
    /// A record as the facade hands it over.
    pub(super) fn arrival(&self, node: usize, read: &ChargeDetailRecord) -> Box<CdrArrival> {
        let facts = self.nodes[node].store.cdr_facts(&CdrSubject::of(read, None));
        Box::new(CdrArrival::new(read.clone(), Some(facts), self.now().unix_ms))
    }

    /// The CPO's one EVSE promises signed values from now on.
    fn external(&mut self, node: usize) {
        let body = Bytes::from(
            r#"{"ActionType":"fullLoad","OperatorEvseData":{"OperatorID":"CH*ABC","EvseDataRecord":[{"EvseID":"CH*ABC*E1","CalibrationLawDataAvailability":"External"}]}}"#,
        );
        let (party, push) = (cpo().party(), read_evse_data(&body, Reading::Tolerant).unwrap());
        self.calls += 1;
        let call = CallId(self.calls);
        self.handle(node, Input::PushData { call, party, push, body });
        self.run(3_000);
    }

    /// A price list for one provider, or for all, with one product.
    fn priced(&mut self, node: usize, whom: &str, product: &str) {
        let body = Bytes::from(format!(
            r#"{{"ActionType":"fullLoad","PricingProductData":{{"OperatorID":"CH*ABC","ProviderID":"{whom}","PricingProductDataRecords":[{{"ProductID":"{product}"}}]}}}}"#
        ));
        let (party, push) = (cpo().party(), PushPrices::read(&body, Reading::Tolerant).unwrap());
        self.calls += 1;
        let call = CallId(self.calls);
        self.handle(node, Input::PushPrices { call, party, push, body });
        assert_eq!(self.code(node, call), "000");
        self.run(3_000);
    }

    /// Which of the rules a node found broken in the records of a session, in the order in which these came.
    fn found(&self, node: usize, session: &str) -> Vec<Vec<&'static str>> {
        let mut of_session = self.stored(node);
        of_session.retain(|cdr| cdr.session == session);
        of_session.sort_by_key(|cdr| cdr.replaces.is_some());
        let rules = |cdr: &crate::roaming::change::StoredCdr| {
            let is_found =
                |rule: &&'static str| cdr.record.findings.iter().any(|text| text.starts_with(*rule));
            LOOKED_AT.into_iter().filter(is_found).collect()
        };
        of_session.iter().map(rules).collect()
    }

    /// A record comes from the CPO's node as its backend never could have brought it.
    fn slipped(
        &mut self,
        (a, b): (usize, usize),
        session: &str,
        body: &str,
        replaces: Option<Digest>,
    ) -> Digest {
        let ours = cpo().ours(&node_id(a));
        let content = SignedCdr {
            session: session.to_owned(),
            from: cpo().party(),
            to: emp().party(),
            created_unix_ms: self.now().unix_ms,
            replaces,
            oicp: body.as_bytes().to_vec(),
        };
        let signed = Bytes::from(content.issue(NETWORK, &ours.speaker, &ours.message_key).unwrap());
        let message = SessionMessage::Cdr { session: session.to_owned(), signed, chain: ours.chain };
        self.message_to(b, &cpo(), a, message);
        content.cdr_hash()
    }
}

#[test]
fn both_sides_find_what_the_evse_promised_and_what_no_price_list_has() {
    let (mut world, a, b) = agreed();
    let bring = |world: &mut World, named: Option<&str>| {
        let id = world.running(a, b);
        let body = signed_values(&cdr(&id, "10.1"));
        let body = named.map_or(body.clone(), |named| product(&body, named));
        assert_eq!(world.brought(a, &body), "000");
        world.run(1_000);
        let (ours, theirs) = (world.found(a, &id), world.found(b, &id));
        assert_eq!(ours, theirs, "{named:?}");
        ours.concat()
    };
    assert_eq!(bring(&mut world, None), [""; 0], "nothing is promised");
    assert_eq!(bring(&mut world, Some("Night")), ["product-unknown"]);
    world.external(a);
    assert_eq!(bring(&mut world, Some("DC")), ["signed-key-missing"]);
    world.priced(a, "DE-OTH", "Night");
    assert_eq!(
        bring(&mut world, Some("Night")),
        ["signed-key-missing", "product-unknown"],
        "another's price"
    );
    world.priced(a, "CH-EMP", "Night");
    assert_eq!(bring(&mut world, Some("Night")), ["signed-key-missing"]);
    assert_eq!(bring(&mut world, Some("night")), ["signed-key-missing", "product-unknown"]);
    world.priced(a, "*", "Day");
    assert_eq!(bring(&mut world, Some("Day")), ["signed-key-missing"]);
}

#[test]
fn what_the_cpos_side_refuses_is_a_finding_at_the_emps() {
    let (mut world, a, b) = agreed();
    world.external(a);
    let id = world.running(a, b);
    let bare = cdr(&id, "10.1");
    assert_eq!(world.brought(a, &bare), "022");
    assert_eq!(world.brought(a, &bare.replace("CH*ABC*E1", "CH*XYZ*E1")), "018");
    world.slipped((a, b), &id, &bare, None);
    world.run(1_000);
    assert_eq!(world.found(b, &id), [["signed-values-missing"]]);
    assert_eq!(world.states(b), [(CdrState::Received, true)], "the record is owed all the same");
}

#[test]
fn who_waits_for_a_session_is_held_against_its_own_evse() {
    let (mut world, a, b) = agreed();
    world.external(a);
    let id = world.running(a, b);
    let first = cdr(&id, "10.1");
    let other = product(&first.replace("CH*ABC*E1", "CH*ABC*E2"), "Night");
    // All come before the first was looked up.
    let hash = world.slipped((a, b), &id, &first, None);
    world.slipped((a, b), &id, &first, None);
    world.slipped((a, b), &id, &other, Some(hash));
    assert!(world.stored(b).is_empty());
    world.run(1_000);
    assert_eq!(world.found(b, &id), [vec!["signed-values-missing"], vec!["product-unknown"]]);
}

#[test]
fn what_the_hub_brings_is_held_against_the_directory_too() {
    let (mut world, a, b) = both(None, Some(Routing::Hub));
    world.external(a);
    world.begun_at_hub(b);
    let body = product(&cdr(GIVEN, "10.1"), "Night");
    assert_eq!(world.hub_brings(b, &cpo(), &body), "000");
    let session = world.stored(b)[0].session.clone();
    assert_eq!(world.found(b, &session), [["signed-values-missing", "product-unknown"]]);
}
