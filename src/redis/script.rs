//! Lua scripts: embedded text, typed calls, called by hash.

use std::borrow::Cow;
use std::sync::OnceLock;

use redis::{Cmd, FromRedisValue, ToRedisArgs};

use super::fault::Effect;
use super::fence::Fence;
use super::key::Key;

/// One file of `migrations-lua/`, by itself and inside of a fence.
#[derive(Debug)]
pub struct LuaScript {
    /// Path below `migrations-lua/`, such as `cache/put.lua`.
    pub name: &'static str,
    plain: Text,
    /// Put together by the first call that has a fence to pass, which also loads it.
    guarded: OnceLock<Text>,
}

/// What Redis is given, and the name by which it then knows it.
#[derive(Debug)]
pub(super) struct Text {
    source: Cow<'static, str>,
    sha: OnceLock<String>,
}

/// What stands around a guarded script ...
const FENCE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations-lua/redis/fence.lua"));
/// ... and the line of it in whose place the script comes.
const INSIDE: &str = "--- the write";

impl LuaScript {
    pub const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, plain: Text::new(Cow::Borrowed(source)), guarded: OnceLock::new() }
    }

    /// The SHA-1 by which Redis knows the script.
    pub fn sha(&self) -> &str {
        self.plain.sha()
    }

    /// The form that a call needs.
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

    /// A call by hash, as the same call that brings the text along.
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

/// Embeds `migrations-lua/<path>` and returns a `&'static LuaScript`.
#[macro_export]
macro_rules! lua {
    ($path:literal) => {{
        static SCRIPT: $crate::redis::LuaScript = $crate::redis::LuaScript::new(
            $path,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations-lua/", $path)),
        );
        &SCRIPT
    }};
}

/// A script's answer that its wrapper does not know.
#[derive(Debug, thiserror::Error)]
#[error("script {script} answered {answer}")]
pub struct BadReply {
    script: &'static str,
    answer: String,
}

impl BadReply {
    pub fn new(script: &LuaScript, answer: impl std::fmt::Debug) -> Self {
        Self { script: script.name, answer: format!("{answer:?}") }
    }
}

/// A call of one script with its keys and arguments.
pub trait ScriptCall {
    /// What Redis sends back.
    type Raw: FromRedisValue;
    /// What it means.
    type Reply;
    /// How many keys a call names; all of them share a cluster slot.
    const KEYS: usize;
    const EFFECT: Effect;

    const SCRIPT: &'static LuaScript;

    /// What a caller who holds a lock has to pass; the script then runs inside of `redis/fence.lua`.
    fn fence(&self) -> Option<&Fence> {
        None
    }

    /// How many keys this call names, where that differs from call to call.
    fn keys(&self) -> usize {
        Self::KEYS
    }

    /// Adds [`ScriptCall::keys`] keys, then the arguments, in the order of the script's header.
    fn bind(&self, call: &mut Binding);

    /// # Errors
    /// [`BadReply`] when script and wrapper disagree.
    fn decode(raw: Self::Raw) -> Result<Self::Reply, BadReply>;
}

/// Collects a call's keys and arguments.
#[derive(Debug)]
pub struct Binding {
    command: Cmd,
    keys: usize,
}

impl Binding {
    /// The call by the script's hash.
    pub(super) fn by_hash<S: ScriptCall>(call: &S) -> Cmd {
        Self::bind("EVALSHA", S::SCRIPT.text(call.fence()).sha(), call)
    }

    /// The call that brings the script's text along, which makes the server know it.
    pub(super) fn by_text<S: ScriptCall>(call: &S) -> Cmd {
        Self::bind("EVAL", &S::SCRIPT.text(call.fence()).source, call)
    }

    fn bind<S: ScriptCall>(name: &str, script: &str, call: &S) -> Cmd {
        let fence = call.fence();
        let keys = call.keys() + usize::from(fence.is_some());
        let mut command = Cmd::with_capacity(20, 256);
        command.arg(name).arg(script).arg(keys);
        let mut binding = Self { command, keys: 0 };
        if let Some(fence) = fence {
            binding.key(fence.key());
        }
        call.bind(&mut binding);
        if let Some(fence) = fence {
            fence.bind(&mut binding);
        }
        debug_assert_eq!(binding.keys, keys, "{}: keys named and keys declared", S::SCRIPT.name);
        binding.command
    }

    pub fn key(&mut self, key: &Key) -> &mut Self {
        self.keys += 1;
        self.command.arg(key.as_str());
        self
    }

    pub fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }
}
