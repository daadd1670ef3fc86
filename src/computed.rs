//! Values that capabilities compute from their own data, by the name of a function such as `book.top`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

/// The arguments of a function, by name.
pub type Arguments = BTreeMap<String, String>;

/// The JSON text of a value; `None` if there is no such value.
pub type ComputedText = Result<Option<String>, String>;

type Compute = Arc<dyn Fn(Arguments) -> BoxFuture<'static, ComputedText> + Send + Sync>;

/// The functions of all capabilities, each of which registers its own.
#[derive(Clone, Default)]
pub struct Computed(Arc<Mutex<BTreeMap<&'static str, ComputedFunction>>>);

/// A function and the names of its arguments.
#[derive(Clone)]
pub struct ComputedFunction {
    pub arguments: &'static [&'static str],
    compute: Compute,
}

impl Computed {
    /// Registers a function.
    pub fn provide<F>(
        &self,
        name: &'static str,
        arguments: &'static [&'static str],
        compute: impl Fn(Arguments) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ComputedText> + Send + 'static,
    {
        let compute: Compute = Arc::new(move |arguments| Box::pin(compute(arguments)));
        self.functions().insert(name, ComputedFunction { arguments, compute });
    }

    pub fn function(&self, name: &str) -> Option<ComputedFunction> {
        self.functions().get(name).cloned()
    }

    /// The names of all functions.
    pub fn names(&self) -> Vec<&'static str> {
        self.functions().keys().copied().collect()
    }

    fn functions(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, ComputedFunction>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ComputedFunction {
    /// Computes the value for these arguments.
    ///
    /// # Errors
    /// Why it cannot be computed at the moment.
    pub async fn compute(&self, arguments: Arguments) -> ComputedText {
        (self.compute)(arguments).await
    }
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Computed").field(&self.names()).finish()
    }
}

impl fmt::Debug for ComputedFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ComputedFunction").field(&self.arguments).finish()
    }
}
