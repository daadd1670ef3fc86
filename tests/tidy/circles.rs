//! No two files of a feature or a shared module import each other, not even through others.
//!
//! A parent module and the files below it belong together and do not count. A name that `mod.rs` re-exports counts as
//! an import of the file that defines it.

use std::collections::{BTreeMap, BTreeSet};

use crate::assert_none;
use crate::imports::{code, expand, module_path, named_paths};
use crate::tree::{File, files};

type Module = Vec<String>;

struct Tree {
    files: BTreeMap<Module, File>,
    /// What each module re-exports from the modules below it: the name, and the path that defines it.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Tree {
    fn new(sources: Vec<File>) -> Self {
        let files: BTreeMap<Module, File> =
            sources.into_iter().map(|file| (split(&module_path(&file.path)), file)).collect();
        let exports = files.iter().map(|(module, file)| (module.clone(), exports(module, file))).collect();
        Self { files, exports }
    }

    /// The file that defines what a path names.
    fn resolve(&self, path: &[String]) -> Option<Module> {
        let length = (1..=path.len())
            .rev()
            .find(|length| path.get(..*length).is_some_and(|start| self.files.contains_key(start)))?;
        let (module, rest) = path.split_at(length);
        if let Some((name, tail)) = rest.split_first()
            && let Some(source) = self.exports.get(module).and_then(|names| names.get(name))
        {
            return self.resolve(&[source, tail].concat());
        }
        Some(module.to_vec())
    }

    fn imports(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let named = |module: &Module, file: &File| {
            let paths = named_paths(file, &module.join("::"));
            let sources = paths.iter().filter_map(|path| self.resolve(&split(path)));
            sources.filter(|source| !source.starts_with(module) && !module.starts_with(source)).collect()
        };
        self.files.iter().map(|(module, file)| (module, named(module, file))).collect()
    }
}

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let tree = Tree::new(files("src", &[".rs"]));
    let imports = tree.imports();
    let mut violations = Vec::new();
    for (module, sources) in &imports {
        for source in sources {
            if reaches(&imports, source, module) {
                violations.push(format!("{} imports {}", tree.files[*module].path, tree.files[source].path));
            }
        }
    }
    assert_none(
        &violations,
        "These imports form a circle. Move the code that both files need to a file in a lower layer, named after its content.",
    );
}

fn reaches(imports: &BTreeMap<&Module, BTreeSet<Module>>, from: &Module, to: &Module) -> bool {
    let (mut pending, mut seen) = (vec![from], BTreeSet::new());
    while let Some(module) = pending.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module) {
            pending.extend(&imports[module]);
        }
    }
    false
}

fn split(path: &str) -> Module {
    path.split("::").map(str::to_owned).collect()
}

/// The names that `pub use child::Name;` lines of a module hand on.
fn exports(module: &Module, file: &File) -> BTreeMap<String, Module> {
    let code = code(file);
    let mut names = BTreeMap::new();
    for line in code.split("pub").skip(1) {
        let visibility_end = if line.starts_with('(') { line.find(')').map_or(0, |end| end + 1) } else { 0 };
        let Some(tree) = line[visibility_end..].trim_start().strip_prefix("use ") else { continue };
        let tree = tree.split(';').next().unwrap_or_default();
        if ["crate", "super", "std"].iter().any(|root| tree.starts_with(root)) {
            continue;
        }
        for path in expand(module.join("::"), tree) {
            let path = split(&path);
            if let Some(name) = path.last().filter(|_| path.len() > module.len() + 1) {
                names.insert(name.clone(), path.clone());
            }
        }
    }
    names
}

#[test]
fn a_circle_is_found_through_a_re_export() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let tree = Tree::new(vec![
        file("src/a/mod.rs", "mod one;\npub use one::One;"),
        file("src/a/one.rs", "use crate::b::Two;"),
        file("src/b.rs", "use crate::a::One;"),
    ]);
    let imports = tree.imports();
    let (one, two) = (split("a::one"), split("b"));
    assert!(reaches(&imports, &one, &two) && reaches(&imports, &two, &one));
    assert!(!reaches(&imports, &split("a"), &one), "a parent and its children do not count");
}
