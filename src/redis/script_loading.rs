//! Loads the scripts over a new connection of a lane.

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};

use super::connection::{Channel, Packet};
use super::fault::{Effect, FaultKind, RedisFault};
use super::{Redis, report};

impl Redis {
    pub(super) async fn prepare(&self, channel: &mut Channel) -> Result<(), RedisFault> {
        let loading = tokio::time::timeout(self.0.limits.command, self.load_scripts(channel));
        let loaded = loading.await.unwrap_or_else(|_| Err(RedisFault::timeout(Effect::Read)));
        self.0.report.send_if_modified(|report| report.scripts.learn(&loaded, self.0.scripts.len()));
        match loaded {
            // Reads and plain commands still work. Script calls fail one by one, and readiness reports the reason.
            Err(fault) if fault.kind == FaultKind::Denied || fault.is_unknown_command() => Ok(()),
            other => other,
        }
    }

    async fn load_scripts(&self, channel: &mut Channel) -> Result<(), RedisFault> {
        let commands: Vec<Cmd> = self.0.scripts.iter().map(|script| script.text(None).load_command()).collect();
        // A server may accept SCRIPT LOAD although EVALSHA is renamed or forbidden.
        let mut probe = redis::cmd("EVALSHA");
        probe.arg(report::PROBE.sha()).arg(1).arg(self.0.keys.key("gtx:probe"));
        let answers = if self.0.is_cluster {
            // At once: on a busy machine, a hundred round trips one after the other take longer than a command may.
            let loads = commands.iter().map(|command| {
                let mut channel = channel.clone();
                async move { channel.send(Packet::Command(command)).await }
            });
            let mut answers = join_all(loads).await;
            answers.push(channel.send(Packet::Command(&probe)).await);
            answers
        } else {
            let mut pipeline = Pipeline::with_capacity(commands.len() + 1);
            for command in commands.into_iter().chain([probe]) {
                pipeline.add_command(command);
            }
            match channel.send(Packet::Commands(&pipeline)).await {
                Ok(Value::Array(answers)) => answers.into_iter().map(Ok).collect(),
                other => vec![other],
            }
        };
        for answer in answers {
            answer.and_then(Value::extract_error).map_err(|error| RedisFault::classify(error, Effect::Read))?;
        }
        Ok(())
    }
}
