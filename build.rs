//! Compresses what the service contains and serves in this form: the API document, and the files of the web page.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use brotli::CompressorWriter;
use flate2::Compression;
use flate2::write::GzEncoder;

const DOCUMENT: &str = "openapi/openapi.json";
const ASSETS: &str = "src/features/ui/assets";
/// The files that browsers load. Others, such as declarations of types, stay outside the binary.
const SERVED: &[&str] = &["html", "js", "mjs", "css", "svg", "txt"];
/// The page names its files below a folder that is named after their content.
const VERSION_MARK: &str = "{version}";
/// Where the page lists its modules, so that a browser loads them at once and not one import after the other.
const MODULES_MARK: &str = "<!-- modules -->";
/// Vendored modules import each other by the names of their packages, which browsers cannot resolve.
const PACKAGE_IMPORT: (&str, &str) = ("from\"preact\"", "from\"./preact.mjs\"");

type BoxError = Box<dyn Error>;

#[expect(clippy::disallowed_methods, reason = "Cargo passes the output folder in the environment")]
fn main() -> Result<(), BoxError> {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    println!("cargo::rerun-if-changed={ASSETS}");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("openapi.json.gz"), gzip(&fs::read(DOCUMENT)?)?)?;
    embed_assets(&out)
}

/// Writes each asset in both codings, and the table of all assets.
fn embed_assets(out: &Path) -> Result<(), BoxError> {
    let mut paths = Vec::new();
    list(Path::new(ASSETS), &mut paths)?;
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let name = path.strip_prefix(ASSETS)?.to_string_lossy().into_owned();
        files.push((name, fs::read_to_string(&path)?));
    }
    let version = format!("{:016x}", hash(&files));
    let folder = out.join("ui");
    fs::create_dir_all(&folder)?;
    let mut table = format!("static VERSION: &str = {version:?};\nstatic FILES: &[Asset] = &[\n");
    let modules = modules(&files);
    for (at, (name, text)) in files.iter().enumerate() {
        let text = if name.starts_with("vendor/") {
            text.replace(PACKAGE_IMPORT.0, PACKAGE_IMPORT.1)
        } else {
            text.replace(MODULES_MARK, &modules).replace(VERSION_MARK, &version)
        };
        fs::write(folder.join(format!("{at}.gz")), gzip(text.as_bytes())?)?;
        fs::write(folder.join(format!("{at}.br")), brotli(text.as_bytes())?)?;
        writeln!(
            table,
            "    Asset {{ path: {name:?}, gzip: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/ui/{at}.gz\")), brotli: \
             include_bytes!(concat!(env!(\"OUT_DIR\"), \"/ui/{at}.br\")) }},"
        )?;
    }
    fs::write(out.join("ui_assets.rs"), format!("{table}];\n"))?;
    Ok(())
}

fn list(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), BoxError> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, paths)?;
        } else if path.extension().and_then(|ext| ext.to_str()).is_some_and(|ext| SERVED.contains(&ext)) {
            paths.push(path);
        }
    }
    Ok(())
}

/// The tags that let a browser load the modules together.
fn modules(files: &[(String, String)]) -> String {
    let is_module = |name: &str| name.ends_with("js") && name != "vendor/uplot.js";
    let names = files.iter().map(|(name, _)| name).filter(|name| is_module(name));
    names.fold(String::new(), |tags, name| {
        tags + &format!("<link rel=\"modulepreload\" href=\"{VERSION_MARK}/{name}\">\n")
    })
}

/// FNV-1a, 64 bits: it tells versions of the page apart, and nothing depends on its strength.
fn hash(files: &[(String, String)]) -> u64 {
    let bytes = files.iter().flat_map(|(name, text)| name.bytes().chain([0]).chain(text.bytes()).chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, BoxError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn brotli(bytes: &[u8]) -> Result<Vec<u8>, BoxError> {
    /// The size of the window, as a power of two; it covers every file.
    const WINDOW: u32 = 18;
    /// The highest quality takes ten times as long in an unoptimised build, for 3 %.
    const QUALITY: u32 = 9;
    let mut encoder = CompressorWriter::new(Vec::new(), 4_096, QUALITY, WINDOW);
    encoder.write_all(bytes)?;
    Ok(encoder.into_inner())
}
