//! Clients that generators make from the API document, by the commands in docs/clients.md: each compiles without edits
//! and makes round trips with every capability.

use std::process::Stdio;

use tokio::process::Command;

use crate::recipes::{DOCUMENTED_ADDRESS, examples};
use crate::support::{ADMIN_KEY, TestApp, build_directory, in_repository, output_text};

/// Finds the tools, and Python's packages: one generator writes a package, the other a project that contains a package.
const PATH: &str = r#"
export PATH="$TOOLS/venv/bin:$PWD/node_modules/.bin:$PATH" PYTHONPATH="$PWD:$PWD/client""#;

/// How the programs of a language are compiled and run: scripts of bash.
struct Language {
    extension: &'static str,
    /// Makes the folder a project. `$TOOLS` is the folder of the tools.
    prepare: &'static str,
    /// Compiles all files in the folder.
    compile: &'static str,
    /// Runs the program whose name, without extension, is in `$PROGRAM`.
    run: &'static str,
}

const PYTHON: Language = Language {
    extension: "py",
    prepare: "",
    compile: "python -c '
import gridtokenx, importlib, pkgutil
for module in pkgutil.walk_packages(gridtokenx.__path__, \"gridtokenx.\"):
    importlib.import_module(module.name)'",
    run: "python $PROGRAM.py",
};

const GO: Language = Language {
    extension: "go",
    // Debian packages the only dependency, but without the `go.mod` that a replacement needs. Elsewhere Go downloads it.
    prepare: "
printf 'module clients\\n\\ngo 1.19\\n' >go.mod
source=/usr/share/gocode/src/gopkg.in/validator.v2
if [ -d $source ]; then
    mkdir validator
    cp $source/*.go validator
    rm validator/*_test.go
    echo 'module gopkg.in/validator.v2' >validator/go.mod
    go mod edit -replace gopkg.in/validator.v2=./validator
fi",
    compile: "go vet ./gridtokenx",
    run: "go run $PROGRAM.go",
};

const TYPESCRIPT: Language = Language {
    extension: "ts",
    // One generator reads the tsconfig.json of the project in whose node_modules it is, so a link is not enough.
    prepare: r#"
cp -R "$TOOLS/node/node_modules" .
echo '{"type": "module"}' >package.json
echo '{"compilerOptions": {"strict": true, "target": "es2022", "module": "nodenext", "outDir": "out"}}' >tsconfig.json"#,
    compile: "tsc",
    run: "node out/$PROGRAM.js",
};

macro_rules! generators {
    ($($test:ident: $heading:literal, $program:literal, $language:ident;)*) => {$(
        #[tokio::test]
        #[ignore = "needs generators of clients: make test-clients"]
        async fn $test() {
            check($heading, $program, &$language).await;
        }
    )*};
}

generators! {
    python_by_openapi_python_client: "Python: openapi-python-client", "openapi_python_client", PYTHON;
    python_by_openapi_generator: "Python: openapi-generator", "openapi_generator", PYTHON;
    go_by_openapi_generator: "Go: openapi-generator", "openapi_generator", GO;
    typescript_by_hey_api: "TypeScript: @hey-api/openapi-ts", "hey_api", TYPESCRIPT;
    typescript_by_openapi_generator: "TypeScript: openapi-generator", "openapi_generator", TYPESCRIPT;
}

/// Generates the client of a section of the page, then runs the program in tests/clients and the example of the section.
async fn check(heading: &str, program: &str, language: &Language) {
    let page = std::fs::read_to_string(in_repository("docs/clients.md")).expect("the page");
    let (head, _) = page.split_once("\n## ").expect("sections");
    let section = page.split("\n## ").find_map(|section| section.strip_prefix(heading)?.strip_prefix('\n'));
    let section = section.unwrap_or_else(|| panic!("docs/clients.md has no section `{heading}`"));
    let (commands, programs): (Vec<_>, Vec<_>) =
        examples(head).into_iter().chain(examples(section)).partition(|example| example.language == "sh");

    let mut app = TestApp::builder().admin_key().system_clock().spawn().await;
    let workshop = Workshop { folder: tempfile::tempdir().expect("a folder"), address: app.serve().to_string() };
    workshop.run(language.prepare, program).await;
    for command in commands {
        workshop.run(command.script, program).await;
    }
    let file = |name: &str| format!("{name}.{}", language.extension);
    let round_trips = in_repository("tests/clients").join(file(program));
    std::fs::copy(round_trips, workshop.folder.path().join(file(program))).expect("the program is copied");
    for example in &programs {
        let path = workshop.folder.path().join(file("example"));
        std::fs::write(path, example.script).expect("the example is written");
    }
    workshop.run(language.compile, program).await;
    workshop.run(language.run, program).await;
    for example in &programs {
        example.compare("docs/clients.md", &workshop.run(language.run, "example").await);
    }
}

/// A project with a generated client of the service at an address.
struct Workshop {
    folder: tempfile::TempDir,
    address: String,
}

impl Workshop {
    /// Runs a script of bash with the tools in PATH; returns what it prints.
    async fn run(&self, script: &str, program: &str) -> String {
        let tools = build_directory().join("test-clients");
        assert!(tools.exists(), "{} is missing: run scripts/setup_tests.sh clients", tools.display());
        let script = script.replace(DOCUMENTED_ADDRESS, &self.address);
        let mut command = Command::new("bash");
        command.args(["-ec", &format!("{PATH}\n{script}")]).current_dir(self.folder.path()).env("TOOLS", tools);
        command.env("GRIDTOKENX_URL", format!("http://{}", self.address)).env("GRIDTOKENX_KEY", ADMIN_KEY);
        command.env("PROGRAM", program).env("GOFLAGS", "-mod=mod");
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("bash starts");
        let text = output_text(&output);
        assert!(output.status.success(), "{script}\n{text}\n`scripts/setup_tests.sh clients` installs all tools");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
