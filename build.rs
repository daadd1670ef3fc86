//! Compresses the API document: the service contains and serves it in this form.

use std::env;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;

const DOCUMENT: &str = "openapi/openapi.json";

#[expect(clippy::disallowed_methods, reason = "Cargo passes the output folder in the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&fs::read(DOCUMENT)?)?;
    let file = PathBuf::from(env::var("OUT_DIR")?).join("openapi.json.gz");
    fs::write(file, encoder.finish()?)?;
    Ok(())
}
