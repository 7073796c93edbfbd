//! Speaks for others: with its own key, with broken signatures, and in the name of their delegations.

use std::time::Duration;

use bytes::Bytes;
use chargemesh::protocol::{Announcement, Change, ChangeSet, Kind, SignedHead, Topic};

use super::archive::HeardFeed;
use super::liar::{Act, Liar};

/// Forges, one way after the other.
#[derive(Default)]
pub(super) struct Forge {
    turn: usize,
}

impl Act for Forge {
    fn every(&self) -> Duration {
        Duration::from_millis(250)
    }

    fn tick(&mut self, liar: &mut Liar) {
        let at = liar.below(liar.archive.feeds.len());
        let Some(victim) = liar.archive.feeds.values().nth(at).cloned() else { return };
        self.turn += 1;
        let forged = match self.turn % 5 {
            0 => foreign_record(liar, &victim),
            1 => in_their_name(liar, &victim),
            2 => by_their_delegation(liar, &victim),
            3 => broken_signature(liar, &victim),
            _ => other_changes(liar, &victim),
        };
        let topic = match victim.newest.head.feed.kind {
            Kind::Data => Topic::Data,
            Kind::Status => Topic::Status,
            Kind::Pricing => Topic::Pricing,
        };
        if let Some(forged) = forged {
            liar.publish_lie(topic, forged.encode());
        }
    }
}

/// A deletion and a new value of somebody else's record: what a forger would want to be believed.
fn change(liar: &mut Liar, victim: &HeardFeed) -> Option<Change> {
    let at = liar.below(victim.records.len());
    let record = victim.records.values().nth(at)?;
    Some(Change { key: record.key.clone(), at_unix_ms: liar.now_unix_ms(), value: record.value.clone() })
}

/// A record of another operator, within the own feed, well signed.
fn foreign_record(liar: &mut Liar, victim: &HeardFeed) -> Option<Announcement> {
    let change = change(liar, victim)?;
    let mut head = liar.own.blank(liar.now_unix_ms());
    head.feed.kind = victim.newest.head.feed.kind;
    head.seq = 0;
    head.count = 1;
    Some(liar.own.announce(head, &[change], liar.delegation()))
}

/// A head of another's feed, signed with the own key under the own delegation.
fn in_their_name(liar: &mut Liar, victim: &HeardFeed) -> Option<Announcement> {
    let change = change(liar, victim)?;
    let mut head = victim.newest.head.clone();
    head.created_unix_ms = liar.now_unix_ms();
    Some(liar.own.announce(head, &[change], liar.delegation()))
}

/// The same, with another's delegation named as signer.
fn by_their_delegation(liar: &mut Liar, victim: &HeardFeed) -> Option<Announcement> {
    let change = change(liar, victim)?;
    let delegation = victim.newest.signed.delegation(crate::people::NETWORK).ok()?;
    let mut head = victim.newest.head.clone();
    head.created_unix_ms = liar.now_unix_ms();
    Some(liar.own.announce(head, &[change], delegation))
}

/// A genuine head with some bits of its signature turned over.
fn broken_signature(liar: &mut Liar, victim: &HeardFeed) -> Option<Announcement> {
    Some(Announcement { heads: vec![broken(liar, &victim.newest.signed)?], changes: None })
}

/// A head whose signature does not hold. The signature is at its end.
pub(super) fn broken(liar: &mut Liar, signed: &SignedHead) -> Option<SignedHead> {
    let mut bytes = signed.as_bytes().to_vec();
    let at = bytes.len().checked_sub(1 + liar.below(64))?;
    *bytes.get_mut(at)? ^= 1 + liar.below(255) as u8;
    SignedHead::from_bytes(Bytes::from(bytes)).ok()
}

/// A genuine head with changes that its writer did not sign.
fn other_changes(liar: &mut Liar, victim: &HeardFeed) -> Option<Announcement> {
    let change = change(liar, victim)?;
    Some(Announcement {
        heads: vec![victim.newest.signed.clone()],
        changes: Some(ChangeSet::encode(&[change])),
    })
}
