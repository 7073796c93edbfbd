//! Which certificates are in use, so that somebody is told before one of them ends.

use std::sync::{Arc, PoisonError, RwLock};

use super::certificate::Certificate;

/// Certificates of one file that are told: a bundle of public roots has some 150.
const TOLD_MAX: usize = 16;

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// The facade shows it to backends.
    Facade,
    /// Backends' certificates are checked against it.
    ClientCa,
    /// We show it to a backend.
    Backend,
    /// The server of a backend is checked against it.
    BackendCa,
    /// We show it to the hub.
    Hub,
    /// The hub's server is checked against it.
    HubCa,
}

impl Use {
    /// A word for metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Use::Facade => "facade",
            Use::ClientCa => "client_ca",
            Use::Backend => "backend",
            Use::BackendCa => "backend_ca",
            Use::Hub => "hub",
            Use::HubCa => "hub_ca",
        }
    }

    /// The same for people, to be followed by the party.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Use::Facade => "the facade's certificate",
            Use::ClientCa => "the CA of the backends' certificates",
            Use::Backend => "the certificate that we show to the backend of",
            Use::BackendCa => "the CA for the backend of",
            Use::Hub => "the certificate that we show to the hub",
            Use::HubCa => "the CA for the hub",
        }
    }
}

/// A certificate in use here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// What for.
    pub what_for: Use,
    /// For whom, as in `CPO:DEABC`; empty where it is for all.
    pub party: String,
    /// The certificate.
    pub certificate: Certificate,
}

impl Used {
    /// The certificates of one file, those that end first; at most 16.
    #[must_use]
    pub fn list(what_for: Use, party: &str, mut certificates: Vec<Certificate>) -> Vec<Used> {
        certificates.sort_by_key(|certificate| certificate.not_after_unix_s);
        certificates.truncate(TOLD_MAX);
        let used = |certificate| Used { what_for, party: party.to_owned(), certificate };
        certificates.into_iter().map(used).collect()
    }
}

/// All certificates in use; clones share them.
#[derive(Clone, Debug, Default)]
pub struct InUse(Arc<RwLock<Vec<Used>>>);

impl InUse {
    /// Puts these in the place of all that were used for the same.
    pub fn put(&self, uses: &[Use], certificates: Vec<Used>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|used| !uses.contains(&used.what_for));
        all.extend(certificates);
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Used> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
