//! The checks that every OICP call passes before its service, in the hub's order (RULES 1): who calls, for
//! whom, in what form.

use std::sync::Arc;

use axum::extract::{RawPathParams, Request};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Answer;
use super::auth::{Backend, Refusal};
use super::body::Received;
use super::metrics::Service;
use super::shared::Shared;
use super::tls::Shown;
use crate::identity::{PartyId, Role};
use crate::oicp::reading::Reading;

/// A call that may be worked on. `P` is the party of the path's id, or nothing where the path has none.
pub(super) struct Call<P = PartyId> {
    pub(super) party: P,
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
        places: &Arc<Semaphore>,
        (service, role): (Service, Role),
        params: &RawPathParams,
        request: Request,
    ) -> Result<Call, Answer> {
        Call::read(shared, places, service, params, request, |backend| {
            shared.access.party(backend, role, param(params, "id").unwrap_or_default())
        })
        .await
    }

    /// The same for what the hub may bring, too.
    pub(super) async fn admit_speaker(
        shared: &Shared,
        places: &Arc<Semaphore>,
        (service, role): (Service, Role),
        params: &RawPathParams,
        request: Request,
    ) -> Result<Call, Answer> {
        Call::read(shared, places, service, params, request, |backend| {
            shared.access.speaker(backend, role, param(params, "id").unwrap_or_default())
        })
        .await
    }
}

impl Call<Option<PartyId>> {
    /// The same for a path that may have no id (GAPS, notifications): the body says whose it is.
    pub(super) async fn admit_any(
        shared: &Shared,
        places: &Arc<Semaphore>,
        (service, role): (Service, Role),
        params: &RawPathParams,
        request: Request,
    ) -> Result<Call<Option<PartyId>>, Answer> {
        Call::read(shared, places, service, params, request, |backend| {
            param(params, "id").map(|id| shared.access.speaker(backend, role, id)).transpose()
        })
        .await
    }
}

impl<P> Call<P> {
    async fn read(
        shared: &Shared,
        places: &Arc<Semaphore>,
        service: Service,
        params: &RawPathParams,
        request: Request,
        party: impl FnOnce(&Backend) -> Result<P, Refusal>,
    ) -> Result<Call<P>, Answer> {
        let place = places.clone().try_acquire_owned().map_err(|_| Answer::busy())?;
        let (headers, shown) = (request.headers(), request.extensions().get::<Shown>());
        let now_unix_ms = (shared.now_unix_ms)();
        let backend = shared.access.backend(param(params, "key"), headers, shown, now_unix_ms)?;
        let party = party(backend)?;
        shared.rates.count(backend.number, service)?;
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

fn param<'p>(params: &'p RawPathParams, name: &str) -> Option<&'p str> {
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}
