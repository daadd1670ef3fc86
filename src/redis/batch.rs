//! Several commands and script calls in one round trip.

use redis::{Cmd, Pipeline, Value};

use super::fault::{Effect, RedisFault};
use super::script::{Binding, ScriptCall, Text};
use super::{Redis, decode, positions_of_noscript};

/// Commands and script calls that travel together; they are no transaction.
#[derive(Debug)]
pub struct Batch {
    commands: Pipeline,
    /// The script of each command that is a call, by the command's place.
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

    /// Adds a command; its answer is one [`Answers::value`].
    pub fn command(&mut self, command: Cmd, effect: Effect) {
        self.note(effect);
        self.commands.add_command(command);
        self.scripts.push(None);
    }

    /// Adds a script call; its answer is one [`Answers::call`].
    pub fn call<S: ScriptCall>(&mut self, call: &S) {
        self.note(S::EFFECT);
        self.commands.add_command(Binding::by_hash(call));
        self.scripts.push(Some(S::SCRIPT.text(call.fence())));
    }

    /// The write that runs after all others, also in a cluster; its answer is [`Answers::last`].
    pub fn last(&mut self, command: Cmd) {
        self.note(Effect::Write);
        self.last = Some(command);
    }

    /// The calls at `places`, each with its script's text.
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

/// The answers of a [`Batch`], taken in the order of its calls.
#[derive(Debug)]
pub struct Answers {
    rest: std::vec::IntoIter<Result<Value, RedisFault>>,
    last: Result<(), RedisFault>,
    effect: Effect,
}

impl Answers {
    /// The next answer, of a command.
    ///
    /// # Errors
    /// The command's [`RedisFault`].
    pub fn value(&mut self) -> Result<Value, RedisFault> {
        self.rest.next().unwrap_or_else(|| Err(RedisFault::bad_reply(MissingAnswer, self.effect)))
    }

    /// The next answer, of a call of `S`.
    ///
    /// # Errors
    /// The call's [`RedisFault`].
    pub fn call<S: ScriptCall>(&mut self) -> Result<S::Reply, RedisFault> {
        self.value().and_then(decode::<S>)
    }

    /// What became of [`Batch::last`].
    ///
    /// # Errors
    /// The command's [`RedisFault`].
    pub fn last(self) -> Result<(), RedisFault> {
        self.last
    }
}

#[derive(Debug, thiserror::Error)]
#[error("Redis sent fewer answers than it was asked for")]
struct MissingAnswer;

impl Redis {
    /// Runs commands whose keys share a slot in one round trip, without copying them; the first error is everybody's.
    ///
    /// # Errors
    /// [`RedisFault`] of the exchange or of the first command that failed.
    pub async fn query_together(&self, commands: &Pipeline, effect: Effect) -> Result<Vec<Value>, RedisFault> {
        self.pipeline_of_one_slot(commands, effect).await
    }

    /// Runs a batch in one round trip; in a cluster its commands travel singly and [`Batch::last`] follows them.
    ///
    /// Calls that met a server without their script are repeated with its text, and [`Batch::last`] after them: it has
    /// to be a write that may be made twice.
    ///
    /// # Errors
    /// [`RedisFault`] when the exchange as a whole failed.
    pub async fn run(&self, mut batch: Batch) -> Result<Answers, RedisFault> {
        let effect = batch.effect;
        let (mut answers, mut last) = self.run_once(&mut batch).await?;
        let missing = positions_of_noscript(&answers);
        if !missing.is_empty() {
            let mut again = batch.by_text(&missing);
            let repeated;
            (repeated, last) = self.run_once(&mut again).await?;
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
            let answers = futures_util::future::join_all(singly).await;
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
