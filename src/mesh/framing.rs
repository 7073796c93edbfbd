//! Frames on a stream: a length of four bytes, then that many. A frame has a size limit, and from its
//! first byte on a deadline, so that nobody can hold memory by sending one byte a minute.

use std::time::Duration;

use bytes::Bytes;
use libp2p::futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// Memory is taken for a frame as its bytes come, this many at the start.
const RESERVE_BYTES_MAX: usize = 64 * 1024;

/// What went wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The frame did not come, or was not taken, in time.
    #[error("the frame took longer than its deadline")]
    TooSlow,
    /// Longer than allowed.
    #[error("a frame of {size} bytes, the limit is {limit}")]
    TooLarge { size: usize, limit: usize },
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Broken(#[from] std::io::Error),
}

/// Reads one frame; `None` if the stream ended in good order before its first byte. The wait for the
/// first byte is not bounded here. Not safe to cancel.
pub(super) async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    size_bytes_max: usize,
    deadline: Duration,
) -> Result<Option<Bytes>, FrameError> {
    let mut first = [0u8; 1];
    if reader.read(&mut first).await? == 0 {
        return Ok(None);
    }
    let body = async {
        let mut rest = [0u8; 3];
        reader.read_exact(&mut rest).await?;
        let ([a], [b, c, d]) = (first, rest);
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        if size > size_bytes_max {
            return Err(FrameError::TooLarge { size, limit: size_bytes_max });
        }
        let mut body = Vec::with_capacity(size.min(RESERVE_BYTES_MAX));
        reader.take(size as u64).read_to_end(&mut body).await?;
        if body.len() < size {
            return Err(FrameError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Some(Bytes::from(body)))
    };
    timeout(deadline, body).await.unwrap_or(Err(FrameError::TooSlow))
}

/// Writes one frame made of `parts` and flushes it.
pub(super) async fn write_frame<W: AsyncWrite + Unpin>(
    writer: &mut W,
    parts: &[&[u8]],
    deadline: Duration,
) -> Result<(), FrameError> {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    let limit = u32::MAX as usize;
    let head = u32::try_from(size).map_err(|_| FrameError::TooLarge { size, limit })?;
    // One buffer: each write becomes a yamux frame and a noise message of its own.
    let mut buffer = Vec::with_capacity(4 + size);
    buffer.extend_from_slice(&head.to_be_bytes());
    parts.iter().for_each(|part| buffer.extend_from_slice(part));
    let write = async {
        writer.write_all(&buffer).await?;
        writer.flush().await?;
        Ok(())
    };
    timeout(deadline, write).await.unwrap_or(Err(FrameError::TooSlow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::futures::io::Cursor;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn frames_come_back_as_they_were() {
        let mut wire = Vec::new();
        write_frame(&mut wire, &[b"one ", b"frame"], SOON).await.unwrap();
        write_frame(&mut wire, &[], SOON).await.unwrap();
        let mut reader = Cursor::new(wire);
        assert_eq!(read_frame(&mut reader, 9, SOON).await.unwrap().unwrap(), "one frame");
        assert_eq!(read_frame(&mut reader, 9, SOON).await.unwrap().unwrap(), "");
        assert!(read_frame(&mut reader, 9, SOON).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_too_large_or_cut_short_is_refused() {
        let mut large = Cursor::new(vec![0xff, 0xff, 0xff, 0xff, 1]);
        assert!(matches!(read_frame(&mut large, 100, SOON).await, Err(FrameError::TooLarge { .. })));
        for cut in [vec![0], vec![0, 0, 0, 2], vec![0, 0, 0, 2, 1]] {
            let read = read_frame(&mut Cursor::new(cut), 100, SOON).await;
            assert!(matches!(read, Err(FrameError::Broken(_))));
        }
    }
}
