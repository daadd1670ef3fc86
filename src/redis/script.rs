//! Lua scripts: embedded text and typed calls by hash.
//!
//! A feature declares its scripts with [`lua_scripts!`](crate::lua_scripts), which also lists them for loading, and has
//! one function per script that builds a [`ScriptCall`].

use std::borrow::Cow;
use std::sync::OnceLock;

use redis::{Cmd, FromRedisValue, ToRedisArgs, Value};

use super::fault::{Effect, RedisFault};
use super::fence::Fence;
use super::key::Key;

/// A file of `migrations-lua/`: the bare script, and the script inside a fence.
#[derive(Debug)]
pub struct LuaScript {
    /// The path below `migrations-lua/`, such as `cache/put.lua`.
    pub name: &'static str,
    plain: Text,
    /// Assembled by the first call with a fence, which also loads it.
    guarded: OnceLock<Text>,
}

/// A script's source and the SHA-1 under which Redis knows it.
#[derive(Debug)]
pub struct Text {
    source: Cow<'static, str>,
    sha: OnceLock<String>,
}

/// The text that surrounds a guarded script ...
const FENCE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations-lua/redis/fence.lua"));
/// ... and its line that the guarded script replaces.
const INSIDE: &str = "--- the write";

impl LuaScript {
    /// Starts a call that reads. All keys share a cluster slot.
    pub fn read(&'static self, keys: &[&Key]) -> Binding {
        Binding::new(self, Effect::Read, None, keys)
    }

    /// Starts a call that writes. All keys share a cluster slot.
    pub fn write(&'static self, keys: &[&Key]) -> Binding {
        Binding::new(self, Effect::Write, None, keys)
    }

    /// Starts a call that writes if it passes the fence. With one, the script runs inside `redis/fence.lua`.
    pub fn guarded_write(&'static self, fence: Option<&Fence>, keys: &[&Key]) -> Binding {
        Binding::new(self, Effect::Write, fence, keys)
    }

    pub const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, plain: Text::new(Cow::Borrowed(source)), guarded: OnceLock::new() }
    }

    /// The SHA-1 under which Redis knows the script.
    pub fn sha(&self) -> &str {
        self.plain.sha()
    }

    /// Whether Redis knows the bare or the guarded form by this SHA-1.
    pub(super) fn has_sha(&self, sha: &str) -> bool {
        self.plain.sha() == sha || self.guarded.get().is_some_and(|guarded| guarded.sha() == sha)
    }

    /// The bare or the guarded form, as the call needs.
    pub(super) fn text(&self, fence: Option<&Fence>) -> &Text {
        match fence {
            None => &self.plain,
            Some(_) => {
                self.guarded.get_or_init(|| Text::new(Cow::Owned(FENCE.replacen(INSIDE, &self.plain.source, 1))))
            }
        }
    }
}

impl Text {
    const fn new(source: Cow<'static, str>) -> Self {
        Self { source, sha: OnceLock::new() }
    }

    pub(super) fn sha(&self) -> &str {
        self.sha.get_or_init(|| sha1_smol::Sha1::from(self.source.as_bytes()).digest().to_string())
    }

    pub(super) fn load_command(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&*self.source);
        command
    }

    /// Turns a call by hash into the same call by text.
    pub(super) fn call_by_text(&self, by_hash: &Cmd) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(&*self.source);
        for argument in by_hash.args_iter().skip(2) {
            if let redis::Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

/// Declares the scripts of a feature, and `SCRIPTS`, the list of them. A path is relative to `migrations-lua/`. The text
/// of a script that runs `after` another file begins with the text of that file.
#[macro_export]
macro_rules! lua_scripts {
    ($($name:ident = $path:literal $(after $before:literal)?;)+) => {
        $(static $name: $crate::redis::LuaScript = $crate::redis::LuaScript::new(
            $path,
            concat!(
                $(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations-lua/", $before)),)?
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations-lua/", $path)),
            ),
        );)+

        /// Every script, in the order in which they are loaded.
        pub(crate) const SCRIPTS: &[&$crate::redis::LuaScript] = &[$(&$name),+];
    };
}

/// A reply that the decoder of its call does not understand.
#[derive(Debug, thiserror::Error)]
#[error("the script replied {0}")]
pub struct BadReply(String);

impl BadReply {
    pub fn new(reply: impl std::fmt::Debug) -> Self {
        Self(format!("{reply:?}"))
    }
}

/// Decodes a reply of 0 or 1.
///
/// # Errors
/// [`BadReply`] for any other number.
pub fn flag(reply: i64) -> Result<bool, BadReply> {
    match reply {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(BadReply::new(other)),
    }
}

/// A call of one script: its keys, its arguments, and the decoder of its reply.
#[derive(Debug)]
pub struct ScriptCall<Raw, Reply> {
    /// The call by hash.
    pub(super) command: Cmd,
    pub(super) text: &'static Text,
    pub(super) decoder: Decoder<Raw, Reply>,
}

impl<Raw, Reply> ScriptCall<Raw, Reply> {
    pub fn script(&self) -> &'static LuaScript {
        self.decoder.script
    }
}

/// Turns the reply that Redis sends, `Raw`, into the result of a call.
#[derive(Debug)]
pub struct Decoder<Raw, Reply> {
    pub(super) effect: Effect,
    script: &'static LuaScript,
    decode: fn(Raw) -> Result<Reply, BadReply>,
}

impl<Raw: FromRedisValue, Reply> Decoder<Raw, Reply> {
    pub(super) fn decode(&self, value: Value) -> Result<Reply, RedisFault> {
        let raw = Raw::from_redis_value(value).map_err(|error| RedisFault::bad_reply(error, self.effect))?;
        (self.decode)(raw).map_err(|BadReply(reply)| {
            RedisFault::bad_reply(UnknownReply { script: self.script.name, reply }, self.effect)
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("script {script} replied {reply}")]
struct UnknownReply {
    script: &'static str,
    reply: String,
}

/// Collects the arguments of a call, in the order of the script's header.
#[derive(Debug)]
#[must_use = "`returns` completes the call"]
pub struct Binding {
    command: Cmd,
    script: &'static LuaScript,
    text: &'static Text,
    effect: Effect,
    /// The arguments of `redis/fence.lua`, which follow those of the script.
    fence: Option<[u64; 3]>,
}

impl Binding {
    fn new(script: &'static LuaScript, effect: Effect, fence: Option<&Fence>, keys: &[&Key]) -> Self {
        let text = script.text(fence);
        let mut command = Cmd::with_capacity(20, 256);
        command.arg("EVALSHA").arg(text.sha()).arg(keys.len() + usize::from(fence.is_some()));
        if let Some(fence) = fence {
            command.arg(fence.key().as_str());
        }
        for key in keys {
            command.arg(key.as_str());
        }
        Self { command, script, text, effect, fence: fence.map(Fence::arguments) }
    }

    pub fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }

    /// Completes the call. `decode` fails if it does not understand the script's reply.
    pub fn returns<Raw, Reply>(mut self, decode: fn(Raw) -> Result<Reply, BadReply>) -> ScriptCall<Raw, Reply> {
        for argument in self.fence.iter().flatten() {
            self.command.arg(argument);
        }
        let decoder = Decoder { effect: self.effect, script: self.script, decode };
        ScriptCall { command: self.command, text: self.text, decoder }
    }
}
