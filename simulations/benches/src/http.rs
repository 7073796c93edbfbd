//! The smallest HTTP clients that keep their connection: what they cost is not the product's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// One kept-open connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn connect(address: SocketAddr) -> Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, buffer: Vec::new() })
    }

    /// Posts JSON; gives the status and the body.
    ///
    /// # Errors
    /// If the answer is no HTTP, or the connection ends.
    pub(crate) fn post(&mut self, path: &str, json: &str) -> Result<(u16, &[u8])> {
        self.exchange(request(path, json).as_bytes())
    }

    /// Gets a path.
    ///
    /// # Errors
    /// If the answer is no HTTP, or the connection ends.
    pub(crate) fn get(&mut self, path: &str) -> Result<(u16, &[u8])> {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes())
    }

    fn exchange(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let mut block = [0; 64 * 1024];
        let (status, start, end) = loop {
            let read = self.stream.read(&mut block)?;
            if read == 0 {
                bail!("the node closed the connection");
            }
            self.buffer.extend_from_slice(&block[..read]);
            if let Some(start) = head_end(&self.buffer) {
                let head = std::str::from_utf8(&self.buffer[..start])?;
                let status = head.split_whitespace().nth(1).context("no status")?.parse()?;
                break (status, start, start + content_length(head)?);
            }
        };
        while self.buffer.len() < end {
            let read = self.stream.read(&mut block)?;
            if read == 0 {
                bail!("the answer ended early");
            }
            self.buffer.extend_from_slice(&block[..read]);
        }
        Ok((status, &self.buffer[start..end]))
    }
}

/// The same for many at once: one kept-open connection that waits without a thread.
pub(crate) struct Caller {
    stream: tokio::net::TcpStream,
    buffer: Vec<u8>,
}

impl Caller {
    /// Connects.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Caller> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Caller { stream, buffer: Vec::new() })
    }

    /// Posts JSON; gives the status and the body.
    ///
    /// # Errors
    /// If the answer is no HTTP, or the connection ends.
    pub(crate) async fn post(&mut self, path: &str, json: &str) -> Result<(u16, &[u8])> {
        self.stream.write_all(request(path, json).as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the node closed the connection");
            }
            let Some(start) = head_end(&self.buffer) else { continue };
            let head = std::str::from_utf8(&self.buffer[..start])?;
            let status = head.split_whitespace().nth(1).context("no status")?.parse()?;
            let end = start + content_length(head)?;
            if self.buffer.len() >= end {
                return Ok((status, &self.buffer[start..end]));
            }
        }
    }
}

fn request(path: &str, json: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn content_length(head: &str) -> Result<usize> {
    let field = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    Ok(field.context("the answer has no length")?.trim().parse()?)
}
