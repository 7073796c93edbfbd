//! Each operation that backends call: its path, a message that is well, and what must not be missing from it.

use serde_json::{Value, json};

/// One operation.
pub(super) struct Operation {
    pub(super) name: &'static str,
    /// Below `/api/oicp/`.
    pub(super) path: &'static str,
    pub(super) body: Value,
    /// Pointer of the caller's id in the body, if it has one.
    pub(super) id: Option<&'static str>,
    /// Pointers of mandatory fields.
    pub(super) mandatory: &'static [&'static str],
}

const SESSION: &str = "f98efba4-02d8-4fa0-b810-9a9d50d2c527";
const AT: &str = "2026-11-21T10:00:00Z";

fn operation(
    name: &'static str,
    path: &'static str,
    id: Option<&'static str>,
    mandatory: &'static [&'static str],
    body: Value,
) -> Operation {
    Operation { name, path, body, id, mandatory }
}

/// All operations of OPERATIONS.md that a backend calls.
pub(super) fn all() -> Vec<Operation> {
    [pushes(), pulls(), card(), app(), records(), pricing()].into_iter().flatten().collect()
}

fn pushes() -> Vec<Operation> {
    let pull = json!({ "OperatorID": "CH*ABC" });
    let record: Value = serde_json::from_str(&crate::support::record("CH*ABC*E3")).unwrap();
    let status = json!({ "EvseID": "CH*ABC*E1", "EvseStatus": "Available" });
    vec![
        operation(
            "PushEvseData",
            "evsepush/v23/operators/CH*ABC/data-records",
            Some("/OperatorEvseData/OperatorID"),
            &[
                "/ActionType",
                "/OperatorEvseData",
                "/OperatorEvseData/OperatorID",
                "/OperatorEvseData/OperatorName",
                "/OperatorEvseData/EvseDataRecord",
                "/OperatorEvseData/EvseDataRecord/0/EvseID",
                "/OperatorEvseData/EvseDataRecord/0/Address/City",
                "/OperatorEvseData/EvseDataRecord/0/Plugs",
            ],
            json!({ "ActionType": "update", "OperatorEvseData": { "OperatorID": "CH*ABC", "OperatorName": "ABC",
                "EvseDataRecord": [record] } }),
        ),
        operation(
            "PushEvseStatus",
            "evsepush/v21/operators/CH*ABC/status-records",
            Some("/OperatorEvseStatus/OperatorID"),
            &[
                "/ActionType",
                "/OperatorEvseStatus",
                "/OperatorEvseStatus/OperatorID",
                "/OperatorEvseStatus/EvseStatusRecord",
                "/OperatorEvseStatus/EvseStatusRecord/0/EvseID",
                "/OperatorEvseStatus/EvseStatusRecord/0/EvseStatus",
            ],
            json!({ "ActionType": "update", "OperatorEvseStatus": { "OperatorID": "CH*ABC", "OperatorName": "ABC",
                "EvseStatusRecord": [status] } }),
        ),
        operation(
            "PushAuthenticationData",
            "authdata/v21/providers/DE-EMP/push-request",
            Some("/ProviderAuthenticationData/ProviderID"),
            &[
                "/ActionType",
                "/ProviderAuthenticationData",
                "/ProviderAuthenticationData/ProviderID",
                "/ProviderAuthenticationData/AuthenticationDataRecord",
                "/ProviderAuthenticationData/AuthenticationDataRecord/0/Identification",
            ],
            json!({ "ActionType": "update", "ProviderAuthenticationData": { "ProviderID": "DE-EMP",
                "AuthenticationDataRecord": [{ "Identification": { "RFIDMifareFamilyIdentification": { "UID": "04A2B3C4" } } }] } }),
        ),
        // Of OICP 2.2.
        operation(
            "PullAuthenticationData",
            "authdata/v21/operators/CH*ABC/pull-request",
            Some("/OperatorID"),
            &["/OperatorID"],
            pull,
        ),
    ]
}

fn pulls() -> Vec<Operation> {
    let status = |name, path, mandatory, more: Value| {
        let mut body = json!({ "ProviderID": "DE-EMP" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        operation(name, path, Some("/ProviderID"), mandatory, body)
    };
    vec![
        status(
            "PullEvseData",
            "evsepull/v23/providers/DE-EMP/data-records",
            &["/ProviderID", "/GeoCoordinatesResponseFormat"],
            json!({ "GeoCoordinatesResponseFormat": "Google" }),
        ),
        status("PullEvseStatus", "evsepull/v21/providers/DE-EMP/status-records", &["/ProviderID"], json!({})),
        status(
            "PullEvseStatusByID",
            "evsepull/v21/providers/DE-EMP/status-records-by-id",
            &["/ProviderID", "/EvseID"],
            json!({ "EvseID": ["CH*ABC*E1"] }),
        ),
        status(
            "PullEvseStatusByOperatorID",
            "evsepull/v21/providers/DE-EMP/status-records-by-operator-id",
            &["/ProviderID", "/OperatorID"],
            json!({ "OperatorID": ["CH*ABC"] }),
        ),
        status(
            "GetChargeDetailRecords",
            "cdrmgmt/v22/providers/DE-EMP/get-charge-detail-records-request",
            &["/ProviderID", "/From", "/To"],
            json!({ "From": AT, "To": AT }),
        ),
    ]
}

fn card() -> Vec<Operation> {
    let body = json!({ "SessionID": SESSION, "OperatorID": "CH*ABC", "EvseID": "CH*ABC*E1",
        "Identification": { "RFIDMifareFamilyIdentification": { "UID": "04A2B3C4" } } });
    let path =
        ["charging/v21/operators/CH*ABC/authorize/start", "charging/v21/operators/CH*ABC/authorize/stop"];
    vec![
        operation(
            "AuthorizeStart",
            path[0],
            Some("/OperatorID"),
            &["/OperatorID", "/Identification", "/Identification/RFIDMifareFamilyIdentification/UID"],
            body.clone(),
        ),
        operation(
            "AuthorizeStop",
            path[1],
            Some("/OperatorID"),
            &["/OperatorID", "/SessionID", "/Identification"],
            body,
        ),
    ]
}

fn app() -> Vec<Operation> {
    let medium = json!({ "RemoteIdentification": { "EvcoID": "DE-EMP-C12345678-X" } });
    let start = json!({ "ProviderID": "DE-EMP", "EvseID": "CH*ABC*E1", "Identification": medium });
    let stop = json!({ "SessionID": SESSION, "ProviderID": "DE-EMP", "EvseID": "CH*ABC*E1" });
    let starts =
        &["/ProviderID", "/EvseID", "/Identification", "/Identification/RemoteIdentification/EvcoID"];
    let stops = &["/ProviderID", "/EvseID", "/SessionID"];
    let id = Some("/ProviderID");
    vec![
        operation(
            "AuthorizeRemoteStart",
            "charging/v21/providers/DE-EMP/authorize-remote/start",
            id,
            starts,
            start.clone(),
        ),
        operation(
            "AuthorizeRemoteStop",
            "charging/v21/providers/DE-EMP/authorize-remote/stop",
            id,
            stops,
            stop.clone(),
        ),
        operation(
            "AuthorizeRemoteReservationStart",
            "reservation/v11/providers/DE-EMP/reservation-start-request",
            id,
            starts,
            start,
        ),
        operation(
            "AuthorizeRemoteReservationStop",
            "reservation/v11/providers/DE-EMP/reservation-stop-request",
            id,
            stops,
            stop,
        ),
    ]
}

fn records() -> Vec<Operation> {
    let medium = json!({ "RFIDMifareFamilyIdentification": { "UID": "04A2B3C4" } });
    vec![
        operation(
            "ChargingNotifications",
            "notificationmgmt/v11/charging-notifications",
            Some("/OperatorID"),
            &["/Type", "/SessionID", "/EvseID", "/ChargingStart"],
            json!({ "Type": "Start", "SessionID": SESSION, "OperatorID": "CH*ABC", "EvseID": "CH*ABC*E1",
                "ChargingStart": AT }),
        ),
        operation(
            "ChargeDetailRecord",
            "cdrmgmt/v22/operators/CH*ABC/charge-detail-record",
            None,
            &[
                "/SessionID",
                "/EvseID",
                "/Identification",
                "/SessionStart",
                "/SessionEnd",
                "/ChargingStart",
                "/ConsumedEnergy",
            ],
            json!({ "SessionID": SESSION, "EvseID": "CH*ABC*E1", "Identification": medium, "SessionStart": AT,
                "SessionEnd": AT, "ChargingStart": AT, "ChargingEnd": AT, "ConsumedEnergy": 1 }),
        ),
    ]
}

fn pricing() -> Vec<Operation> {
    let product = json!({ "ProductID": "AC 1", "ReferenceUnit": "KILOWATT_HOUR", "ProductPriceCurrency": "EUR",
        "PricePerReferenceUnit": 0.5, "MaximumProductChargingPower": 22, "IsValid24hours": true,
        "ProductAvailabilityTimes": [] });
    vec![
        operation(
            "PushPricingProductData",
            "dynamicpricing/v10/operators/CH*ABC/pricing-products",
            Some("/PricingProductData/OperatorID"),
            &[
                "/ActionType",
                "/PricingProductData",
                "/PricingProductData/ProviderID",
                "/PricingProductData/PricingProductDataRecords/0/ProductID",
            ],
            json!({ "ActionType": "update", "PricingProductData": { "OperatorID": "CH*ABC", "OperatorName": "ABC",
                "ProviderID": "*", "PricingDefaultPrice": 0, "PricingDefaultPriceCurrency": "EUR",
                "PricingDefaultReferenceUnit": "HOUR", "PricingProductDataRecords": [product] } }),
        ),
        operation(
            "PushEVSEPricing",
            "dynamicpricing/v10/operators/CH*ABC/evse-pricing",
            None,
            &["/ActionType", "/EVSEPricing", "/EVSEPricing/0/EvseID", "/EVSEPricing/0/EvseIDProductList"],
            json!({ "ActionType": "update", "EVSEPricing": [{ "EvseID": "CH*ABC*E1", "ProviderID": "*",
                "EvseIDProductList": ["AC 1"] }] }),
        ),
        operation(
            "PullPricingProductData",
            "dynamicpricing/v10/providers/DE-EMP/pricing-products",
            None,
            &["/OperatorIDs"],
            json!({ "OperatorIDs": ["CH*ABC"] }),
        ),
        operation(
            "PullEVSEPricing",
            "dynamicpricing/v10/providers/DE-EMP/evse-pricing",
            Some("/ProviderID"),
            &["/ProviderID", "/OperatorIDs"],
            json!({ "ProviderID": "DE-EMP", "OperatorIDs": ["CH*ABC"] }),
        ),
    ]
}
