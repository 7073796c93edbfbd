//! The statement as a page for people: one file without scripts and without anything from elsewhere, for a screen and
//! for paper.

use std::fmt::Write as _;

use super::{PRODUCT_CHARACTERS_MAX, Standing, Statement, StatementLine, Total, chart, hex};
use crate::oicp::decimal::Decimal;

/// How it looks.
const STYLE: &str = include_str!("statement.css");

/// Hex digits that are shown of a record's hash.
const HASH_DIGITS: usize = 12;

impl Statement {
    /// The statement as HTML.
    #[must_use]
    pub fn to_html(&self) -> String {
        /// About the bytes of a record.
        const LINE_BYTES: usize = 500;
        let mut html = String::with_capacity(8 * 1_024 + self.lines.len() * LINE_BYTES);
        let (cpo, emp, month) = (self.cpo.id.as_str(), self.emp.id.as_str(), self.month.name());
        let _ = write!(
            html,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>Charging statement {cpo} – {emp} – {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <header><p class=\"kind\">Charging statement</p><h1>{month}</h1>\n<div class=\"sides\">\
             <div><span>Operator (CPO)</span><b>{cpo}</b></div><i aria-hidden=\"true\">→</i>\
             <div><span>Provider (EMP)</span><b>{emp}</b></div></div></header>\n",
            self.month
        );
        self.write_figures(&mut html);
        html.push_str("<section><h2>Energy by day <small>kWh, days in UTC</small></h2>");
        chart::bars(&self.by_day(), &mut html);
        html.push_str("</section>\n");
        self.write_products(&mut html);
        self.write_records(&mut html);
        self.write_notes(&mut html);
        html.push_str("</main>\n</body>\n</html>\n");
        html
    }

    fn write_figures(&self, html: &mut String) {
        let (total, rejected) = (self.total(), self.rejected());
        let corrected = self.lines.iter().filter(|line| line.replaces.is_some()).count() as u64;
        let _ = writeln!(
            html,
            "<section class=\"figures\"><div class=\"main\"><span>Energy</span><b>{}</b><em>kWh</em></div>\
             <div><span>Sessions</span><b>{}</b><em>delivered and not rejected</em></div>\
             <div class=\"{}\"><span>Rejected</span><b>{}</b><em>{} kWh, not counted</em></div>\
             <div><span>Corrected</span><b>{}</b><em>counted as corrected</em></div></section>",
            grouped(&total.energy_text()),
            grouped(&total.records.to_string()),
            if rejected.records > 0 { "bad" } else { "none" },
            grouped(&rejected.records.to_string()),
            grouped(&rejected.energy_text()),
            grouped(&corrected.to_string()),
        );
    }

    fn write_products(&self, html: &mut String) {
        let row = |html: &mut String, name: &str, total: &Total| {
            let _ = writeln!(
                html,
                "<td>{name}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
                grouped(&total.records.to_string()),
                grouped(&total.energy_text())
            );
        };
        html.push_str(
            "<section><h2>By product</h2><table class=\"products\"><thead><tr><th>Product</th><th class=\"number\">\
             Sessions</th><th class=\"number\">Energy (kWh)</th></tr></thead>\n<tbody>\n",
        );
        for (product, total) in self.by_product() {
            let product = match product {
                "" => "<span class=\"weak\">none named</span>".to_owned(),
                name => escaped(&name.chars().take(PRODUCT_CHARACTERS_MAX).collect::<String>()),
            };
            html.push_str("<tr>");
            row(html, &product, &total);
        }
        html.push_str("</tbody><tfoot><tr>");
        row(html, "Total", &self.total());
        html.push_str("</tfoot></table></section>\n");
    }

    fn write_records(&self, html: &mut String) {
        html.push_str(
            "<section><h2>Records <small>by SessionID; times as the station gave them</small></h2>\
             <table class=\"records\"><thead><tr><th>Session</th><th>EVSE</th><th>Product</th><th>Session began</th>\
             <th>Session ended</th><th class=\"number\">kWh</th><th>SHA-256</th></tr></thead>\n<tbody>\n",
        );
        for line in &self.lines {
            write_record(line, html);
        }
        if self.lines.is_empty() {
            html.push_str("<tr><td colspan=\"7\" class=\"weak\">No session ended in this month.</td></tr>\n");
        }
        html.push_str("</tbody></table></section>\n");
    }

    fn write_notes(&self, html: &mut String) {
        let _ = write!(
            html,
            "<footer><p>A session belongs to the month in which it ended, in UTC. Energies are added exactly, as they \
             were received. Both sides make this statement from the same signed records: it is the same to the byte, \
             and has no date of making for that reason. What the provider's backend rejected is shown and not counted; \
             of a corrected record the correction counts. Drivers are not named.</p>\n\
             <p class=\"digest\">Digest (SHA-256 over parties, month and CSV)<br><code>{}</code></p></footer>\n",
            hex(&self.digest)
        );
    }
}

fn write_record(line: &StatementLine, html: &mut String) {
    let class = if line.standing == Standing::Rejected { " class=\"rejected\"" } else { "" };
    let hash = hex(&line.hash);
    let _ = write!(html, "<tr{class}><td><code>{}</code>", escaped(&line.session));
    if line.standing == Standing::Rejected {
        html.push_str(" <mark>rejected</mark>");
    }
    if line.replaces.is_some() {
        html.push_str(" <mark class=\"corrected\">corrected</mark>");
    }
    for (side, reference) in [("CPO", &line.cpo_reference), ("EMP", &line.emp_reference)] {
        if let Some(reference) = reference {
            let _ = write!(html, "<span class=\"reference\">{side} {}</span>", escaped(reference));
        }
    }
    let _ = writeln!(
        html,
        "</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"number\">{}</td><td><code title=\"{hash}\">{}\
         </code></td></tr>",
        escaped(&line.evse),
        escaped(line.product.as_deref().unwrap_or("–")),
        time(&line.session_start),
        time(&line.session_end),
        line.energy.as_ref().map_or_else(|| "–".to_owned(), |energy| grouped(Decimal::as_str(energy))),
        hash.get(..HASH_DIGITS).unwrap_or_default()
    );
}

/// A date-time on two lines: day, and time with its zone.
fn time(text: &str) -> String {
    match text.split_at_checked(10) {
        Some((day, rest)) => {
            let rest = rest.trim_start_matches(['T', 't', ' ']);
            format!("{} <span class=\"weak\">{}</span>", escaped(day), escaped(rest))
        }
        None => escaped(text),
    }
}

/// A number with a thin space between thousands, for reading; its digits are as they were.
fn grouped(number: &str) -> String {
    let whole = number.find(|letter: char| !letter.is_ascii_digit() && letter != '-').unwrap_or(number.len());
    let (whole, rest) = number.split_at(whole);
    let digits = whole.trim_start_matches('-').len();
    let mut text = String::new();
    for letter in whole.chars() {
        text.push(letter);
        if letter.is_ascii_digit() {
            let left = digits - text.chars().filter(char::is_ascii_digit).count();
            if left > 0 && left.is_multiple_of(3) {
                text.push('\u{202f}');
            }
        }
    }
    text.push_str(rest);
    text
}

/// A text of somebody else as it may stand in a page: what would be markup, or turns the direction of the text, is
/// not.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.push('\u{fffd}'),
            letter if letter.is_control() => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}
