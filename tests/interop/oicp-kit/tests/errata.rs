//! The other implementation's lists of contradictions and defects of the specification, gone through one by one.

use oicp_kit::transport::{OicpError, Operation, PathId};
use oicp_kit::types::{Acknowledgement, ERRATA, SPEC_DEFECTS};
use serde_json::{Value, json};

use super::{PROVIDER, Stage, minutes_ago};
use oicp_kit::testkit::samples;

impl Stage {
    /// Where its documents contradict each other: our facade takes either spelling.
    pub(super) async fn errata(&mut self) {
        for erratum in ERRATA {
            match erratum.id {
                "OICP23-E001" => {
                    for field in ["HubProviderID", "HubProviderId"] {
                        let session = self.card().await;
                        let said =
                            self.raw(Operation::ChargeDetailRecord, &Stage::cdr(&session, Some(field))).await;
                        self.acknowledged(&format!("{}: {field}", erratum.id), said);
                    }
                }
                "OICP23-E002" => {
                    for field in ["ChargingStationId", "ChargingStationID"] {
                        let said = self.push_with(|record| {
                            record.as_object_mut().unwrap().remove("ChargingStationId");
                            record[field] = json!("STATION 7");
                        });
                        let said = said.await;
                        self.acknowledged(&format!("{}: {field}", erratum.id), said);
                        self.shown(|record| {
                            record.charging_station_id.as_ref().is_some_and(|id| id.as_str() == "STATION 7")
                        })
                        .await;
                    }
                }
                "OICP23-E003" => {
                    let said =
                        self.push_with(|record| record["ChargingFacilities"][0]["Power"] = json!(22.5)).await;
                    self.acknowledged(&format!("{}: 22.5 kW", erratum.id), said);
                    self.shown(|record| record.charging_facilities[0].power.to_string() == "22.5").await;
                }
                "OICP23-E004" => {
                    for field in ["CDRForwarded", "CDRForwarder"] {
                        let mut pull =
                            json!({ "ProviderID": PROVIDER, "From": minutes_ago(60), "To": minutes_ago(-5) });
                        pull[field] = json!(false);
                        let url = Operation::GetChargeDetailRecords.url(
                            &format!("{}/api/oicp", self.emp_url),
                            &PathId::Provider(PROVIDER.parse().unwrap()),
                        );
                        let page: Value = self
                            .emp
                            .transport()
                            .post_raw(Operation::GetChargeDetailRecords, &url.unwrap(), &pull)
                            .await
                            .unwrap();
                        assert!(page["content"].is_array());
                        self.verdicts.works(&format!("{}: {field}", erratum.id));
                    }
                }
                "OICP23-E005" => self.verdicts.works("OICP23-E005: see AuthorizeRemoteReservationStart"),
                "OICP23-E006" => self.verdicts.works("OICP23-E006: see ChargingNotification Progress"),
                other => panic!("{other} has no check here: {}", erratum.resolution),
            }
        }
        for defect in SPEC_DEFECTS {
            match defect.id {
                "OICP23-D001" | "OICP23-D002" => {
                    let said = self
                        .push_with(|record| {
                            record["ChargingFacilities"][0]["Amperage"] = json!(500);
                            record["ChargingFacilities"][0]["Voltage"] = json!(1250);
                        })
                        .await;
                    self.acknowledged(&format!("{}: 500 A, 1250 V", defect.id), said);
                }
                _ => self.verdicts.cannot(
                    &format!("{} ({})", defect.id, defect.field),
                    "strict reading keeps to the published limit, as the hub does",
                ),
            }
        }
    }

    /// Pushes its sample with one thing changed.
    async fn push_with(&self, change: impl FnOnce(&mut Value)) -> Result<Acknowledgement, OicpError> {
        let mut record = serde_json::to_value(samples::evse_data_record("DE*ABC*E3")).unwrap();
        change(&mut record);
        let body = json!({ "ActionType": "update", "OperatorEvseData": { "OperatorID": "DE*ABC",
            "OperatorName": "ABC technologies", "EvseDataRecord": [record] } });
        self.raw(Operation::PushEvseData, &body).await
    }
}
