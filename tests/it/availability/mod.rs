//! What is promised while servers of Redis fail: replicas that have a write, and the shipped configuration for groups.

mod capabilities;
mod data_node;
mod durability;
mod failover;
mod moved_away;
mod retries;
mod sentinels;
mod shipped;
mod stale_sentinel;
mod torn_log;
