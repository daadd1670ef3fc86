//! The same calls where a module keeps the samples: other scripts, which answer alike.

use super::super::keys::SeriesKeys;
use super::super::series::DuplicatePolicy;
use super::super::window::Order;
use super::samples::records;
use super::{Advance, Alter, Append, Create, Delete, DeleteRange, Describe, Latest, Read, ReadState, labels_json};
use crate::lua;
use crate::redis::{BadReply, Binding, Effect, Fence, LuaScript, ScriptCall};

/// A call for a series whose samples a module keeps.
#[derive(Debug)]
pub(in crate::features::timeseries) struct OfModule<C>(pub C);

/// What differs between the calls.
trait ModuleCall: ScriptCall {
    /// Whether the script also has the life of the rollups' blocks in its hands.
    const HAS_BLOCKS: bool = false;

    const MODULE_SCRIPT: &'static LuaScript;
    fn series(&self) -> &SeriesKeys;
    fn arguments(&self, call: &mut Binding);
}

impl<C: ModuleCall> ScriptCall for OfModule<C> {
    type Raw = C::Raw;
    type Reply = C::Reply;
    const KEYS: usize = if C::HAS_BLOCKS { 3 } else { 2 };
    const EFFECT: Effect = C::EFFECT;

    const SCRIPT: &'static LuaScript = C::MODULE_SCRIPT;

    fn fence(&self) -> Option<&Fence> {
        self.0.fence()
    }

    fn bind(&self, call: &mut Binding) {
        let keys = self.0.series();
        call.key(&keys.hash).key(&keys.head);
        if C::HAS_BLOCKS {
            call.key(&keys.blocks);
        }
        self.0.arguments(call);
    }

    fn decode(raw: C::Raw) -> Result<C::Reply, BadReply> {
        C::decode(raw)
    }
}

impl ModuleCall for Append<'_> {
    const HAS_BLOCKS: bool = true;

    const MODULE_SCRIPT: &'static LuaScript = lua!("timeseries/module_append.lua");

    fn series(&self) -> &SeriesKeys {
        self.keys
    }

    fn arguments(&self, call: &mut Binding) {
        call.arg(records(self.samples)).arg(self.min_life_ms).arg(self.now);
        match self.create {
            Some(definition) => call
                .arg(definition.retention_ms)
                .arg(definition.duplicate_policy.name())
                .arg(labels_json(&definition.labels)),
            None => call.arg("").arg("").arg(""),
        };
        call.arg(self.policy.map(DuplicatePolicy::name).unwrap_or_default()).arg(self.chunk_samples);
    }
}

impl ModuleCall for Read<'_> {
    const MODULE_SCRIPT: &'static LuaScript = lua!("timeseries/module_read.lua");

    fn series(&self) -> &SeriesKeys {
        self.keys
    }

    fn arguments(&self, call: &mut Binding) {
        call.arg(self.window.from).arg(self.window.to).arg(self.limit).arg(match self.order {
            Order::Asc => "asc",
            Order::Desc => "desc",
        });
    }
}

impl ModuleCall for Create<'_> {
    const HAS_BLOCKS: bool = true;

    const MODULE_SCRIPT: &'static LuaScript = lua!("timeseries/module_create.lua");

    fn series(&self) -> &SeriesKeys {
        self.keys
    }

    fn arguments(&self, call: &mut Binding) {
        call.arg(self.definition.retention_ms)
            .arg(self.definition.duplicate_policy.name())
            .arg(labels_json(&self.definition.labels))
            .arg(self.min_life_ms)
            .arg(self.now);
    }
}

impl ModuleCall for Alter<'_> {
    const HAS_BLOCKS: bool = true;

    const MODULE_SCRIPT: &'static LuaScript = lua!("timeseries/module_alter.lua");

    fn series(&self) -> &SeriesKeys {
        self.keys
    }

    fn arguments(&self, call: &mut Binding) {
        call.arg(self.retention_ms.map(|ms| ms.to_string()).unwrap_or_default())
            .arg(self.duplicate_policy.map(DuplicatePolicy::name).unwrap_or_default())
            .arg(self.labels.map(labels_json).unwrap_or_default())
            .arg(self.min_life_ms);
    }
}

impl ModuleCall for DeleteRange<'_> {
    const MODULE_SCRIPT: &'static LuaScript = lua!("timeseries/module_delete_range.lua");

    fn series(&self) -> &SeriesKeys {
        self.keys
    }

    fn arguments(&self, call: &mut Binding) {
        call.arg(self.window.from).arg(self.window.to);
    }
}

impl ModuleCall for Describe<'_> {
    const MODULE_SCRIPT: &'static LuaScript = lua!("timeseries/module_describe.lua");

    fn series(&self) -> &SeriesKeys {
        self.0
    }

    fn arguments(&self, _: &mut Binding) {}
}

impl ModuleCall for Latest<'_> {
    const MODULE_SCRIPT: &'static LuaScript = lua!("timeseries/module_latest.lua");

    fn series(&self) -> &SeriesKeys {
        self.0
    }

    fn arguments(&self, _: &mut Binding) {}
}

impl ModuleCall for Delete<'_> {
    const HAS_BLOCKS: bool = true;

    const MODULE_SCRIPT: &'static LuaScript = lua!("timeseries/module_delete.lua");

    fn series(&self) -> &SeriesKeys {
        self.keys
    }

    fn arguments(&self, _: &mut Binding) {}
}

impl ModuleCall for ReadState<'_> {
    const MODULE_SCRIPT: &'static LuaScript = lua!("timeseries/module_rollup_state.lua");

    fn series(&self) -> &SeriesKeys {
        self.0
    }

    fn arguments(&self, _: &mut Binding) {}
}

impl ModuleCall for Advance<'_> {
    const MODULE_SCRIPT: &'static LuaScript = lua!("timeseries/module_rollup_advance.lua");

    fn series(&self) -> &SeriesKeys {
        self.0
    }

    fn arguments(&self, _: &mut Binding) {}
}
