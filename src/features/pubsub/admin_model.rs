//! Wire types of inspecting channels and issuing channel tokens.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::UnixMillis;
use crate::events::ChannelName;
use crate::http::integer;

/// The rules of a namespace.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelNamespace)]
pub(super) struct NamespaceInfo {
    /// Parameters such as `{symbol}` match one segment.
    pub pattern: String,
    /// `log`, `latest` or `none`.
    pub keep: &'static str,
    pub history_size: usize,
    pub history_ttl_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    pub subscribe: Vec<String>,
    pub publish: Vec<String>,
    pub presence: bool,
}

/// The namespaces of the configuration.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelNamespaces)]
pub(super) struct NamespacesReply {
    pub items: Vec<NamespaceInfo>,
}

/// A channel with subscribers at this replica.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelInfo)]
pub(super) struct ChannelInfo {
    #[schema(value_type = String)]
    pub channel: ChannelName,
    /// The subscribers at this replica.
    pub subscribers: usize,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChannelsQuery {
    /// The prefix of the channels.
    #[serde(default)]
    #[param(required = false, max_length = 200)]
    pub prefix: String,
    /// The maximum number of channels in a page.
    #[serde(default = "default_limit")]
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    pub limit: usize,
    /// The `next_cursor` of the previous page: its last channel.
    #[param(required = false, max_length = 200)]
    pub cursor: Option<String>,
}

const fn default_limit() -> usize {
    100
}

/// The most channels in a page.
pub(super) const MAX_CHANNELS: usize = 1_000;

/// A channel token to issue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelTokenRequest)]
#[schema(example = json!({ "channels": ["market:events"], "subject": "user-7", "ttl_ms": 3_600_000 }))]
pub(super) struct TokenRequest {
    /// Up to 32 names of channels, or prefixes that end with `*`.
    #[schema(min_items = 1, max_items = 32)]
    pub channels: Vec<String>,
    /// The subject whose connections may use the token; any if absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub subject: Option<String>,
    /// The life of the token, milliseconds.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    pub ttl_ms: u64,
}

/// A channel token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelTokenReply)]
pub(super) struct TokenReply {
    /// A JSON Web Token.
    pub token: String,
    /// Unix milliseconds.
    pub expires_at: UnixMillis,
}
