//! What all sockets share: the refusal of other requests, and the end of a connection (RFC 6455).

use std::time::Duration;

use axum::extract::ws::WebSocket;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderName, HeaderValue, header};
use futures_util::SinkExt;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::ProtocolError;

use super::problem::{Problem, UPGRADE_REQUIRED};

/// The answer to a request that is not a handshake. It names the version of the protocol (section 4.4).
pub fn upgrade_required(rejection: WebSocketUpgradeRejection) -> Problem {
    Problem::new(&UPGRADE_REQUIRED)
        .header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .header(HeaderName::from_static("sec-websocket-version"), HeaderValue::from_static("13"))
        .caused_by(rejection)
}

/// The close code for a connection that cannot be read, and what is wrong; `None` if it is lost.
pub fn violation(error: axum::Error) -> Option<(u16, &'static str)> {
    match *error.into_inner().downcast::<tungstenite::Error>().ok()? {
        tungstenite::Error::Capacity(_) => Some((1009, "the frame is too large")),
        tungstenite::Error::Utf8(_) => Some((1007, "the text is not UTF-8")),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        tungstenite::Error::Protocol(_) => Some((1002, "the frame violates RFC 6455")),
        _ => None,
    }
}

/// Answers the close frame that was received (section 5.5.1). If that fails within `patience`, the client is gone anyway.
pub async fn answer_close(socket: &mut WebSocket, patience: Duration) {
    // The answer has been queued with the frame.
    let _ = tokio::time::timeout(patience, socket.flush()).await;
}
