//! The same calls where a module keeps the samples: other scripts, which answer alike.

use super::super::backend::Order;
use super::super::keys::SeriesKeys;
use super::super::series::DuplicatePolicy;
use super::samples::records;
use super::{
    Alter, Append, Create, Delete, DeleteRange, Describe, Latest, MODULE_ALTER, MODULE_APPEND, MODULE_CREATE,
    MODULE_DELETE, MODULE_DELETE_RANGE, MODULE_DESCRIBE, MODULE_LATEST, MODULE_READ, Read, labels_json,
};
use crate::redis::{BadReply, Binding, Effect, Fence, LuaScript, ScriptCall};

/// A call for a series whose samples a module keeps.
#[derive(Debug)]
pub(in crate::features::timeseries) struct OfModule<C>(pub C);

/// What differs between the calls.
trait ModuleCall: ScriptCall {
    fn module_script() -> &'static LuaScript;
    fn series(&self) -> &SeriesKeys;
    fn arguments(&self, call: &mut Binding);
}

impl<C: ModuleCall> ScriptCall for OfModule<C> {
    type Raw = C::Raw;
    type Reply = C::Reply;
    const KEYS: usize = 2;
    const EFFECT: Effect = C::EFFECT;

    fn script() -> &'static LuaScript {
        C::module_script()
    }

    fn fence(&self) -> Option<&Fence> {
        self.0.fence()
    }

    fn bind(&self, call: &mut Binding) {
        let keys = self.0.series();
        call.key(&keys.definition).key(&keys.series);
        self.0.arguments(call);
    }

    fn decode(raw: C::Raw) -> Result<C::Reply, BadReply> {
        C::decode(raw)
    }
}

impl ModuleCall for Append<'_> {
    fn module_script() -> &'static LuaScript {
        &MODULE_APPEND
    }

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
        call.arg(self.policy.map(DuplicatePolicy::name).unwrap_or_default());
    }
}

impl ModuleCall for Read<'_> {
    fn module_script() -> &'static LuaScript {
        &MODULE_READ
    }

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
    fn module_script() -> &'static LuaScript {
        &MODULE_CREATE
    }

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
    fn module_script() -> &'static LuaScript {
        &MODULE_ALTER
    }

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
    fn module_script() -> &'static LuaScript {
        &MODULE_DELETE_RANGE
    }

    fn series(&self) -> &SeriesKeys {
        self.keys
    }

    fn arguments(&self, call: &mut Binding) {
        call.arg(self.window.from).arg(self.window.to);
    }
}

impl ModuleCall for Describe<'_> {
    fn module_script() -> &'static LuaScript {
        &MODULE_DESCRIBE
    }

    fn series(&self) -> &SeriesKeys {
        self.0
    }

    fn arguments(&self, _: &mut Binding) {}
}

impl ModuleCall for Latest<'_> {
    fn module_script() -> &'static LuaScript {
        &MODULE_LATEST
    }

    fn series(&self) -> &SeriesKeys {
        self.0
    }

    fn arguments(&self, _: &mut Binding) {}
}

impl ModuleCall for Delete<'_> {
    fn module_script() -> &'static LuaScript {
        &MODULE_DELETE
    }

    fn series(&self) -> &SeriesKeys {
        self.keys
    }

    fn arguments(&self, _: &mut Binding) {}
}
