//! A plot as SVG: a frame with axes, and lines, bars, marks in it. All looks are attributes of the elements, so
//! that a plot is the same alone and within a page.

use std::fmt::Write as _;

use super::scale::Scale;

/// Width of a plot in pixels.
pub(super) const WIDTH: f64 = 800.0;

/// Height of a plot in pixels without what is below its axis.
pub(super) const HEIGHT: f64 = 400.0;

const LEFT: f64 = 84.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 82.0;
const BOTTOM: f64 = 56.0;

/// Mean width of a letter at 12 pixels, generously, as fonts differ.
const LETTER: f64 = 6.7;

/// Colours that people who see fewer of them can tell apart (those of Okabe and Ito), and their light variants
/// for the baseline.
pub(super) mod colour {
    pub(in crate::report) const MAIN: &str = "#0072b2";
    pub(in crate::report) const MAIN_LIGHT: &str = "#a3cde6";
    pub(in crate::report) const SECOND: &str = "#d55e00";
    pub(in crate::report) const SECOND_LIGHT: &str = "#f4c3a0";
    /// The baseline's line over bars of any colour.
    pub(in crate::report) const LIGHT: &str = "#aeb6c0";
    pub(in crate::report) const GREEN: &str = "#009e73";
    pub(in crate::report) const YELLOW: &str = "#e69f00";
    pub(in crate::report) const PURPLE: &str = "#a6558a";
    pub(in crate::report) const TEXT: &str = "#222222";
    pub(in crate::report) const SOFT: &str = "#5f6670";
    pub(in crate::report) const GRID: &str = "#e4e7eb";
}

/// Where a text stands at its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// An axis: its scale, where its ticks are and what stands at them, and what it shows in which unit.
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) title: String,
}

/// How an entry of the legend looks.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Line(&'static str),
    Bar(&'static str),
    /// A dashed line up.
    Mark(&'static str),
    /// A dashed line across.
    Level(&'static str),
}

/// A plot that is being drawn.
pub(super) struct Plot {
    body: String,
    title: String,
    x: Scale,
    y: Scale,
    height: f64,
    legend_x: f64,
    legend_y: f64,
    /// What is drawn last, over everything.
    over: String,
}

/// Text that stands for itself in SVG and HTML, in elements and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no way to say these.
            control if control.is_control() && !matches!(control, '\n' | '\t') => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

impl Plot {
    /// A frame with title, axes and grid. `below` pixels are kept free below the axis.
    pub(super) fn new(title: &str, subtitle: &str, x: &Axis, y: &Axis, below: f64) -> Plot {
        let height = HEIGHT + below;
        let mut plot = Plot {
            body: String::new(),
            title: title.to_owned(),
            x: x.scale,
            y: y.scale,
            height,
            legend_x: LEFT,
            legend_y: 64.0,
            over: String::new(),
        };
        plot.write(&format!(r##"<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>"##));
        plot.label((16.0, 24.0), Anchor::Start, title, colour::TEXT, r#" font-size="16" font-weight="bold""#);
        plot.label((16.0, 43.0), Anchor::Start, subtitle, colour::SOFT, r#" font-size="12.5""#);
        plot.axes(x, y);
        plot
    }

    fn write(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    fn axes(&mut self, x: &Axis, y: &Axis) {
        let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
        for (value, text) in &y.ticks {
            let at = self.y_at(*value);
            self.rule((left, at), (right, at), colour::GRID, 1.0, "");
            self.label((left - 8.0, at + 4.0), Anchor::End, text, colour::SOFT, "");
        }
        for (value, text) in &x.ticks {
            let at = self.x_at(*value);
            self.rule((at, top), (at, bottom), colour::GRID, 1.0, "");
            self.rule((at, bottom), (at, bottom + 5.0), colour::SOFT, 1.0, "");
            self.label((at, bottom + 19.0), Anchor::Middle, text, colour::SOFT, "");
        }
        self.rule((left, bottom), (right, bottom), colour::SOFT, 1.0, "");
        let middle = (left + right) / 2.0;
        self.label((middle, bottom + 40.0), Anchor::Middle, &x.title, colour::TEXT, "");
        let middle = (top + bottom) / 2.0;
        let turned = format!(r#" transform="rotate(-90 20 {middle})""#);
        self.label((20.0, middle), Anchor::Middle, &y.title, colour::TEXT, &turned);
    }

    fn x_at(&self, value: f64) -> f64 {
        LEFT + self.x.at(value) * (WIDTH - RIGHT - LEFT)
    }

    fn y_at(&self, value: f64) -> f64 {
        let bottom = HEIGHT - BOTTOM;
        bottom - self.y.at(value) * (bottom - TOP)
    }

    fn label(&mut self, at: (f64, f64), anchor: Anchor, text: &str, fill: &str, more: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let ((x, y), text) = (at, escape(text));
        self.write(&format!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{fill}"{more}>{text}</text>"#
        ));
    }

    fn rule(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, width: f64, more: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.write(&format!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{stroke}" stroke-width="{width}"{more}/>"#
        ));
    }

    /// An entry of the legend, above the plot; a second row begins when the first is full.
    pub(super) fn legend(&mut self, key: Key, text: &str) {
        let width = 26.0 + text.chars().count() as f64 * LETTER + 18.0;
        if self.legend_x + width > WIDTH - RIGHT && self.legend_x > LEFT {
            (self.legend_x, self.legend_y) = (LEFT, self.legend_y + 15.0);
        }
        let (x, y) = (self.legend_x, self.legend_y);
        match key {
            Key::Line(stroke) => self.rule((x, y - 4.0), (x + 20.0, y - 4.0), stroke, 3.0, ""),
            Key::Mark(stroke) => {
                self.rule(
                    (x + 10.0, y - 11.0),
                    (x + 10.0, y + 2.0),
                    stroke,
                    2.0,
                    r#" stroke-dasharray="4 2""#,
                );
            }
            Key::Level(stroke) => {
                self.rule((x, y - 4.0), (x + 20.0, y - 4.0), stroke, 1.5, r#" stroke-dasharray="5 3""#);
            }
            Key::Bar(fill) => {
                let y = y - 10.0;
                self.write(&format!(r#"<rect x="{x:.1}" y="{y:.1}" width="20" height="11" fill="{fill}"/>"#));
            }
        }
        self.label((x + 26.0, y), Anchor::Start, text, colour::TEXT, "");
        self.legend_x += width;
    }

    /// A line through points; it holds its value until the next one where `steps` is said.
    pub(super) fn line(&mut self, points: &[(f64, f64)], stroke: &str, steps: bool) {
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let (x, y) = (self.x_at(*x), self.y_at(*y));
            let _ = match (index, steps) {
                (0, _) => write!(path, "M{x:.1} {y:.1}"),
                (_, true) => write!(path, "H{x:.1}V{y:.1}"),
                (_, false) => write!(path, "L{x:.1} {y:.1}"),
            };
        }
        if !path.is_empty() {
            self.write(&format!(
                r#"<path d="{path}" fill="none" stroke="{stroke}" stroke-width="2" stroke-linejoin="round"/>"#
            ));
        }
    }

    /// A dot at each point: where something was measured.
    pub(super) fn dots(&mut self, points: &[(f64, f64)], fill: &str) {
        for (x, y) in points {
            let (x, y) = (self.x_at(*x), self.y_at(*y));
            self.write(&format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="2.6" fill="{fill}"/>"#));
        }
    }

    /// A bar from the axis up; whoever points at it sees the text.
    pub(super) fn bar(&mut self, from: f64, to: f64, value: f64, fill: &str, text: &str) {
        let (left, right, top) = (self.x_at(from), self.x_at(to), self.y_at(value));
        let (gap, bottom) = (if right - left > 5.0 { 1.0 } else { 0.0 }, HEIGHT - BOTTOM);
        // What is there is seen, however little.
        let top = if value > 0.0 { top.min(bottom - 1.5) } else { top };
        let (width, height, text) = (right - left - gap, bottom - top, escape(text));
        self.write(&format!(
            r#"<rect x="{left:.2}" y="{top:.1}" width="{width:.2}" height="{height:.1}" fill="{fill}"><title>{text}</title></rect>"#
        ));
    }

    /// A span of the x axis, over the whole height.
    pub(super) fn band(&mut self, from: f64, to: f64, fill: &str, opacity: f64) {
        let (left, right) = (self.x_at(from), self.x_at(to));
        let (width, height) = ((right - left).max(1.5), HEIGHT - BOTTOM - TOP);
        self.write(&format!(
            r#"<rect x="{left:.1}" y="{TOP}" width="{width:.1}" height="{height}" fill="{fill}" fill-opacity="{opacity}"/>"#
        ));
    }

    /// A dashed line up from a value of the x axis, with its text in a row at the top (row 0 is the highest);
    /// without a text only the line.
    pub(super) fn mark_x(&mut self, value: f64, stroke: &str, text: &str, row: u32) {
        let (x, top) = (self.x_at(value), TOP + f64::from(row) * 16.0);
        self.rule((x, top), (x, HEIGHT - BOTTOM), stroke, 1.5, r#" stroke-dasharray="5 3""#);
        if text.is_empty() {
            return;
        }
        // Bold letters are wider.
        let width = text.chars().count() as f64 * (LETTER + 1.0);
        let before = x + 8.0 + width > WIDTH - RIGHT;
        let (x, anchor, left) =
            if before { (x - 5.0, "end", x - 7.0 - width) } else { (x + 5.0, "start", x + 3.0) };
        let (y, width, text) = (top + 11.0, width + 4.0, escape(text));
        // A ground of its own, so that no other line crosses it.
        let _ = write!(
            self.over,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"15\" fill=\"#ffffff\" \
             fill-opacity=\"0.85\"/>\n<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" \
             fill=\"{stroke}\" font-weight=\"bold\">{text}</text>\n"
        );
    }

    /// A dashed line across at a value of the y axis.
    pub(super) fn mark_y(&mut self, value: f64, stroke: &str) {
        let y = self.y_at(value);
        self.rule((LEFT, y), (WIDTH - RIGHT, y), stroke, 1.5, r#" stroke-dasharray="5 3""#);
    }

    /// A row below the axis with spans of the x axis; whoever points at one sees its text.
    pub(super) fn lane(&mut self, row: usize, name: &str, fill: &str, spans: &[(f64, f64, String)]) {
        let top = HEIGHT - 4.0 + row as f64 * LANE_HEIGHT;
        let middle = top + LANE_HEIGHT / 2.0;
        self.label((LEFT - 8.0, middle + 4.0), Anchor::End, name, colour::SOFT, r#" font-size="11.5""#);
        self.rule((LEFT, middle), (WIDTH - RIGHT, middle), colour::GRID, 1.0, "");
        for (from, to, text) in spans {
            let (left, right, text) = (self.x_at(*from), self.x_at(*to), escape(text));
            let (y, width, height) = (top + 2.0, (right - left).max(2.0), LANE_HEIGHT - 4.0);
            self.write(&format!(
                r#"<rect x="{left:.1}" y="{y:.1}" width="{width:.1}" height="{height}" fill="{fill}" fill-opacity="0.6"><title>{text}</title></rect>"#
            ));
        }
    }

    /// The whole document.
    pub(super) fn finish(self) -> String {
        let Plot { body, title, height, over, .. } = self;
        let title = escape(&title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\" aria-label=\"{title}\" font-size=\"12\" \
             font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif\">\n{body}{over}</svg>\n"
        )
    }
}

/// Height of a row below the axis in pixels.
pub(super) const LANE_HEIGHT: f64 = 18.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn axis() -> Axis {
        Axis {
            scale: Scale::Linear { from: 0.0, to: 10.0 },
            ticks: vec![(5.0, "5".into())],
            title: "a & b".into(),
        }
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(escape(r#"<a href="x">'&'"#), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;");
        assert_eq!(escape("a\u{1}\nb"), "a\u{fffd}\nb");
        let svg = Plot::new("<script>", "", &axis(), &axis(), 0.0).finish();
        assert!(
            !svg.contains("<script>") && svg.contains("&lt;script&gt;") && svg.contains("a &amp; b"),
            "{svg}"
        );
    }

    #[test]
    fn things_are_drawn_where_they_belong() {
        let mut plot = Plot::new("t", "", &axis(), &axis(), 0.0);
        plot.line(&[(0.0, 0.0), (10.0, 10.0)], "#000", false);
        plot.line(&[(0.0, 0.0), (10.0, 10.0)], "#000", true);
        plot.bar(0.0, 5.0, 10.0, "#111", "half <");
        let svg = plot.finish();
        assert!(svg.contains("M84.0 344.0L772.0 82.0"), "{svg}");
        assert!(svg.contains("M84.0 344.0H772.0V82.0"), "{svg}");
        assert!(svg.contains(r#"x="84.00" y="82.0" width="343.00" height="262.0""#), "{svg}");
        assert!(svg.contains("<title>half &lt;</title>"), "{svg}");
    }

    #[test]
    fn a_legend_breaks_into_rows_and_a_late_mark_has_its_text_before_it() {
        let mut plot = Plot::new("t", "", &axis(), &axis(), 0.0);
        for _ in 0..4 {
            plot.legend(Key::Line("#000"), "a text of some length, as legends have");
        }
        plot.mark_x(9.9, "#222", "late", 1);
        let svg = plot.finish();
        assert!(svg.contains(r#"y="79.0" text-anchor="start""#), "{svg}");
        assert!(svg.contains(r##"text-anchor="end" fill="#222""##), "{svg}");
    }
}
