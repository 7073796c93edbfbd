//! Cards in Kademlia: found, and neither forged nor replaced by older ones.

use super::*;

async fn find(node: &mut Node, key: [u8; 32]) -> Option<Bytes> {
    node.mesh.find_card(key).unwrap();
    let pick = |event| match event {
        MeshEvent::CardFound { key: k, value } if k == key => Some(Some(value)),
        MeshEvent::CardNotFound { key: k } if k == key => Some(None),
        _ => None,
    };
    node.until("the end of the search", pick).await
}

async fn find_until(node: &mut Node, key: [u8; 32], wanted: &[u8]) {
    for _ in 0..200 {
        if find(node, key).await.is_some_and(|value| value == wanted) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the card was not found");
}

#[tokio::test]
async fn a_card_is_found_and_an_older_or_forged_one_changes_nothing() {
    let mut hub = node(1, &[], &[]).await;
    let mut writer = node(2, &[], &[&hub]).await;
    let mut reader = node(3, &[], &[&hub]).await;
    writer.up(&hub.id()).await;
    reader.up(&hub.id()).await;
    let key = [9; 32];
    assert_eq!(find(&mut reader, [8; 32]).await, None);
    writer.mesh.put_card(key, Bytes::from_static(&[9, 5, 1])).unwrap();
    find_until(&mut reader, key, &[9, 5, 1]).await;
    hub.up(&reader.id()).await;
    reader.mesh.put_card(key, Bytes::from_static(&[9, 4, 2])).unwrap();
    let hub = &hub;
    eventually("the older card is ignored", || async { hub.mesh.counts().await.unwrap().cards_ignored > 0 })
        .await;
    reader.mesh.put_card(key, Bytes::from_static(&[7, 9, 3])).unwrap();
    eventually("the forged card is refused", || async { hub.mesh.counts().await.unwrap().cards_refused > 0 })
        .await;
    find_until(&mut writer, key, &[9, 5, 1]).await;
}
