//! Places: the boxes of the R*Tree and the exact distance.

/// Mean radius of the earth in kilometres (IUGG).
const EARTH_RADIUS_KM: f64 = 6371.0088;

/// Millionths of a degree: what the R*Tree's 32-bit numbers hold.
const MICRO: f64 = 1e6;

/// A box in millionths of a degree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MicroBox {
    pub(super) lon_min: i32,
    pub(super) lon_max: i32,
    pub(super) lat_min: i32,
    pub(super) lat_max: i32,
}

/// The box of a point, rounded outwards. A coordinate that is no number gives the box around zero, as it
/// would in the comparison that follows: it is never near anything.
pub(super) fn micro_box(lat: f64, lon: f64) -> MicroBox {
    rounded(lat, lat, lon, lon)
}

fn rounded(south: f64, north: f64, west: f64, east: f64) -> MicroBox {
    // A cast of floating point saturates.
    MicroBox {
        lon_min: (west * MICRO).floor() as i32,
        lon_max: (east * MICRO).ceil() as i32,
        lat_min: (south * MICRO).floor() as i32,
        lat_max: (north * MICRO).ceil() as i32,
    }
}

/// Boxes that together hold every point within a radius: two where the circle crosses the date line.
pub(super) fn boxes_around(lat: f64, lon: f64, radius_km: f64) -> Vec<MicroBox> {
    // A thousandth more, and a metre: the exact distance decides, the box must only miss nothing.
    let angle = (radius_km.max(0.0) * 1.001 + 0.001) / EARTH_RADIUS_KM;
    let reach = angle.to_degrees();
    let (south, north) = (lat - reach, lat + reach);
    let sine = angle.sin() / lat.to_radians().cos();
    if south <= -90.0 || north >= 90.0 || angle >= std::f64::consts::FRAC_PI_2 || sine >= 1.0 {
        return vec![rounded(south.max(-90.0), north.min(90.0), -180.0, 180.0)];
    }
    let wide = sine.asin().to_degrees();
    let (west, east) = (lon - wide, lon + wide);
    let mut boxes = vec![rounded(south, north, west.max(-180.0), east.min(180.0))];
    if west < -180.0 {
        boxes.push(rounded(south, north, west + 360.0, 180.0));
    }
    if east > 180.0 {
        boxes.push(rounded(south, north, -180.0, east - 360.0));
    }
    boxes
}

/// The distance of two points on the sphere in kilometres (haversine formula).
pub(super) fn distance_km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let h = half(a.0, b.0) + a.0.to_radians().cos() * b.0.to_radians().cos() * half(a.1, b.1);
    2.0 * EARTH_RADIUS_KM * h.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_sphere() {
        for (a, b, km) in [
            ((47.3769, 8.5417), (46.2044, 6.1432), 224.4),
            ((0.0, 0.0), (0.0, 180.0), 20015.1),
            ((0.0, 179.9), (0.0, -179.9), 22.2),
            ((10.0, 10.0), (10.0, 10.0), 0.0),
        ] {
            assert!((distance_km(a, b) - km).abs() < 0.1, "{a:?} {b:?}: {}", distance_km(a, b));
        }
    }

    #[test]
    fn boxes_miss_nothing_that_is_near() {
        proptest::proptest!(|(lat in -90.0f64..=90.0, lon in -180.0f64..=180.0, radius in 0.0f64..5000.0,
                              bearing in 0.0f64..6.3, part in 0.0f64..=1.0)| {
            let (phi, angle) = (lat.to_radians(), radius * part / EARTH_RADIUS_KM);
            let there = (phi.sin() * angle.cos() + phi.cos() * angle.sin() * bearing.cos()).clamp(-1.0, 1.0).asin();
            let turn = (bearing.sin() * angle.sin() * phi.cos()).atan2(angle.cos() - phi.sin() * there.sin());
            let east = (lon + turn.to_degrees() + 540.0).rem_euclid(360.0) - 180.0;
            let point = micro_box(there.to_degrees(), east);
            let inside = boxes_around(lat, lon, radius).iter().any(|b| {
                b.lon_min <= point.lon_max && b.lon_max >= point.lon_min
                    && b.lat_min <= point.lat_max && b.lat_max >= point.lat_min
            });
            proptest::prop_assert!(inside);
        });
    }
}
