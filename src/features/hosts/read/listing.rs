//! Lists of hosts, from the indexes in Redis and from memory.

use std::collections::BTreeMap;

use super::super::error::HostsError;
use super::super::model::{HostEntry, HostId, HostList, LatestPage, Source, newer};
use super::super::service::HostService;
use super::super::tenancy::AccessScope;
use crate::http::reply::Page;
use crate::redis::{Effect, Key, RedisFault};

impl HostService {
    /// A page of hosts after `after`, in the order of their names. While Redis is unavailable, only hosts in memory are
    /// listed.
    ///
    /// # Errors
    /// [`HostsError::Redis`] if an index key holds another type.
    pub(in super::super) async fn list(
        &self,
        scope: &AccessScope,
        after: Option<&HostId>,
        limit: usize,
    ) -> Result<HostList, HostsError> {
        let (Page { items, next_cursor }, source) = self.names(scope, after, limit).await?;
        let entry = |id: HostId| HostEntry { last_seen: self.memory.get(&id).map(|host| host.seen()), id };
        Ok(HostList { items: items.into_iter().map(entry).collect(), next_cursor, source })
    }

    /// The newest samples of a page of hosts.
    ///
    /// # Errors
    /// [`HostsError::Redis`] if an index key holds another type.
    pub(in super::super) async fn latest_page(
        &self,
        scope: &AccessScope,
        after: Option<&HostId>,
        limit: usize,
    ) -> Result<LatestPage, HostsError> {
        let (Page { items, next_cursor }, mut source) = self.names(scope, after, limit).await?;
        let mut published = BTreeMap::new();
        if source == Source::Redis {
            match self.published(&items).await {
                Ok(found) => published = found,
                Err(_) => source = Source::Memory,
            }
        }
        let newest = |id: &HostId| newer(self.memory.get(id).and_then(|host| host.newest()), published.remove(id));
        Ok(LatestPage { items: items.iter().filter_map(newest).collect(), next_cursor, source })
    }

    /// A page of host names after `after`, and where they come from.
    async fn names(
        &self,
        scope: &AccessScope,
        after: Option<&HostId>,
        limit: usize,
    ) -> Result<(Page<HostId>, Source), HostsError> {
        let index = match scope {
            AccessScope::Organisation(organisation) => self.keys.index_of(organisation),
            AccessScope::All => self.keys.index(),
        };
        // An organisation has one host of a name. How it is stored is no concern of clients.
        let (after, cursor): (_, fn(&HostId) -> &str) = match scope {
            AccessScope::Organisation(_) => (after.map(HostId::end), HostId::name),
            AccessScope::All => (after.cloned(), HostId::as_str),
        };
        let mut names: Vec<HostId> = self
            .memory
            .all()
            .iter()
            .filter(|host| scope.covers(&host.owner) && after.as_ref().is_none_or(|after| *after < host.id))
            .map(|host| host.id.clone())
            .collect();
        let source = match self.indexed(&index, after.as_ref(), limit + 1).await {
            Ok(listed) => {
                names.extend(listed);
                Source::Redis
            }
            Err(fault) if fault.is_of_the_key() => return Err(fault.into()),
            Err(_) => Source::Memory,
        };
        names.sort();
        names.dedup();
        let is_last = names.len() <= limit;
        names.truncate(limit);
        let next_cursor = names.last().filter(|_| !is_last).map(|last| cursor(last).to_owned());
        Ok((Page { items: names, next_cursor }, source))
    }

    /// Up to `limit` host names of an index after `after`.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(in super::super) async fn indexed(
        &self,
        index: &Key,
        after: Option<&HostId>,
        limit: usize,
    ) -> Result<Vec<HostId>, RedisFault> {
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(index).arg(after.map_or_else(|| "-".to_owned(), |after| format!("({}", after.as_str()))).arg("+");
        command.arg("LIMIT").arg(0).arg(limit);
        let names: Vec<String> = self.redis.query(&command, Effect::Read).await?;
        Ok(names.iter().filter_map(|name| HostId::stored(name)).collect())
    }
}
