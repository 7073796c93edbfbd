//! Benchmark 9, over the ways that a facade offers: HTTP/1.1 and HTTP/2, with and without TLS, each with every
//! encoding; a row for each, against the bare peer in the same run.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use tokio::runtime::Runtime;

use crate::bare_sqlite::Bare;
use crate::client::{self, PAGE_SIZE};
use crate::measure::{self, Better, Pairs};
use crate::wire::{Connection, Encoding, OwnCertificate, Spoken};

/// What all rows are asked.
pub(crate) struct Questions<'q> {
    /// The centres, as they travel.
    pub(crate) places: Vec<(f64, f64)>,
    /// Radius in kilometres.
    pub(crate) radius_km: f64,
    /// Notation of coordinates that the puller asks for.
    pub(crate) notation: &'q str,
    /// Pairs of product and bare peer.
    pub(crate) pairs: usize,
}

/// A way of asking, with what it took.
struct Row {
    spoken: Spoken,
    encoding: Encoding,
    connection: Connection,
    /// Times of this pair in microseconds.
    times_us: Vec<f64>,
    totals: Vec<usize>,
    body_bytes: u64,
    wire_bytes: u64,
    asked: u64,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
    p50: Pairs,
    p99: Pairs,
}

/// Asks a facade over these ways in every encoding, and prints a row for each.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn run(
    runtime: &Runtime,
    facade: SocketAddr,
    spoken: &[Spoken],
    shown: Option<&OwnCertificate>,
    (bare, questions): (&Bare, &Questions<'_>),
) -> Result<()> {
    let mut rows = Vec::new();
    for spoken in spoken {
        for encoding in Encoding::ALL {
            let connection = runtime.block_on(Connection::open(facade, *spoken, shown))?;
            rows.push(Row::new(*spoken, encoding, connection, questions.places.len()));
        }
    }
    for pair in 0..=questions.pairs {
        let bare_us = round(runtime, &mut rows, bare, questions)?;
        // The first round only warms the caches of both.
        rows.iter_mut().for_each(|row| row.close_pair(pair > 0, bare_us));
    }
    rows.into_iter().for_each(Row::print);
    Ok(())
}

/// Every row asks at every place, and so does the bare peer. Each begins elsewhere in the list, so that none finds
/// what the one before has just read. Gives p50 and p99 of the bare peer in microseconds.
fn round(runtime: &Runtime, rows: &mut [Row], bare: &Bare, questions: &Questions<'_>) -> Result<(f64, f64)> {
    let (count, askers) = (questions.places.len(), rows.len() + 1);
    let mut bare_us = Vec::with_capacity(count);
    let mut bare_totals = vec![0; count];
    for number in 0..count {
        for asker in 0..askers {
            let at = (number + asker * count / askers) % count;
            let Some(place) = questions.places.get(at).copied() else { continue };
            if let Some(row) = rows.get_mut(asker) {
                runtime.block_on(row.ask(at, place, questions))?;
                continue;
            }
            let begun = Instant::now();
            let (total, _) = bare.within(place.0, place.1, questions.radius_km, PAGE_SIZE)?;
            bare_us.push(begun.elapsed().as_secs_f64() * 1e6);
            bare_totals[at] = total;
        }
    }
    for row in rows {
        for (total, bare) in row.totals.iter().zip(&bare_totals) {
            // A place on the very edge may fall to either side: the bare peer knows millionths of a degree only.
            ensure!(total.abs_diff(*bare) <= 1 + bare / 1_000, "{total} EVSEs, bare {bare}");
        }
    }
    Ok((measure::quantile(&mut bare_us, 0.5), measure::quantile(&mut bare_us, 0.99)))
}

impl Row {
    fn new(spoken: Spoken, encoding: Encoding, connection: Connection, places: usize) -> Row {
        Row {
            spoken,
            encoding,
            connection,
            times_us: Vec::new(),
            totals: vec![0; places],
            body_bytes: 0,
            wire_bytes: 0,
            asked: 0,
            p50_us: Vec::new(),
            p99_us: Vec::new(),
            p50: Pairs::new(Better::Lower),
            p99: Pairs::new(Better::Lower),
        }
    }

    async fn ask(&mut self, at: usize, place: (f64, f64), questions: &Questions<'_>) -> Result<()> {
        let (path, body) = client::around(place, questions.radius_km, questions.notation);
        let answer = self.connection.post(&path, body, self.encoding).await?;
        self.totals[at] = client::total(&answer.body)?;
        self.times_us.push(answer.took_us);
        self.body_bytes += answer.body.len() as u64;
        self.wire_bytes += answer.wire_bytes;
        self.asked += 1;
        Ok(())
    }

    fn close_pair(&mut self, counts: bool, (bare_p50, bare_p99): (f64, f64)) {
        let mut times = std::mem::take(&mut self.times_us);
        let (p50, p99) = (measure::quantile(&mut times, 0.5), measure::quantile(&mut times, 0.99));
        if counts {
            self.p50_us.push(p50);
            self.p99_us.push(p99);
            self.p50.add(p50, bare_p50);
            self.p99.add(p99, bare_p99);
        }
    }

    fn print(mut self) {
        let a_question = |bytes: u64| bytes as f64 / self.asked.max(1) as f64 / 1e3;
        println!(
            "  {:<15} {:<8} {:>7.1} KB on the wire of {:>7.1}; p50 {:>6.0} us, {:.2}x bare (worst {:.2}); p99 {:>6.0} us, {:.2}x (worst {:.2})",
            self.spoken.name(),
            self.encoding.name(),
            a_question(self.wire_bytes),
            a_question(self.body_bytes),
            measure::quantile(&mut self.p50_us, 0.5),
            self.p50.median(),
            self.p50.worst(),
            measure::quantile(&mut self.p99_us, 0.5),
            self.p99.median(),
            self.p99.worst(),
        );
    }
}
