//! What is promised while servers of Redis fail: replicas that have a write, and the shipped configuration for groups.

mod data_node;
mod durability;
mod failover;
mod shipped;
mod torn_log;
