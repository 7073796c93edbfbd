//! A link that takes time: a TCP proxy that hands on every byte so long after it came.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Blocks on their way in one direction: more than any benchmark sends in the delay.
const BLOCKS_MAX: usize = 4_096;

/// Listens at a port of its own and passes everything on to another of this machine, each way `delay` late.
///
/// # Errors
/// What the operating system says.
pub(crate) async fn to(port: u16, delay: Duration) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let own = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
                continue;
            }
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(carry(near_in, far_out, delay));
            tokio::spawn(carry(far_in, near_out, delay));
        }
    });
    Ok(own)
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (blocks, mut late) = mpsc::channel::<(Instant, Vec<u8>)>(BLOCKS_MAX);
    tokio::spawn(async move {
        while let Some((at, block)) = late.recv().await {
            sleep_until(at).await;
            if to.write_all(&block).await.is_err() {
                return;
            }
        }
    });
    let mut block = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut block).await {
        let part = block.get(..read).unwrap_or_default();
        if part.is_empty() || blocks.send((Instant::now() + delay, part.to_vec())).await.is_err() {
            return;
        }
    }
}

/// Median time of a byte there and back through such a link, in microseconds: the link's own round trip.
///
/// # Errors
/// What the operating system says.
pub(crate) async fn round_trip_us(delay: Duration, times: usize) -> Result<f64> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let SocketAddr::V4(echo) = listener.local_addr()? else { anyhow::bail!("no IPv4") };
    tokio::spawn(async move {
        if let Ok((stream, _)) = listener.accept().await {
            let (mut from, mut to) = stream.into_split();
            let _ended = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    let mut stream = TcpStream::connect(("127.0.0.1", self::to(echo.port(), delay).await?)).await?;
    stream.set_nodelay(true)?;
    let mut all = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        stream.write_all(&[1]).await?;
        stream.read_exact(&mut [0]).await?;
        all.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(crate::measure::quantile(&mut all, 0.5))
}
