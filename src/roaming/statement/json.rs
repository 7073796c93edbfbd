//! The statement as JSON: the fields have OICP's names.

use std::collections::BTreeMap;

use super::{Statement, StatementLine, Total, hex};
use crate::oicp::json_write::Writer;

impl Statement {
    /// The statement as JSON. Energies are numbers in kWh, those of the records in the received spelling.
    #[must_use]
    pub fn to_json(&self) -> String {
        /// About the bytes of a record.
        const LINE_BYTES: usize = 700;
        let mut writer = Writer::with_capacity(1_024 + self.lines.len() * LINE_BYTES);
        writer.begin_object().key("cpo").string(self.cpo.id.as_str());
        writer.key("emp").string(self.emp.id.as_str()).key("month").string(&self.month.to_string());
        writer.key("digest").string(&hex(&self.digest));
        writer.key("total");
        write_total(&mut writer, &self.total());
        writer.key("rejected");
        write_total(&mut writer, &self.rejected());
        writer.key("by_product").begin_array();
        let products: BTreeMap<&str, Total> = self.by_product();
        for (product, total) in &products {
            writer.begin_object().key("PartnerProductID");
            writer.string_or_null((!product.is_empty()).then_some(product)).key("total");
            write_total(&mut writer, total);
            writer.end_object();
        }
        writer.end_array().key("records").begin_array();
        for line in &self.lines {
            write_line(&mut writer, line);
        }
        writer.end_array().end_object();
        let mut text = writer.finish();
        text.push('\n');
        text
    }
}

fn write_total(writer: &mut Writer, total: &Total) {
    writer.begin_object().key("records").integer(total.records).key("energy_kwh");
    match &total.energy {
        Some(energy) => writer.raw(&energy.shortest()),
        None => writer.null(),
    };
    writer.end_object();
}

fn write_line(writer: &mut Writer, line: &StatementLine) {
    writer.begin_object();
    let texts = [
        ("SessionID", Some(line.session.as_str())),
        ("CPOPartnerSessionID", line.cpo_reference.as_deref()),
        ("EMPPartnerSessionID", line.emp_reference.as_deref()),
        ("EvseID", Some(line.evse.as_str())),
        ("PartnerProductID", line.product.as_deref()),
        ("SessionStart", Some(line.session_start.as_str())),
        ("SessionEnd", Some(line.session_end.as_str())),
        ("ChargingStart", Some(line.charging_start.as_str())),
        ("ChargingEnd", Some(line.charging_end.as_str())),
    ];
    for (name, text) in texts {
        writer.key(name).string_or_null(text);
    }
    let numbers = [
        ("MeterValueStart", &line.meter_start),
        ("MeterValueEnd", &line.meter_end),
        ("ConsumedEnergy", &line.energy),
    ];
    for (name, number) in numbers {
        writer.key(name);
        match number {
            Some(number) => writer.raw(number.as_str()),
            None => writer.null(),
        };
    }
    writer.key("standing").string(line.standing.as_str());
    writer.key("corrects").string_or_null(line.replaces.map(|hash| hex(&hash)).as_deref());
    writer.key("sha256").string(&hex(&line.hash)).end_object();
}
