//! The fastest that the HTTP stack alone can be: one axum route that answers constant bytes. Used by `make bench`.

use axum::Router;
use axum::routing::get;

/// As long as the value that the cache is asked for.
const VALUE: [u8; 200] = [b'x'; 200];

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("usage: bare_axum PORT")?.parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, Router::new().route("/value", get(|| async { VALUE.as_slice() }))).await?;
    Ok(())
}
