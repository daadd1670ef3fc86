//! The scripts in docs/recipes and in the tour of README.md, run against the service; their output is that of the page.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use regex::Regex;

use crate::support::{ServiceProcess, in_repository, output_text, run_python_tool};

/// The address in the pages.
pub const DOCUMENTED_ADDRESS: &str = "localhost:4040";
/// The directory of the archive in the pages.
const DOCUMENTED_ARCHIVE: &str = "/var/lib/gridtokenx-redis/archive";
/// Separates the outputs of the blocks of one shell.
const END_OF_BLOCK: &str = "@@ end of block @@";
/// The languages of examples.
const LANGUAGES: &[&str] = &["go", "python", "sh", "typescript"];

macro_rules! recipes {
    ($($test:ident: $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(
            #[tokio::test]
            async fn $test() {
                check_recipe($page).await;
            }
        )*
    };
}

recipes! {
    a_slow_query_is_cached_without_stampedes: "cache-aside.md",
    a_chart_reads_candles: "candles.md",
    a_counter_is_incremented_once: "counters.md",
    a_dashboard_shows_the_newest_prices: "dashboard.md",
    grafana_reads_series: "grafana.md",
    agents_send_host_metrics: "host-agents.md",
    logins_are_limited: "login-limiter.md",
    meter_readings_are_loaded: "meter-ingest.md",
    tokens_are_minted_under_a_lock: "minting.md",
    events_leave_a_database_once: "outbox.md",
    a_service_follows_the_orders_of_a_user: "own-orders.md",
    a_ticker_shows_every_price: "price-ticker.md",
    a_view_of_events_resumes: "projection.md",
    tokens_are_used_once: "single-use-tokens.md",
    files_of_trades_are_read: "trade-archive.md",
    values_are_cached_before_they_are_requested: "warm-values.md",
}

#[test]
fn every_recipe_is_run_and_listed() {
    let mut pages: Vec<String> = std::fs::read_dir(in_repository("docs/recipes"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    pages.sort();
    assert_eq!(pages, PAGES, "add a new recipe to the list in this file");
    let index = read("docs/README.md");
    for page in PAGES {
        assert!(index.contains(&format!("](recipes/{page})")), "docs/README.md does not list {page}");
    }
}

/// Runs both scripts of a recipe, each on a new service.
async fn check_recipe(page: &str) {
    let text = read(&format!("docs/recipes/{page}"));
    let examples = examples(&text);
    let languages: Vec<&str> = examples.iter().map(|example| example.language).collect();
    assert_eq!(languages, ["python", "sh"], "{page}");
    assert!(text.contains("\n## What can fail\n") && text.contains("\nScope"), "{page}");
    for example in examples {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = folder.path().join("archive");
        std::fs::create_dir(&archive).expect("a folder");
        let archive = archive.to_str().expect("a path");
        let mut service =
            ServiceProcess::start_private(&folder.path().join("redis"), &[("GTX__ARCHIVE__DIR", archive)]);
        service.ready();
        let address = service.address().to_string();
        let script = example.script.replace(DOCUMENTED_ADDRESS, &address).replace(DOCUMENTED_ARCHIVE, archive);
        let output = match example.language {
            "python" => python(&script).await,
            _ => shell(&script, folder.path()),
        };
        example.compare(page, &output);
    }
}

#[test]
fn the_blocks_of_the_tour_work_in_order() {
    let page = read("README.md");
    let (_, tour) = page.split_once("\n## Five-minute tour\n").expect("the tour");
    let (tour, _) = tour.split_once("\n## Capabilities\n").expect("the section after the tour and real time");
    let examples = examples(tour);
    assert!(examples.len() > 5 && examples.iter().all(|example| example.language == "sh"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut service = ServiceProcess::start_private(&folder.path().join("redis"), &[]);
    service.ready();
    let address = service.address().to_string();
    // `make demo` compiles an optimised binary; the shell runs the one that the tests have compiled.
    let tools = env!("CARGO_BIN_EXE_gridtokenx-tools");
    let mut script = format!("make() {{ '{tools}' \"$1\" --url 'http://{address}' ${{2#ARGS=}}; }}\n");
    for example in &examples {
        let block = example.script.replace(DOCUMENTED_ADDRESS, &address);
        writeln!(script, "{block}echo '{END_OF_BLOCK}'").expect("text");
    }
    let output = shell(&script, folder.path());
    let outputs: Vec<&str> = output.split(END_OF_BLOCK).collect();
    assert_eq!(outputs.len(), examples.len() + 1, "{output}");
    for (example, output) in examples.iter().zip(outputs) {
        example.compare("README.md", &output.replace(&address, DOCUMENTED_ADDRESS));
    }
}

/// A script of a page and its output; a script without one prints nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Example<'a> {
    pub language: &'a str,
    pub script: &'a str,
    output: &'a str,
}

impl Example<'_> {
    #[track_caller]
    pub fn compare(&self, page: &str, output: &str) {
        let Self { script, output: documented, .. } = self;
        assert!(
            matches(documented, output),
            "{page} has another output.\n\nscript:\n{script}\npage:\n{documented}\noutput:\n{output}"
        );
    }
}

/// The blocks in a language of [`LANGUAGES`], each with the block in `text` that follows.
pub fn examples(page: &str) -> Vec<Example<'_>> {
    let mut found: Vec<Example<'_>> = Vec::new();
    // Every second part is the content of a block.
    for block in page.split("```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').expect("a block has lines");
        match (language, found.last_mut()) {
            (language, _) if LANGUAGES.contains(&language) => {
                found.push(Example { language, script: text, output: "" });
            }
            ("text", Some(example)) => example.output = text,
            _ => {}
        }
    }
    found
}

/// Whether an output is the documented one, apart from white space and from values that vary. `...` in the
/// documentation stands for any text.
fn matches(documented: &str, output: &str) -> bool {
    let documented = normalise(documented);
    let parts: Vec<String> = documented.split("...").map(regex::escape).collect();
    let pattern = Regex::new(&format!("(?s)^{}$", parts.join(".*"))).expect("a pattern");
    pattern.is_match(&normalise(output))
}

/// Without white space, and with `#` for random tokens and for times that depend on the clock.
fn normalise(text: &str) -> String {
    let text: String = text.split_whitespace().collect();
    let token = Regex::new("[0-9a-f]{32}").expect("a pattern");
    let fields = r#"("(?:fencing_token|expires_at|validity_ms|retry_after_ms|reset_ms|ttl_ms)":|cache-ttl-ms:)\d+"#;
    let varying = Regex::new(fields).expect("a pattern");
    varying.replace_all(&token.replace_all(&text, "#"), "$1#").into_owned()
}

async fn python(script: &str) -> String {
    finished(&run_python_tool("python", &["-c", script]).await)
}

fn shell(script: &str, folder: &Path) -> String {
    finished(&Command::new("bash").args(["-c", script]).current_dir(folder).output().expect("bash runs"))
}

#[track_caller]
fn finished(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{}", output_text(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(in_repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn examples_and_their_outputs_are_recognised() {
    let page = "```sh\na\n```\n\n```yaml\nb\n```\n\n```text\nc\n```\n```python\nd\n```\n";
    let expected = [
        Example { language: "sh", script: "a\n", output: "c\n" },
        Example { language: "python", script: "d\n", output: "" },
    ];
    assert_eq!(examples(page), expected);
    assert!(matches("{\"expires_at\":1,\n \"b\":2}", "{\"expires_at\":3,\"b\":2}"));
    assert!(matches("a ... d", "a\nb c\nd") && !matches("a ... d", "a b c") && !matches("a.c", "abc"));
    assert!(!matches("{\"value\":1}", "{\"value\":2}") && !matches("", "text"));
}
