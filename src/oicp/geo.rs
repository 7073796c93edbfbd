//! Positions in OICP's three notations: reading them tolerantly, and changing one notation into another
//! without binary floating point, so that no digit is lost or made up (GAPS B9, B10).

use std::borrow::Cow;

use super::json::{Node, Value};

/// A WGS84 position in degrees, for distances and filters only; messages keep their text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// Latitude, -90 to 90.
    pub lat: f64,
    /// Longitude, -180 to 180.
    pub lon: f64,
}

/// Mean radius of the earth in kilometres.
const EARTH_RADIUS_KM: f64 = 6371.0088;

impl Position {
    /// Great-circle distance in kilometres (haversine; error below 0.6 %).
    #[must_use]
    pub fn distance_km(self, other: Position) -> f64 {
        let (lat_a, lat_b) = (self.lat.to_radians(), other.lat.to_radians());
        let half_lat = (lat_b - lat_a) / 2.0;
        let half_lon = (other.lon - self.lon).to_radians() / 2.0;
        let a = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * a.clamp(0.0, 1.0).sqrt().asin()
    }
}

/// The three notations (GeoCoordinatesResponseFormatType).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GeoFormat {
    /// One text, latitude and longitude.
    Google,
    /// Degrees, minutes and seconds.
    DegreeMinuteSeconds,
    /// Two decimal texts.
    DecimalDegree,
}

impl GeoFormat {
    /// All notations in the order in which they are looked for.
    pub const ALL: [GeoFormat; 3] =
        [GeoFormat::Google, GeoFormat::DecimalDegree, GeoFormat::DegreeMinuteSeconds];

    /// The name on the wire, which is also the field's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GeoFormat::Google => "Google",
            GeoFormat::DegreeMinuteSeconds => "DegreeMinuteSeconds",
            GeoFormat::DecimalDegree => "DecimalDegree",
        }
    }

    /// The notation of that name, ASCII case ignored.
    #[must_use]
    pub fn parse(text: &str) -> Option<GeoFormat> {
        GeoFormat::ALL.into_iter().find(|format| format.as_str().eq_ignore_ascii_case(text))
    }
}

/// A coordinate pair as decimal texts of at most six decimals, plus their values in millionths of a degree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) lat: Angle,
    pub(super) lon: Angle,
}

/// One coordinate: a text that matches the published decimal pattern, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Angle {
    pub(super) text: String,
    micro_degrees: i64,
}

impl Pair {
    pub(super) fn position(&self) -> Position {
        let degrees = |angle: &Angle| angle.micro_degrees as f64 / 1e6;
        Position { lat: degrees(&self.lat), lon: degrees(&self.lon) }
    }

    /// The value of the field of that notation.
    pub(super) fn to_node(&self, format: GeoFormat) -> Node<'static> {
        let member = |name: &'static str, text: String| (Cow::Borrowed(name), Node::text(text));
        Node::made(Value::Object(match format {
            GeoFormat::Google => vec![member("Coordinates", format!("{} {}", self.lat.text, self.lon.text))],
            GeoFormat::DecimalDegree => {
                vec![member("Latitude", self.lat.text.clone()), member("Longitude", self.lon.text.clone())]
            }
            GeoFormat::DegreeMinuteSeconds => {
                vec![
                    member("Latitude", self.lat.to_sexagesimal()),
                    member("Longitude", self.lon.to_sexagesimal()),
                ]
            }
        }))
    }
}

/// The position of a `GeoCoordinates` object in whichever notation it has (GAPS A24), or of a plain text in
/// Google notation; `None` if absent, unreadable or out of range.
#[must_use]
pub fn read(node: &Node<'_>) -> Option<Position> {
    read_pair(node).map(|pair| pair.position())
}

pub(super) fn read_pair(node: &Node<'_>) -> Option<Pair> {
    if let Some(text) = node.as_str() {
        return google_pair(text);
    }
    GeoFormat::ALL.into_iter().find_map(|format| read_notation(node, format))
}

/// The notation that counts when there are several: the first readable one.
pub(super) fn first_readable(node: &Node<'_>) -> Option<GeoFormat> {
    GeoFormat::ALL.into_iter().find(|format| read_notation(node, *format).is_some())
}

/// True if the value of a notation has the published shape and patterns (of sexagesimal ones only the shape).
pub(super) fn is_well_shaped(format: GeoFormat, node: &Node<'_>) -> bool {
    let text = |name: &str| node.field(name).and_then(Node::as_str);
    let both =
        |fits: fn(&str) -> bool| text("Latitude").is_some_and(fits) && text("Longitude").is_some_and(fits);
    match format {
        GeoFormat::Google => text("Coordinates").is_some_and(is_google_pattern),
        GeoFormat::DecimalDegree => both(is_decimal_pattern),
        GeoFormat::DegreeMinuteSeconds => both(|_| true),
    }
}

/// The coordinates of one notation of a `GeoCoordinates` object.
pub(super) fn read_notation(node: &Node<'_>, format: GeoFormat) -> Option<Pair> {
    let inner = node.field_any_case(&[format.as_str()])?;
    if format == GeoFormat::Google {
        let text = match inner.as_str() {
            Some(text) => text,
            None => inner.field_any_case(&["Coordinates", "Coordinatea"])?.as_str()?,
        };
        return google_pair(text);
    }
    let angle = |name, degrees_max| {
        let field = inner.field_any_case(&[name])?;
        let text = field.as_str().or_else(|| field.number_text())?;
        if format == GeoFormat::DecimalDegree {
            decimal_angle(text, degrees_max)
        } else {
            sexagesimal_angle(text, degrees_max)
        }
    };
    Some(Pair { lat: angle("Latitude", 90)?, lon: angle("Longitude", 180)? })
}

pub(super) fn google_pair(text: &str) -> Option<Pair> {
    let mut parts = text.split([' ', ',', '\t']).filter(|part| !part.is_empty());
    let (lat, lon) = (parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Some(Pair { lat: decimal_angle(lat, 90)?, lon: decimal_angle(lon, 180)? })
}

/// A decimal text as [`Angle`]; a text that breaks the pattern only by its number of decimals (none, or more
/// than six) is respelled, rounded to the millionth of a degree (at most 6 cm on the ground).
pub(super) fn decimal_angle(text: &str, degrees_max: i64) -> Option<Angle> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 3
        || decimals.len() > 40
        || !all_digits(whole)
        || !all_digits(decimals)
    {
        return None;
    }
    let mut micro = whole.parse::<i64>().ok()? * 1_000_000;
    for (place, digit) in decimals.bytes().take(6).enumerate() {
        micro += i64::from(digit - b'0') * 10_i64.pow(5 - place as u32);
    }
    if decimals.as_bytes().get(6).is_some_and(|digit| *digit >= b'5') {
        micro += 1;
    }
    if micro > degrees_max * 1_000_000 {
        return None;
    }
    let micro_degrees = if text.starts_with('-') { -micro } else { micro };
    let text = if is_decimal_pattern(text) { text.to_owned() } else { spelled(micro_degrees) };
    Some(Angle { text, micro_degrees })
}

/// GeoCoordinatesDecimalDegreeFormatType: sign, up to three whole digits (the first of three a 1), a point
/// and one to six decimals.
pub(super) fn is_decimal_pattern(text: &str) -> bool {
    let Some((whole, decimals)) = text.strip_prefix('-').unwrap_or(text).split_once('.') else {
        return false;
    };
    let whole_fits = matches!(whole.len(), 1 | 2) || (whole.len() == 3 && whole.starts_with('1'));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    whole_fits && digits(whole) && (1..=6).contains(&decimals.len()) && digits(decimals)
}

/// GeoCoordinatesGoogleFormatType.
pub(super) fn is_google_pattern(text: &str) -> bool {
    let mut parts = text.split([' ', ',']).filter(|part| !part.is_empty());
    let both = parts.next().is_some_and(is_decimal_pattern) && parts.next().is_some_and(is_decimal_pattern);
    both && parts.next().is_none() && text.matches(',').count() <= 1 && text.trim() == text
}

fn spelled(micro_degrees: i64) -> String {
    let sign = if micro_degrees < 0 { "-" } else { "" };
    let size = micro_degrees.abs();
    let text = format!("{sign}{}.{:06}", size / 1_000_000, size % 1_000_000);
    let trimmed = text.trim_end_matches('0');
    if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.to_owned() }
}

impl Angle {
    /// `46°14'3.5520''`: a millionth of a degree is 0.0036 seconds, so four decimals are exact.
    fn to_sexagesimal(&self) -> String {
        let sign = if self.micro_degrees < 0 { "-" } else { "" };
        let ticks = self.micro_degrees.abs() * 36;
        let (degrees, rest) = (ticks / 36_000_000, ticks % 36_000_000);
        let (minutes, seconds) = (rest / 600_000, rest % 600_000);
        format!("{sign}{degrees}°{minutes}'{}.{:04}''", seconds / 10_000, seconds % 10_000)
    }
}

fn sexagesimal_angle(text: &str, degrees_max: i64) -> Option<Angle> {
    let text = text.trim();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let marks = ['°', '\'', '’', '′', '"', '″', '”', ' '];
    let mut parts = unsigned.split(marks).filter(|part| !part.is_empty());
    let degrees: i64 = parts.next()?.parse().ok().filter(|degrees| (0..=180).contains(degrees))?;
    let minutes: i64 = parts.next()?.parse().ok().filter(|minutes| (0..60).contains(minutes))?;
    let (whole, decimals) = parts.next()?.split_once('.')?;
    let seconds: i64 = whole.parse().ok().filter(|seconds| (0..60).contains(seconds))?;
    let four: String = decimals.chars().chain("0000".chars()).take(4).collect();
    let ticks = (degrees * 3600 + minutes * 60 + seconds) * 10_000 + four.parse::<i64>().ok()?;
    let micro = (ticks + 18) / 36;
    if parts.next().is_some() || micro > degrees_max * 1_000_000 {
        return None;
    }
    let micro_degrees = if negative { -micro } else { micro };
    Some(Angle { text: spelled(micro_degrees), micro_degrees })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::json::parse_text;

    #[test]
    fn all_notations_are_read() {
        let table = [
            r#"{"Google":{"Coordinates":"52.480495 13.356465"}}"#,
            r#"{"Google":"52.480495,13.356465"}"#,
            r#"{"Google":null,"DecimalDegree":{"Latitude":"52.480495","Longitude":"13.356465"}}"#,
            r#"{"DecimalDegree":{"Latitude":52.480495,"Longitude":13.356465}}"#,
            r#"{"DegreeMinuteSeconds":{"Latitude":"52°28'49.7820''","Longitude":"13° 21′ 23.2740″"}}"#,
        ];
        for text in table {
            let position = read(&parse_text(text).unwrap()).unwrap();
            assert!(
                (position.lat - 52.480495).abs() < 1e-9 && (position.lon - 13.356465).abs() < 1e-9,
                "{text}"
            );
        }
        for text in
            ["{}", r#"{"Google":"None None"}"#, r#"{"Google":"91.0 0.0"}"#, r#"{"Google":"1.0"}"#, "7"]
        {
            assert_eq!(read(&parse_text(text).unwrap()), None, "{text}");
        }
    }

    #[test]
    fn notations_change_into_each_other_without_loss() {
        for text in ["46.23432 6.055602", "-0.000001 -179.999999", "90.0 180.0"] {
            let pair = google_pair(text).unwrap();
            for format in GeoFormat::ALL {
                let mut holder = parse_text("{}").unwrap();
                holder.value = Value::Object(vec![(Cow::Borrowed(format.as_str()), pair.to_node(format))]);
                let again = read_notation(&holder, format).unwrap();
                assert_eq!(again.position(), pair.position(), "{text} {format:?}");
            }
        }
    }

    #[test]
    fn too_many_decimals_are_rounded_and_none_are_added() {
        let spelled = |text| decimal_angle(text, 180).map(|angle| angle.text);
        assert_eq!(spelled("46.2343249999999").as_deref(), Some("46.234325"));
        assert_eq!(spelled("-6.0555019").as_deref(), Some("-6.055502"));
        assert_eq!(spelled("7").as_deref(), Some("7.0"));
        assert_eq!(spelled("7.100000").as_deref(), Some("7.100000"));
        assert_eq!(spelled("1e3"), None);
    }

    #[test]
    fn distances_are_plausible() {
        let (bern, zurich) = (Position { lat: 46.948, lon: 7.4474 }, Position { lat: 47.3769, lon: 8.5417 });
        assert!((bern.distance_km(zurich) - 95.5).abs() < 1.0);
        assert!(bern.distance_km(bern) < 1e-9);
    }
}
