//! The directory as it should be: what operators' backends were told is published. A few dozen lines that
//! know nothing of heads, roots or gossip.

use std::collections::BTreeMap;

use bytes::Bytes;
use chargemesh::oicp::id::EvseKey;
use chargemesh::protocol::Kind;

/// What a push does to one record; `None` deletes it.
pub(crate) type Change = (EvseKey, Option<Bytes>);

/// What is published, by kind and EVSE.
pub(crate) type Published = BTreeMap<(Kind, EvseKey), Bytes>;

/// The reference.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    published: Published,
    /// Pushes whose outcome the backend never heard: all of it happened, or nothing.
    doubtful: Vec<(Kind, Vec<Change>)>,
}

impl Reference {
    /// A push was acknowledged.
    pub(crate) fn acknowledged(&mut self, kind: Kind, changes: Vec<Change>) {
        for (_, doubtful) in self.doubtful.iter_mut().filter(|(doubted, _)| *doubted == kind) {
            doubtful.retain(|(key, _)| changes.iter().all(|(other, _)| other != key));
        }
        for (key, value) in changes {
            match value {
                Some(value) => drop(self.published.insert((kind, key), value)),
                None => drop(self.published.remove(&(kind, key))),
            }
        }
    }

    /// A push got no answer: its node died.
    pub(crate) fn lost(&mut self, kind: Kind, changes: Vec<Change>) {
        self.doubtful.push((kind, changes));
    }

    /// Decides doubtful pushes by what a node shows, and says what every node must show.
    ///
    /// # Errors
    /// If half of a push happened.
    pub(crate) fn settle(&mut self, shown: &Published) -> Result<&Published, String> {
        for (kind, changes) in std::mem::take(&mut self.doubtful) {
            let done = |(key, value): &Change| shown.get(&(kind, key.clone())) == value.as_ref();
            let undone = |(key, _): &Change| {
                shown.get(&(kind, key.clone())) == self.published.get(&(kind, key.clone()))
            };
            if changes.iter().all(done) {
                self.acknowledged(kind, changes);
            } else if !changes.iter().all(undone) {
                let keys: Vec<&str> = changes.iter().map(|(key, _)| key.as_str()).collect();
                return Err(format!("a push of {} was done by half: {}", kind.name(), keys.join(", ")));
            }
        }
        Ok(&self.published)
    }

    /// What is published as far as it is known, doubtful pushes left out.
    pub(crate) fn published(&self) -> &Published {
        &self.published
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> EvseKey {
        EvseKey::parse_canonical(text).unwrap()
    }

    #[test]
    fn a_doubtful_push_happened_or_not_but_not_by_half() {
        let (one, two) = (key("DEABCE1"), key("DEABCE2"));
        let value = |text: &'static str| Some(Bytes::from(text));
        let mut reference = Reference::default();
        let both = |a, b| vec![(one.clone(), value(a)), (two.clone(), value(b))];
        reference.acknowledged(Kind::Status, both("a", "a"));
        let before = reference.published().clone();
        reference.lost(Kind::Status, both("b", "b"));
        let mut after = before.clone();
        after.values_mut().for_each(|value| *value = Bytes::from("b"));
        let mut half = before.clone();
        half.insert((Kind::Status, one.clone()), Bytes::from("b"));

        let doubtful = |reference: &Reference| Reference {
            published: reference.published.clone(),
            doubtful: reference.doubtful.clone(),
        };
        assert_eq!(doubtful(&reference).settle(&before).unwrap(), &before);
        assert_eq!(doubtful(&reference).settle(&after).unwrap(), &after);
        assert!(doubtful(&reference).settle(&half).is_err());
        // What was acknowledged since is not in doubt.
        reference.acknowledged(Kind::Status, vec![(one.clone(), value("b"))]);
        assert_eq!(reference.settle(&half).unwrap(), &half);
    }
}
