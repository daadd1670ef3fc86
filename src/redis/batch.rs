//! Several commands and script calls that are sent together.

use redis::{Cmd, FromRedisValue, Pipeline, Value};

use super::fault::{Effect, RedisFault};
use super::script::{Decoder, ScriptCall, Text};
use super::{Redis, durability};

/// Commands and script calls that are sent together. A batch is not a transaction.
#[derive(Debug)]
pub struct Batch {
    commands: Pipeline,
    /// The script of each command that is a script call, by position.
    scripts: Vec<Option<&'static Text>>,
    last: Option<Cmd>,
    effect: Effect,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    pub fn new() -> Self {
        Self { commands: Pipeline::with_capacity(2), scripts: Vec::new(), last: None, effect: Effect::Read }
    }

    /// Adds a command; [`Answers::value`] returns its reply.
    pub fn command(&mut self, command: Cmd, effect: Effect) {
        self.note(effect);
        self.commands.add_command(command);
        self.scripts.push(None);
    }

    /// Adds a script call and returns the decoder of its reply, for [`Answers::reply`].
    pub fn call<Raw, Reply>(&mut self, call: ScriptCall<Raw, Reply>) -> Decoder<Raw, Reply> {
        self.note(call.decoder.effect);
        self.commands.add_command(call.command);
        self.scripts.push(Some(call.text));
        call.decoder
    }

    /// Sets the write that runs after all other commands, even in a cluster; [`Answers::last`] returns its reply.
    pub fn last(&mut self, command: Cmd) {
        self.note(Effect::Write);
        self.last = Some(command);
    }

    /// The calls at these positions, each with the full text of its script.
    fn by_text(&self, places: &[usize]) -> Self {
        let mut commands = Pipeline::with_capacity(places.len() + 1);
        for (at, (command, script)) in self.commands.cmd_iter().zip(&self.scripts).enumerate() {
            if let Some(script) = script.filter(|_| places.contains(&at)) {
                commands.add_command(script.call_by_text(command));
            }
        }
        Self { commands, scripts: Vec::new(), last: self.last.clone(), effect: self.effect }
    }

    fn note(&mut self, effect: Effect) {
        if effect == Effect::Write {
            self.effect = Effect::Write;
        }
    }
}

/// The replies to a [`Batch`], in the order of its commands.
#[derive(Debug)]
pub struct Answers {
    rest: std::vec::IntoIter<Result<Value, RedisFault>>,
    last: Result<(), RedisFault>,
    effect: Effect,
}

impl Answers {
    /// The next reply, which must be that of a command.
    ///
    /// # Errors
    /// The command's [`RedisFault`].
    pub fn value(&mut self) -> Result<Value, RedisFault> {
        self.rest.next().unwrap_or_else(|| Err(RedisFault::bad_reply(MissingAnswer, self.effect)))
    }

    /// The next reply, which must be that of the call with this decoder.
    ///
    /// # Errors
    /// The call's [`RedisFault`].
    pub fn reply<Raw: FromRedisValue, Reply>(&mut self, decoder: &Decoder<Raw, Reply>) -> Result<Reply, RedisFault> {
        self.value().and_then(|value| decoder.decode(value))
    }

    /// The result of the command given to [`Batch::last`].
    ///
    /// # Errors
    /// The command's [`RedisFault`].
    pub fn last(self) -> Result<(), RedisFault> {
        self.last
    }
}

#[derive(Debug, thiserror::Error)]
#[error("Redis sent fewer replies than the batch has commands")]
struct MissingAnswer;

impl Redis {
    /// Runs commands whose keys share a slot in one round trip, without copying them. The first error fails all of
    /// them.
    ///
    /// # Errors
    /// The [`RedisFault`] of the round trip, or of the first command that failed.
    pub async fn query_together(&self, commands: &Pipeline, effect: Effect) -> Result<Vec<Value>, RedisFault> {
        self.pipeline_of_one_slot(commands, effect).await
    }

    /// Runs a batch, in one round trip for each 64 commands. In a cluster the commands are sent one by one, and
    /// [`Batch::last`] follows them.
    ///
    /// If the server does not know a script, the calls of that script are repeated with its text, followed by
    /// [`Batch::last`] again: that write must be safe to repeat.
    ///
    /// # Errors
    /// [`RedisFault`] if the first round trip as a whole failed. If only the repetition failed, the other calls have run:
    /// the repeated calls and [`Batch::last`] have the fault.
    pub async fn run(&self, mut batch: Batch) -> Result<Answers, RedisFault> {
        let effect = batch.effect;
        let (mut answers, mut last) = self.run_once(&mut batch).await?;
        let missing = positions_of_noscript(&answers);
        if !missing.is_empty() {
            let mut again = batch.by_text(&missing);
            let repeated;
            (repeated, last) = match self.run_once(&mut again).await {
                Ok(answers) => answers,
                Err(fault) => (vec![Err(fault.clone()); missing.len()], Err(fault)),
            };
            for (at, answer) in missing.into_iter().zip(repeated) {
                if let Some(slot) = answers.get_mut(at) {
                    *slot = answer;
                }
            }
        }
        Ok(Answers { rest: answers.into_iter(), last, effect })
    }

    async fn run_once(
        &self,
        batch: &mut Batch,
    ) -> Result<(Vec<Result<Value, RedisFault>>, Result<(), RedisFault>), RedisFault> {
        if self.0.is_cluster {
            let singly = batch.commands.cmd_iter().map(|command| self.query::<Value>(command, batch.effect));
            let answers = durability::join(singly).await;
            let last = match &batch.last {
                Some(command) => self.query::<Value>(command, Effect::Write).await.map(|_| ()),
                None => Ok(()),
            };
            return Ok((answers, last));
        }
        let count = batch.commands.len();
        if let Some(last) = &batch.last {
            batch.commands.add_command(last.clone());
        }
        let mut answers = self.pipeline(&batch.commands, batch.effect).await?;
        let last = answers.split_off(count.min(answers.len())).pop().map_or(Ok(()), |answer| answer.map(|_| ()));
        Ok((answers, last))
    }
}

fn positions_of_noscript(answers: &[Result<Value, RedisFault>]) -> Vec<usize> {
    let lost = |(at, answer): (usize, &Result<Value, RedisFault>)| match answer {
        Err(fault) if fault.is_noscript() => Some(at),
        _ => None,
    };
    answers.iter().enumerate().filter_map(lost).collect()
}
