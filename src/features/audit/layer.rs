//! The layer around all routes that records what administrators do.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;

use super::counts::Counted;
use super::model::{Entry, Phase};
use super::service::AuditService;
use crate::http::audited::{AuditDetails, Audited, Denied, Peer};
use crate::http::auth::Principal;
use crate::http::layer::{Next, RequestLayer};
use crate::http::problem::Problem;

/// The longest text of an entry that comes from a caller, characters.
const MAX_TEXT: usize = 256;

/// Parameters that may name a person. In the paths below `/admin/subjects/` every parameter does.
const PERSONAL: &[&str] = &["channel", "key", "resource"];

impl RequestLayer for AuditService {
    fn acts_on(&self, request: &Request) -> bool {
        self.log().is_some() && request.extensions().get::<Audited>().is_some()
    }

    fn denied(&self, denied: &Denied<'_>) {
        self.count(Counted {
            actor: denied.caller.map_or_else(|| "unknown".to_owned(), |caller| cut(&caller.id)),
            action: format!("{} {}", denied.method, denied.route),
            outcome: denied.reason,
            address: denied.peer.map(|Peer(address)| address.to_string()),
        });
    }

    fn respond(self: Arc<Self>, request: Request, next: Next) -> BoxFuture<'static, Response> {
        Box::pin(async move {
            let Some(audited) = request.extensions().get::<Audited>().cloned() else { return next.call(request).await };
            let entry = self.entry(&request, &audited);
            if !audited.is_recorded_first {
                let response = next.call(request).await;
                if response.status().is_success() {
                    let Entry { actor, action, address, .. } = entry;
                    self.count(Counted { actor, action, outcome: "done", address });
                }
                return response;
            }
            if let Err(error) = self.record(Entry { phase: Phase::Intent, ..entry.clone() }).await {
                return Problem::from(error).into_response();
            }
            let mut open = OpenAction { audit: self, entry: Some(Entry { phase: Phase::Outcome, ..entry }) };
            let response = next.call(request).await;
            open.close(&response);
            response
        })
    }
}

impl AuditService {
    fn entry(&self, request: &Request, audited: &Audited) -> Entry {
        let caller = request.extensions().get::<Arc<Principal>>();
        let target: Vec<String> = audited
            .parameters(request.uri().path())
            .into_iter()
            .map(|(name, value)| format!("{name}={}", self.shown(audited.route, name, &value)))
            .collect();
        Entry {
            action: format!("{} {}", request.method(), audited.route),
            actor: caller.map_or_else(|| "unknown".to_owned(), |caller| cut(&caller.id)),
            organisation: caller.and_then(|caller| caller.organisation.as_deref()).map(cut),
            target: Some(target.join(" ")).filter(|target| !target.is_empty()),
            request_id: Some(audited.request_id.as_str().to_owned()),
            address: request.extensions().get().map(|Peer(address)| address.to_string()),
            ..Entry::default()
        }
    }

    /// A parameter of a path as the log shows it.
    fn shown(&self, route: &str, name: &str, value: &str) -> String {
        match self.log() {
            Some(log) if PERSONAL.contains(&name) || route.starts_with("/admin/subjects/") => {
                format!("hmac:{}", log.chain.ring.pseudonym(value))
            }
            _ => cut(value).replace(' ', "%20"),
        }
    }
}

/// An action whose intent is recorded. If the request ends without an answer, that is its outcome.
struct OpenAction {
    audit: Arc<AuditService>,
    entry: Option<Entry>,
}

impl OpenAction {
    fn close(&mut self, response: &Response) {
        let Some(mut entry) = self.entry.take() else { return };
        let problem = response.extensions().get::<Arc<Problem>>();
        entry.outcome = Some(problem.map_or_else(|| "done".to_owned(), |problem| problem.kind().slug.to_owned()));
        if let Some(AuditDetails(details)) = response.extensions().get() {
            entry.details.clone_from(details);
        }
        entry.details.insert("status".to_owned(), response.status().as_u16().into());
        self.audit.queue(entry);
    }
}

impl Drop for OpenAction {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.audit.queue(Entry { outcome: Some("unknown".to_owned()), ..entry });
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
