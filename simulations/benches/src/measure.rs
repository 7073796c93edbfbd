//! What is measured and how it is reported: processor time and memory from `/proc`, latencies, pairs of
//! product and bare peer, and the last line that every benchmark ends with.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

/// Ticks of `/proc/self/stat` in a second; the kernel's user interface fixes them at 100.
const TICKS_PER_S: f64 = 100.0;

/// Single writes for the disk's own figure.
const FDATASYNC_WRITES: usize = 100;

/// Processor time of this process in seconds, user and system together.
///
/// # Errors
/// If `/proc` is not what Linux makes it.
pub(crate) fn cpu_s() -> Result<f64> {
    let stat =
        fs::read_to_string("/proc/self/stat").context("no /proc/self/stat: benchmarks run on Linux")?;
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')').context("/proc/self/stat has no name")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || -> Result<f64> { Ok(fields.next().context("/proc/self/stat is short")?.parse()?) };
    Ok((ticks()? + ticks()?) / TICKS_PER_S)
}

/// Bytes received over the loopback device since the machine started, with all headers. Other processes
/// count too: run alone, or in a network name space (README).
///
/// # Errors
/// If `/proc` is not what Linux makes it.
pub(crate) fn loopback_bytes() -> Result<u64> {
    let devices = fs::read_to_string("/proc/net/dev")?;
    let line = devices.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
    let first = line.and_then(|line| line.split_whitespace().next()).context("no loopback device")?;
    Ok(first.parse()?)
}

/// Memory of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident now, in MB.
    pub(crate) rss_mb: f64,
    /// Largest resident since the start or the last [`forget_peak`], in MB.
    pub(crate) peak_mb: f64,
}

/// Reads the memory of this process.
///
/// # Errors
/// If `/proc` is not what Linux makes it.
pub(crate) fn memory() -> Result<Memory> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mb = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no memory figures")?;
        let kib: f64 = line.split_whitespace().next().context("no memory figure")?.parse()?;
        Ok(kib * 1024.0 / 1e6)
    };
    Ok(Memory { rss_mb: mb("VmRSS:")?, peak_mb: mb("VmHWM:")? })
}

/// Starts the peak of [`memory`] anew. Where the kernel forbids it the old peak stays.
pub(crate) fn forget_peak() {
    let _forbidden = fs::write("/proc/self/clear_refs", "5");
}

/// Load average of the last minute: what else was going on.
pub(crate) fn load_average() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("?").to_owned()
}

/// Median time in microseconds of an overwrite of 4 KiB with fdatasync in a directory.
///
/// # Errors
/// What the disk says.
pub(crate) fn fdatasync_p50_us(dir: &Path) -> Result<f64> {
    let path = dir.join("fdatasync");
    let mut file = File::create(&path)?;
    file.write_all(&vec![0; 1 << 20])?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(FDATASYNC_WRITES);
    for number in 0..FDATASYNC_WRITES {
        let start = Instant::now();
        file.seek(SeekFrom::Start((number as u64 % 256) * 4096))?;
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(path)?;
    Ok(quantile(&mut times, 0.5))
}

/// A quantile (0 to 1) of values, which are sorted by this; not a number if there are none.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Which way a ratio is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    /// A time or a cost: the worst pair is the largest.
    Lower,
    /// A rate: the worst pair is the smallest.
    Higher,
}

/// Ratios of pairs measured one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Pairs {
    ratios: Vec<f64>,
    better: Better,
}

impl Pairs {
    /// No pair yet.
    pub(crate) fn new(better: Better) -> Pairs {
        Pairs { ratios: Vec::new(), better }
    }

    /// Adds a pair as product over bare peer.
    pub(crate) fn add(&mut self, product: f64, bare: f64) -> f64 {
        let ratio = product / bare;
        self.ratios.push(ratio);
        ratio
    }

    /// The median of the pairs.
    pub(crate) fn median(&self) -> f64 {
        quantile(&mut self.ratios.clone(), 0.5)
    }

    /// The worst pair.
    pub(crate) fn worst(&self) -> f64 {
        let part = if self.better == Better::Lower { 1.0 } else { 0.0 };
        quantile(&mut self.ratios.clone(), part)
    }
}

/// Prints a figure that is not the main one: median and worst of its pairs against its target.
pub(crate) fn print_pairs(what: &str, pairs: &Pairs, target: &str) {
    println!(
        "  {what}: median {:.2}, worst {:.2} of {} (target {target})",
        pairs.median(),
        pairs.worst(),
        pairs.ratios.len()
    );
}

/// Prints the surroundings and the last line of a benchmark.
///
/// # Errors
/// What the disk or `/proc` say.
pub(crate) fn conclude(name: &str, pairs: &Pairs, target: &str, rss_mb: f64, dir: &Path) -> Result<()> {
    println!(
        "  surroundings: fdatasync p50 {:.0} us, load average {}, worst pair {:.2} of {}",
        fdatasync_p50_us(dir)?,
        load_average(),
        pairs.worst(),
        pairs.ratios.len()
    );
    println!("{name}: ratio {:.2} (target {target}) rss {rss_mb:.0} MB", pairs.median());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_worst_depend_on_the_direction() {
        let mut costs = Pairs::new(Better::Lower);
        let mut rates = Pairs::new(Better::Higher);
        for product in [3.0, 1.0, 2.0] {
            costs.add(product, 2.0);
            rates.add(product, 2.0);
        }
        assert_eq!((costs.median(), costs.worst(), rates.worst()), (1.0, 1.5, 0.5));
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        assert!(memory().unwrap().rss_mb > 0.5);
        assert!(cpu_s().unwrap() >= 0.0);
        loopback_bytes().unwrap();
    }
}
