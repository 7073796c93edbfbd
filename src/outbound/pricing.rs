//! Dynamic pricing as a client (OPERATIONS rows 17 to 20).

use bytes::Bytes;

use super::client::{HubClient, Received};
use super::error::OutboundError;
use crate::oicp::acknowledgement::Acknowledgement;

const SERVICE: &str = "api/oicp/dynamicpricing/v10";

impl HubClient {
    /// PushPricingProductData. A negative acknowledgement is an `Ok`.
    ///
    /// # Errors
    /// As [`HubClient::push_evse_data`].
    pub async fn push_pricing_products(
        &self,
        operator_id: &str,
        body: Bytes,
    ) -> Result<Acknowledgement, OutboundError> {
        self.acknowledged(&format!("{SERVICE}/operators/{operator_id}/pricing-products"), body).await
    }

    /// PushEVSEPricing. A negative acknowledgement is an `Ok`.
    ///
    /// # Errors
    /// As [`HubClient::push_evse_data`].
    pub async fn push_evse_pricing(
        &self,
        operator_id: &str,
        body: Bytes,
    ) -> Result<Acknowledgement, OutboundError> {
        self.acknowledged(&format!("{SERVICE}/operators/{operator_id}/evse-pricing"), body).await
    }

    /// PullPricingProductData, as it came: [`crate::oicp::pricing::read_price_lists`] reads it.
    ///
    /// # Errors
    /// As [`HubClient::pull_evse_data`].
    pub async fn pull_pricing_products(
        &self,
        provider_id: &str,
        body: Bytes,
    ) -> Result<Received, OutboundError> {
        self.pulled(&format!("{SERVICE}/providers/{provider_id}/pricing-products"), body).await
    }

    /// PullEVSEPricing, as it came: [`crate::oicp::pricing::read_evse_prices`] reads it.
    ///
    /// # Errors
    /// As [`HubClient::pull_evse_data`].
    pub async fn pull_evse_pricing(&self, provider_id: &str, body: Bytes) -> Result<Received, OutboundError> {
        self.pulled(&format!("{SERVICE}/providers/{provider_id}/evse-pricing"), body).await
    }
}
