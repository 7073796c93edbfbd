//! The statement as CSV (RFC 4180): one line for each record, for spreadsheets and programs.

use super::{Statement, StatementLine, hex};
use crate::oicp::decimal::Decimal;

/// The columns.
const HEADER: &str = "SessionID,CPOPartnerSessionID,EMPPartnerSessionID,EvseID,PartnerProductID,SessionStart,\
SessionEnd,ChargingStart,ChargingEnd,MeterValueStart,MeterValueEnd,ConsumedEnergy,Standing,Corrects,SHA256\r\n";

impl Statement {
    /// The statement as CSV: UTF-8, commas, lines that end in CR LF, the received spelling of times and numbers. A
    /// text that a spreadsheet would take for a formula has an apostrophe in front.
    #[must_use]
    pub fn to_csv(&self) -> String {
        /// About the bytes of a line.
        const LINE_BYTES: usize = 400;
        let mut csv = String::with_capacity(HEADER.len() + self.lines.len() * LINE_BYTES);
        csv.push_str(HEADER);
        for line in &self.lines {
            write_line(line, &mut csv);
        }
        csv
    }
}

fn write_line(line: &StatementLine, csv: &mut String) {
    let texts = [
        line.session.as_str(),
        line.cpo_reference.as_deref().unwrap_or_default(),
        line.emp_reference.as_deref().unwrap_or_default(),
        &line.evse,
        line.product.as_deref().unwrap_or_default(),
    ];
    for text in texts {
        write_text(text, csv);
        csv.push(',');
    }
    let number = |value: &'_ Option<Decimal>| {
        value.as_ref().map(|value| value.as_str().to_owned()).unwrap_or_default()
    };
    let plain = [
        line.session_start.as_str(),
        &line.session_end,
        &line.charging_start,
        &line.charging_end,
        &number(&line.meter_start),
        &number(&line.meter_end),
        &number(&line.energy),
        line.standing.as_str(),
        &line.replaces.map(|hash| hex(&hash)).unwrap_or_default(),
    ];
    for text in plain {
        csv.push_str(text);
        csv.push(',');
    }
    csv.push_str(&hex(&line.hash));
    csv.push_str("\r\n");
}

/// A text of somebody else.
fn write_text(text: &str, csv: &mut String) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted = text.contains([',', '"', '\r', '\n']);
    if quoted {
        csv.push('"');
    }
    if formula {
        csv.push('\'');
    }
    match quoted {
        true => csv.push_str(&text.replace('"', "\"\"")),
        false => csv.push_str(text),
    }
    if quoted {
        csv.push('"');
    }
}
