//! Lua scripts: embedded text and typed calls by hash.

use std::borrow::Cow;
use std::sync::OnceLock;

use redis::{Cmd, FromRedisValue, ToRedisArgs};

use super::fault::Effect;
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
pub(super) struct Text {
    source: Cow<'static, str>,
    sha: OnceLock<String>,
}

/// The text that surrounds a guarded script ...
const FENCE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations-lua/redis/fence.lua"));
/// ... and its line that the guarded script replaces.
const INSIDE: &str = "--- the write";

impl LuaScript {
    pub const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, plain: Text::new(Cow::Borrowed(source)), guarded: OnceLock::new() }
    }

    /// The SHA-1 under which Redis knows the script.
    pub fn sha(&self) -> &str {
        self.plain.sha()
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

/// A reply that the script's wrapper does not understand.
#[derive(Debug, thiserror::Error)]
#[error("script {script} replied {answer}")]
pub struct BadReply {
    script: &'static str,
    answer: String,
}

impl BadReply {
    pub fn new(script: &LuaScript, answer: impl std::fmt::Debug) -> Self {
        Self { script: script.name, answer: format!("{answer:?}") }
    }
}

/// A call of one script, with its keys and arguments.
pub trait ScriptCall {
    /// The reply as Redis sends it.
    type Raw: FromRedisValue;
    /// The decoded reply.
    type Reply;
    /// The number of keys; all of them share a cluster slot.
    const KEYS: usize;
    const EFFECT: Effect;

    const SCRIPT: &'static LuaScript;

    /// The fence that the call must pass. With one, the script runs inside `redis/fence.lua`.
    fn fence(&self) -> Option<&Fence> {
        None
    }

    /// The number of keys of this call, if it differs between calls.
    fn keys(&self) -> usize {
        Self::KEYS
    }

    /// Adds [`ScriptCall::keys`] keys, then the arguments, in the order of the script's header.
    fn bind(&self, call: &mut Binding);

    /// # Errors
    /// [`BadReply`] if script and wrapper disagree.
    fn decode(raw: Self::Raw) -> Result<Self::Reply, BadReply>;
}

/// Collects the keys and arguments of a call.
#[derive(Debug)]
pub struct Binding {
    command: Cmd,
    keys: usize,
}

impl Binding {
    /// The call by hash.
    pub(super) fn by_hash<S: ScriptCall>(call: &S) -> Cmd {
        Self::bind("EVALSHA", S::SCRIPT.text(call.fence()).sha(), call)
    }

    /// The call by text, which also loads the script.
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
            for argument in fence.arguments() {
                binding.arg(argument);
            }
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
