//! The bare peer of everything that speaks HTTP: axum with an echo of JSON. And backends that say yes to
//! everything at once: what they cost is the same for product and bare peer.

use std::net::SocketAddr;

use anyhow::Result;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use tokio::net::TcpListener;

const YES: &str =
    r#"{"Result":true,"StatusCode":{"Code":"000","Description":"Success","AdditionalInfo":""}}"#;

/// Reads any JSON and says it back, at any path.
///
/// # Errors
/// What the operating system says.
pub(crate) async fn echo() -> Result<SocketAddr> {
    let echo = |Json(value): Json<serde_json::Value>| async { Json(value) };
    serve(Router::new().route("/{*path}", post(echo))).await
}

/// Says yes to everything.
///
/// # Errors
/// What the operating system says.
pub(crate) async fn yes() -> Result<SocketAddr> {
    let yes = || async { ([("content-type", "application/json")], YES).into_response() };
    serve(Router::new().route("/{*path}", post(yes))).await
}

async fn serve(router: Router) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("  TCP_NODELAY: {error}");
        }
    });
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            eprintln!("  a server ended: {error}");
        }
    });
    Ok(address)
}
