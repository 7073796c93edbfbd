//! The checks that every OICP call passes before its service, in the hub's order (RULES 1): who calls, for
//! whom, in what form.

use axum::extract::{RawPathParams, Request};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::Answer;
use super::body::Received;
use super::shared::Shared;
use crate::identity::{PartyId, Role};
use crate::oicp::reading::Reading;

/// A call that may be worked on.
pub(super) struct Call {
    pub(super) party: PartyId,
    pub(super) backend: usize,
    pub(super) reading: Reading,
    pub(super) body: Bytes,
    /// The query part of the URL; empty if there is none.
    pub(super) query: String,
    _received: Received,
    _place: OwnedSemaphorePermit,
}

impl Call {
    /// Checks key, id, content type and size, and reads the body.
    pub(super) async fn admit(
        shared: &Shared,
        role: Role,
        params: &RawPathParams,
        request: Request,
    ) -> Result<Call, Answer> {
        let place = shared.requests.clone().try_acquire_owned().map_err(|_| Answer::busy())?;
        let param = |name: &str| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
        let backend = shared.access.backend(param("key"), request.headers())?;
        let party = shared.access.party(backend, role, param("id").unwrap_or_default())?;
        let (number, reading) = (backend.number, backend.reading);
        let query = request.uri().query().unwrap_or_default().to_owned();
        let (parts, body) = request.into_parts();
        let received = shared.bodies.read(&parts.headers, body).await?;
        Ok(Call {
            party,
            backend: number,
            reading,
            body: received.bytes.clone(),
            query,
            _received: received,
            _place: place,
        })
    }
}
