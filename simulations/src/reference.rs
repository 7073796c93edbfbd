//! The directory as it should be: what operators' backends were told is published. A few dozen lines that
//! know nothing of heads, roots or gossip.

use std::collections::BTreeMap;

use bytes::Bytes;
use chargemesh::oicp::id::EvseKey;
use chargemesh::protocol::Kind;

/// What a push does to one record; `None` deletes it.
pub(crate) type Change = (Kind, EvseKey, Option<Bytes>);

/// What is published, by kind and EVSE.
pub(crate) type Published = BTreeMap<(Kind, EvseKey), Bytes>;

/// The reference.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    published: Published,
    /// Pushes whose outcome the backend never heard: all of it happened, or nothing.
    doubtful: Vec<Vec<Change>>,
}

impl Reference {
    /// A push was acknowledged.
    pub(crate) fn acknowledged(&mut self, changes: Vec<Change>) {
        for doubtful in &mut self.doubtful {
            doubtful.retain(|(kind, key, _)| changes.iter().all(|(k, other, _)| (k, other) != (kind, key)));
        }
        for (kind, key, value) in changes {
            match value {
                Some(value) => drop(self.published.insert((kind, key), value)),
                None => drop(self.published.remove(&(kind, key))),
            }
        }
    }

    /// A push got no answer: its node died.
    pub(crate) fn lost(&mut self, changes: Vec<Change>) {
        self.doubtful.push(changes);
    }

    /// Decides doubtful pushes by what a node shows, and says what every node must show.
    ///
    /// # Errors
    /// If half of a push happened.
    pub(crate) fn settle(&mut self, shown: &Published) -> Result<&Published, String> {
        for changes in std::mem::take(&mut self.doubtful) {
            let here = |(kind, key, _): &Change| shown.get(&(*kind, key.clone()));
            let before = |(kind, key, _): &Change| self.published.get(&(*kind, key.clone()));
            if changes.iter().all(|change| here(change) == change.2.as_ref()) {
                self.acknowledged(changes);
            } else if !changes.iter().all(|change| here(change) == before(change)) {
                let keys: Vec<&str> = changes.iter().map(|(_, key, _)| key.as_str()).collect();
                return Err(format!("a push was done by half: {}", keys.join(", ")));
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
        let both = |a, b| vec![(Kind::Status, one.clone(), value(a)), (Kind::Status, two.clone(), value(b))];
        reference.acknowledged(both("a", "a"));
        let before = reference.published().clone();
        reference.lost(both("b", "b"));
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
        reference.acknowledged(vec![(Kind::Status, one.clone(), value("b"))]);
        assert_eq!(reference.settle(&half).unwrap(), &half);
    }
}
