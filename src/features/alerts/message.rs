//! An alert as a message of the channel `system:alerts`.

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::model::Alert;
use crate::clock::UnixMillis;
use crate::events::{ChannelName, Message, TagMap};

/// The data of the platform's alerts, whose numbers are decimal texts.
#[derive(Serialize)]
struct Data<'a> {
    severity: &'a str,
    summary: &'a str,
    value: String,
    threshold: String,
    since: UnixMillis,
    instance: &'a str,
    alert_id: &'a str,
    subject: &'a str,
    status: &'a str,
}

/// The channel, and the message about the beginning or the end of an alert.
pub(super) fn of(alert: &Alert) -> Option<(ChannelName, Message)> {
    let (severity, status) = (alert.severity.as_str(), alert.status.as_str());
    let data = Data {
        severity,
        summary: &alert.summary,
        value: decimal(alert.value),
        threshold: decimal(alert.threshold),
        since: alert.since,
        instance: &alert.instance,
        alert_id: &alert.id,
        subject: &alert.subject,
        status,
    };
    let tags = [("severity", severity), ("status", status)];
    let message = Message {
        id: format!("{}:{status}", alert.id),
        may_be_repeated: true,
        message_type: alert.condition.clone(),
        version: "1.1".to_owned(),
        data: to_raw_value(&data).ok()?,
        key: None,
        tags: tags.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<TagMap>(),
        revision: None,
    };
    Some((ChannelName::parse("system:alerts").ok()?, message))
}

fn decimal(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
