//! One lock node: a Redis master that votes on every lock.

use std::time::Duration;

use super::super::acquire::AcquireSpec;
use super::super::keys::node_record;
use super::super::leases::Leases;
use super::super::model::{Resource, Token};
use super::scripts::{Eligibility, RaiseFence, RegisterNode, Vote, VoteReply};
use crate::redis::RedisFault;

#[derive(Clone, Debug)]
pub(super) struct LockNode {
    /// Without credentials, for people.
    pub address: String,
    pub leases: Leases,
    pub eligibility: Eligibility,
}

impl LockNode {
    /// Asks for the node's lease; `restore` is the fencing token of a grant whose lease the node lost.
    pub(super) async fn vote(
        &self,
        spec: &AcquireSpec,
        token: &Token,
        restore: Option<u64>,
    ) -> Result<VoteReply, RedisFault> {
        let redis = self.leases.redis();
        let (keys, record) = (self.leases.keys(&spec.resource), node_record(redis.keys()));
        let (eligibility, common) = (self.eligibility, self.leases.common_arguments());
        redis.call(&Vote { keys: &keys, record: &record, spec, token, eligibility, restore, common: &common }).await
    }

    /// Whether the node holds the lease with that fence now.
    pub(super) async fn raise_fence(&self, resource: &Resource, token: &Token, fence: u64) -> bool {
        let (keys, common) = (self.leases.keys(resource), self.leases.common_arguments());
        let call = RaiseFence { keys: &keys, token, fence, common: &common };
        self.leases.redis().call(&call).await.unwrap_or(false)
    }

    /// Returns the rest of the node's quarantine, which this call starts if it is due; zero if the node votes.
    pub(super) async fn register(&self) -> Result<Duration, RedisFault> {
        let (redis, common) = (self.leases.redis(), self.leases.common_arguments());
        let record = node_record(redis.keys());
        redis.call(&RegisterNode { record: &record, now: &common.now, eligibility: self.eligibility }).await
    }
}
