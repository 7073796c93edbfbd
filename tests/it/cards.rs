//! Party cards in Kademlia: a forged one, one of another key and an older one replace nothing.

use bytes::Bytes;
use chargemesh::identity::{Chain, PartyCard, PartyId, SecretKey, kad_key};

use crate::attacker::Attacker;
use crate::support::{NETWORK, PATIENCE, Plan, World, key, runtime, unix_s};

/// Looks a card up until it is one that `wanted` takes.
async fn found(reader: &mut Attacker, place: [u8; 32], what: &str, wanted: impl Fn(&[u8]) -> bool) -> Bytes {
    let searching = async {
        loop {
            let before = reader.seen().cards.len();
            reader.mesh.find_card(place).unwrap();
            let seen = reader.until("the end of the search", |seen| seen.cards.len() > before).await;
            if let Some(Some(card)) = seen.cards.last()
                && wanted(card)
            {
                return card.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, searching).await.unwrap_or_else(|_| panic!("not found: {what}"))
}

fn card(chain: &Chain, seq: u64, signed_by: &SecretKey) -> Bytes {
    PartyCard::of_chain(chain, seq, unix_s()).issue(NETWORK, signed_by).unwrap().into()
}

#[test]
fn a_forged_or_older_card_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let emp = world.start(&Plan::new("emp", Some("EMP:DEEMP"), dir.path())).await;
        // A party whose node the test plays, so that it can sign what an honest node would not.
        let party = PartyId::parse("CPO:CHABC").unwrap();
        let chain = world.chain(&Plan::new("owner", Some("CPO:CHABC"), dir.path()), &party, 1);
        let (message_key, place) = (key("message owner"), kad_key(NETWORK, &party, 0));
        let owner = Attacker::join("owner", &emp).await;
        let now = unix_s();
        let honest = card(&chain, now, &message_key);
        owner.mesh.put_card(place, honest.clone()).unwrap();
        let mut reader = Attacker::join("reader", &emp).await;
        found(&mut reader, place, "the honest card", |card| *card == honest).await;
        owner.mesh.shutdown().await;

        let rogue =
            World::of_issuer("rogue").chain(&Plan::new("owner", Some("CPO:CHABC"), dir.path()), &party, 1);
        let other = PartyId::parse("CPO:CHXYZ").unwrap();
        let others = world.chain(&Plan::new("other", Some("CPO:CHXYZ"), dir.path()), &other, 1);
        let mut flipped = card(&chain, now + 9, &message_key).to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        let attacks: Vec<(&str, Bytes)> = vec![
            ("rubbish", Bytes::from_static(b"rubbish")),
            ("a bad signature", flipped.into()),
            ("another key", card(&chain, now + 9, &key("thief"))),
            ("an older seq", card(&chain, now - 9, &message_key)),
            ("another party's card", card(&others, now + 9, &key("message other"))),
            ("an issuer that nobody trusts", card(&rogue, now + 9, &message_key)),
        ];
        for (index, (what, forged)) in attacks.into_iter().enumerate() {
            let forger = Attacker::join(&format!("forger {index}"), &emp).await;
            forger.mesh.put_card(place, forged).unwrap();
            // A right card of another place, put after it, says when the node has had the time to take it.
            let (name, id) = (format!("sign {index}"), format!("CPO:CHS{index:02}"));
            let sign = PartyId::parse(&id).unwrap();
            let sign_chain = world.chain(&Plan::new(&name, Some(&id), dir.path()), &sign, 1);
            let sign_card = card(&sign_chain, now, &key(&format!("message {name}")));
            forger.mesh.put_card(kad_key(NETWORK, &sign, 0), sign_card.clone()).unwrap();
            found(&mut reader, kad_key(NETWORK, &sign, 0), what, |card| *card == sign_card).await;
            forger.mesh.shutdown().await;
            let mut fresh = Attacker::join(&format!("fresh {index}"), &emp).await;
            let kept = found(&mut fresh, place, what, |_| true).await;
            assert_eq!(kept, honest, "{what}");
            fresh.mesh.shutdown().await;
        }
        // A newer one does replace it.
        let owner = Attacker::join("owner again", &emp).await;
        let newer = card(&chain, now + 1, &message_key);
        owner.mesh.put_card(place, newer.clone()).unwrap();
        found(&mut reader, place, "the newer card", |card| *card == newer).await;
        for node in [owner, reader] {
            node.mesh.shutdown().await;
        }
        emp.shutdown().await;
    });
}
