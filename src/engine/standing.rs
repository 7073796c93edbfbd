//! Whom a node believes and for whom it speaks, as it was loaded last.

use std::sync::Arc;

use tokio::sync::watch;

use crate::identity::TrustList;
use crate::roaming::OurParty;

/// Whom a node believes and for whom it speaks. Replaced as a whole.
pub(crate) struct Standing {
    /// Whom it believes.
    pub(crate) trust: TrustList,
    /// The parties that it speaks for, with their keys.
    pub(crate) parties: Vec<OurParty>,
}

/// Tells everybody who asks, and those who wait for it. Only the engine replaces it, after the core took
/// it and storage committed what followed; in a node without engine the node itself does.
pub(crate) type Standings = watch::Sender<Arc<Standing>>;
