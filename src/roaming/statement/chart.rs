//! The energy of each day as a bar: an SVG made with whole numbers only, so that it is the same everywhere.

use std::fmt::Write as _;

use super::Total;
use crate::oicp::decimal::Decimal;

/// Width of the drawing; its unit is scaled by the page.
const WIDTH: usize = 930;
/// Height of the longest bar.
const BAR_HEIGHT: u32 = 120;
/// Room above the bars, for the figure of the longest.
const TOP: u32 = 22;
/// Room below, for the days.
const BOTTOM: u32 = 22;

/// The bars of a month.
pub(super) fn bars(days: &[Total], html: &mut String) {
    let energy = |day: &Total| day.energy.clone().unwrap_or_else(|| Decimal::whole(0));
    let most = days.iter().map(energy).max().unwrap_or_else(|| Decimal::whole(0));
    let (height, floor, step) = (TOP + BAR_HEIGHT + BOTTOM, TOP + BAR_HEIGHT, WIDTH / days.len().max(1));
    let _ = write!(html, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Energy by day\">");
    let mut is_marked = false;
    for (day, total) in days.iter().enumerate() {
        let energy = energy(total);
        let x = day * step + 2;
        let bar = energy.per_mille_of(&most) * BAR_HEIGHT / 1_000;
        // What is not zero is seen.
        let bar = if bar == 0 && !energy.is_zero() { 1 } else { bar };
        let (y, width, middle) = (floor - bar.min(BAR_HEIGHT), step - 4, day * step + step / 2);
        let _ = write!(
            html,
            "<rect class=\"{}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{bar}\" rx=\"2\"><title>{}: {} kWh, \
             {} sessions</title></rect>",
            if energy == most { "most" } else { "day" },
            day + 1,
            energy.shortest(),
            total.records
        );
        if energy == most && !most.is_zero() && !is_marked {
            is_marked = true;
            // A figure at the edge stays on the page.
            let anchor = if day < 3 {
                "start"
            } else if day + 3 >= days.len() {
                "end"
            } else {
                "middle"
            };
            let _ = write!(
                html,
                "<text class=\"figure\" x=\"{middle}\" y=\"{}\" text-anchor=\"{anchor}\">{} kWh</text>",
                y.saturating_sub(6),
                energy.shortest()
            );
        }
        let _ = write!(
            html,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            floor + 16,
            day + 1
        );
    }
    let _ = write!(html, "<line x1=\"0\" y1=\"{floor}\" x2=\"{WIDTH}\" y2=\"{floor}\"/></svg>");
}
