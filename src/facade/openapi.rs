//! The description of this facade, served as `/openapi.json`: the paths of [`super::routes`], and the schemas of
//! [`crate::oicp::json_schema`], which are those of strict reading.

use serde_json::{Value, json};
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{
    ContentBuilder, HttpMethod, InfoBuilder, OpenApiBuilder, PathItem, PathsBuilder, Ref, Required,
    ResponseBuilder, ServerBuilder,
};

use super::metrics::Service;
use crate::oicp::json_schema;

const JSON: &str = "application/json";
const NOTIFICATIONS: [&str; 4] = ["Start", "Progress", "End", "Error"];

/// HTTP statuses other than 200, their body, and when they come (RULES 12.1).
const REFUSALS: [(&str, &str, &str); 10] = [
    ("400", "FaultBody", "The body is not the message that it should be."),
    ("401", "ShortFault", "017: an id is none of the caller's, or the caller is unknown."),
    ("403", "ShortFault", "210: no contract for this service."),
    ("404", "ShortFault", "300, 400 or 001: no such partner, session or service."),
    ("405", "ShortFault", "001: every operation is a POST."),
    ("408", "FaultBody", "The body did not come in time."),
    ("413", "FaultBody", "The body is too large."),
    ("429", "ShortFault", "Too many calls of this operation in a minute."),
    ("500", "ShortFault", "001 or 002: the node or its storage failed."),
    ("503", "ShortFault", "001: the node is busy; Retry-After says when to send the same again."),
];

/// Request, answer, and whether the answer is a page.
fn messages(service: Service) -> (&'static str, &'static str, bool) {
    let acknowledged = |request| (request, "eRoamingAcknowledgement", false);
    match service {
        Service::PushEvseData => acknowledged("eRoamingPushEvseData"),
        Service::PushEvseStatus => acknowledged("eRoamingPushEvseStatus"),
        Service::PullEvseData => ("eRoamingPullEVSEData", "eRoamingEVSEData", true),
        Service::PullEvseStatus => ("eRoamingPullEVSEStatus", "eRoamingEVSEStatus", false),
        Service::PullEvseStatusById => ("eRoamingPullEVSEStatusByID", "eRoamingEVSEStatusByID", false),
        Service::PullEvseStatusByOperatorId => {
            ("eRoamingPullEVSEStatusByOperatorID", "eRoamingEVSEStatus", false)
        }
        Service::AuthorizeStart => ("eRoamingAuthorizeStart", "eRoamingAuthorizationStart", false),
        Service::AuthorizeStop => ("eRoamingAuthorizeStop", "eRoamingAuthorizationStop", false),
        Service::AuthorizeRemoteStart => acknowledged("eRoamingAuthorizeRemoteStart"),
        Service::AuthorizeRemoteStop => acknowledged("eRoamingAuthorizeRemoteStop"),
        Service::ReservationStart => acknowledged("eRoamingAuthorizeRemoteReservationStart"),
        Service::ReservationStop => acknowledged("eRoamingAuthorizeRemoteReservationStop"),
        Service::ChargingNotification => acknowledged("eRoamingChargingNotification"),
        Service::PushAuthenticationData => acknowledged("eRoamingPushAuthenticationData"),
        Service::ChargeDetailRecord => acknowledged("eRoamingChargeDetailRecord"),
        Service::GetChargeDetailRecords => {
            ("eRoamingGetChargeDetailRecords", "eRoamingChargeDetailRecords", true)
        }
        Service::PushPricingProductData => acknowledged("eRoamingPushPricingProductData"),
        Service::PushEvsePricing => acknowledged("eRoamingPushEVSEPricing"),
        Service::PullPricingProductData => {
            ("eRoamingPullPricingProductData", "eRoamingPricingProductData", false)
        }
        Service::PullEvsePricing => ("eRoamingPullEVSEPricing", "eRoamingEVSEPricing", false),
        Service::PullAuthenticationData => {
            ("eRoamingPullAuthenticationData", "eRoamingAuthenticationData", false)
        }
    }
}

/// The document for these services.
pub(super) fn document(services: &[(&str, Service)]) -> String {
    let mut paths = PathsBuilder::new();
    for (path, service) in services {
        paths = paths.path(*path, PathItem::new(HttpMethod::Post, operation(path, *service)));
    }
    let info = InfoBuilder::new()
        .title("OICP 2.3, as a node of chargemesh offers it to the backends of its parties")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Schemas are those of strict reading. With a key every path begins with /k/KEY."))
        .build();
    let document = OpenApiBuilder::new()
        .info(info)
        .paths(paths.build())
        .servers(Some([ServerBuilder::new().url("/").build()]));
    let mut document = serde_json::to_value(document.build()).unwrap_or_default();
    if let Some(document) = document.as_object_mut() {
        document.insert("components".to_owned(), json!({ "schemas": schemas(services) }));
    }
    document.to_string()
}

fn operation(path: &str, service: Service) -> OperationBuilder {
    let (request, answer, paged) = messages(service);
    let body = RequestBodyBuilder::new().content(JSON, referred(request)).required(Some(Required::True));
    // One service may have two paths.
    let name =
        format!("{service:?}{}", if path.contains("authorize-remote-reservation") { "Charging" } else { "" });
    let mut operation = OperationBuilder::new()
        .operation_id(Some(name))
        .summary(Some(request))
        .request_body(Some(body.build()))
        .response("200", response("The outcome, a refusal of the partner included.", answer));
    for (status, body, when) in REFUSALS {
        operation = operation.response(status, response(when, body));
    }
    if path.contains("{id}") {
        let id = ParameterBuilder::new().name("id").parameter_in(ParameterIn::Path).required(Required::True);
        let id = id.schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1))));
        operation = operation.parameter(id.description(Some("The caller's OperatorID or ProviderID.")));
    }
    if paged {
        for (name, min) in [("page", 0), ("size", 1)] {
            let number = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
            let whole =
                ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(min)).maximum(Some(2000));
            operation = operation.parameter(number.schema(Some(whole)));
        }
    }
    operation
}

fn referred(schema: &str) -> utoipa::openapi::Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build()
}

fn response(description: &str, schema: &str) -> utoipa::openapi::Response {
    ResponseBuilder::new().description(description).content(JSON, referred(schema)).build()
}

/// The schemas by their names. They are made as text where the tables are, and put in as they are.
fn schemas(services: &[(&str, Service)]) -> serde_json::Map<String, Value> {
    let parsed = |text: Option<String>| text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let mut schemas = serde_json::Map::new();
    for (_, service) in services {
        let (request, answer, _) = messages(*service);
        let schema = match service {
            Service::ChargingNotification => Some(notification()),
            _ => parsed(json_schema::of_request(request)),
        };
        schemas.extend(schema.map(|schema| (request.to_owned(), schema)));
        schemas.extend(parsed(json_schema::of_answer(answer)).map(|schema| (answer.to_owned(), schema)));
    }
    for name in ["FaultBody", "ShortFault"] {
        schemas.extend(parsed(json_schema::of_answer(name)).map(|schema| (name.to_owned(), schema)));
    }
    schemas
}

/// One of four messages, told apart by `Type`.
fn notification() -> Value {
    let variants = NOTIFICATIONS.map(|kind| {
        let text =
            json_schema::of_request(&format!("eRoamingChargingNotification{kind}")).unwrap_or_default();
        let mut schema: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(properties) = schema.pointer_mut("/properties/Type") {
            *properties = json!({ "const": kind });
        }
        schema
    });
    json!({ "oneOf": variants })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facade::routes::SERVICES;

    #[test]
    fn every_path_is_described_with_schemas_that_are_there() {
        let text = document(&SERVICES);
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["paths"].as_object().unwrap().len(), SERVICES.len());
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        let notification = &document["components"]["schemas"]["eRoamingChargingNotification"]["oneOf"];
        assert_eq!(notification[3]["properties"]["Type"]["const"], "Error");
        let ids: std::collections::BTreeSet<_> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|path| path["post"]["operationId"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), SERVICES.len(), "each operation has a name of its own");
    }
}
