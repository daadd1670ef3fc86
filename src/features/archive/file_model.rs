//! Wire types of the files.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::coverage::Gap;
use super::files::manifest::{MinuteLine, PackLine};
use super::files::{Finding, FindingKind};
use super::report::Trouble;
use crate::clock::UnixMillis;
use crate::http::times::QueryTime;
use crate::tape::Symbol;

/// A file of a minute, as the manifest of its day has it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketMinuteFile)]
pub(super) struct MinuteFile {
    /// The beginning of the minute, Unix milliseconds.
    pub minute: UnixMillis,
    /// The name of the file. After the day was packed, its content is a line of the pack.
    pub file: String,
    pub version: u32,
    /// The number of the last change of the window that the file has.
    pub rev: u64,
    pub bytes: usize,
    /// In hexadecimal digits.
    pub sha256: String,
    pub trades: u64,
    /// The number of price levels.
    pub levels: usize,
    /// The sum of the quantities.
    pub volume: String,
    /// Unix milliseconds.
    pub written_at: UnixMillis,
}

impl From<&MinuteLine> for MinuteFile {
    fn from(line: &MinuteLine) -> Self {
        Self {
            minute: line.minute,
            file: line.file.clone(),
            version: line.version,
            rev: line.rev,
            bytes: line.bytes,
            sha256: line.sha256.clone(),
            trades: line.trades,
            levels: line.levels,
            volume: line.volume.clone(),
            written_at: line.written_at,
        }
    }
}

/// A file of all minutes of a day.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketPackFile)]
pub(super) struct PackFile {
    pub file: String,
    pub version: u32,
    /// The number of minute files in it.
    pub minutes: usize,
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
    /// Unix milliseconds.
    pub written_at: UnixMillis,
}

impl From<&PackLine> for PackFile {
    fn from(line: &PackLine) -> Self {
        Self {
            file: line.file.clone(),
            version: line.version,
            minutes: line.minutes,
            bytes: line.bytes,
            sha256: line.sha256.clone(),
            written_at: line.written_at,
        }
    }
}

/// The manifest of a day.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketDayFiles)]
pub(super) struct DayFiles {
    /// By time, then by version.
    pub items: Vec<MinuteFile>,
    /// Packs, then the same minutes as Parquet.
    pub packs: Vec<PackFile>,
    /// When the files were deleted because of `archive.retention`, Unix milliseconds.
    #[schema(required = true)]
    pub deleted_at: Option<UnixMillis>,
    /// Pass this as `cursor` to get the next page; null on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Why minutes stay in Redis.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketArchiveTrouble)]
pub(super) struct TroubleView {
    /// Unix milliseconds; null if all minutes of the symbol are concerned.
    #[schema(required = true)]
    pub minute: Option<UnixMillis>,
    pub reason: String,
}

impl From<Trouble> for TroubleView {
    fn from(Trouble { minute, reason }: Trouble) -> Self {
        Self { minute, reason }
    }
}

/// The state of a symbol's window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketSymbolStatus)]
pub(super) struct SymbolStatus {
    pub symbol: Symbol,
    /// Minutes in Redis.
    pub minutes: u64,
    /// Those without a file, or changed since.
    pub waiting: u64,
    /// The oldest of them, Unix milliseconds.
    #[schema(required = true)]
    pub oldest_waiting: Option<UnixMillis>,
    /// The latest minute that left Redis after its file was read back.
    #[schema(required = true)]
    pub removed_until: Option<UnixMillis>,
    /// The id of the directory that keeps the files.
    #[schema(required = true)]
    pub store: Option<String>,
    /// What the replica that answers found in its last round.
    pub troubles: Vec<TroubleView>,
}

/// The directory of this replica.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketDirectoryStatus)]
pub(super) struct DirectoryStatus {
    /// The random id of the directory; null if it cannot be opened.
    #[schema(required = true)]
    pub store: Option<String>,
    #[schema(required = true)]
    pub free_bytes: Option<u64>,
    #[schema(required = true)]
    pub size_bytes: Option<u64>,
    /// Why the directory cannot be used, now or in the last round.
    #[schema(required = true)]
    pub error: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketArchiveStatus)]
pub(super) struct ArchiveStatus {
    pub directory: DirectoryStatus,
    /// By name.
    pub items: Vec<SymbolStatus>,
    /// Pass this as `cursor` to get the next page; null on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// The minutes of a range that have no trades to show.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketGaps)]
pub(super) struct GapsView {
    pub items: Vec<Gap>,
}

fn usual_page() -> usize {
    100
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// Only this symbol.
    #[param(required = false, example = "GRID")]
    pub symbol: Option<Symbol>,
    /// The most symbols of the page.
    #[serde(default = "usual_page")]
    #[param(value_type = u64, required = false, minimum = 1, maximum = 100, default = 100)]
    pub limit: usize,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^[A-Za-z0-9._:-]{1,64}$")]
    pub cursor: Option<Symbol>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FilesQuery {
    /// The symbol.
    #[param(example = "GRID")]
    pub symbol: Symbol,
    /// A time within the day, in UTC; without it, today.
    #[param(value_type = QueryTime, required = false)]
    pub day: Option<QueryTime>,
    /// The most files of the page.
    #[serde(default = "usual_page")]
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    pub limit: usize,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^[0-9]{1,9}$")]
    pub cursor: Option<u32>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GapsQuery {
    /// The symbol.
    #[param(example = "GRID")]
    pub symbol: Symbol,
    /// The minutes that begin here or later, at most 31 days before `to`; without it, those of the last 24 hours.
    #[param(value_type = QueryTime, required = false)]
    pub from: Option<QueryTime>,
    /// The minutes that begin before this time; without it, those up to now.
    #[param(value_type = QueryTime, required = false)]
    pub to: Option<QueryTime>,
}

/// Which files to verify.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MarketVerification, example = json!({ "symbol": "GRID", "from": "-7d" }))]
pub(super) struct VerifyRequest {
    pub symbol: Symbol,
    /// A time within the first day; without it, the first day that has files.
    #[serde(default)]
    #[schema(value_type = Option<QueryTime>)]
    pub from: Option<QueryTime>,
    /// The end of the last day; without it, now.
    #[serde(default)]
    #[schema(value_type = Option<QueryTime>)]
    pub to: Option<QueryTime>,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MarketFindingKind)]
pub(super) enum FindingName {
    Missing,
    /// No manifest names it.
    Extra,
    /// Its bytes have another hash.
    Hash,
    /// Its content is not the minute.
    Content,
    /// The manifest has lines that are not whole.
    Torn,
}

/// What a verification found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketFinding)]
pub(super) struct FindingView {
    /// The path below the directory.
    pub file: String,
    pub kind: FindingName,
    pub detail: String,
}

impl From<Finding> for FindingView {
    fn from(Finding { file, kind, detail }: Finding) -> Self {
        let kind = match kind {
            FindingKind::Missing => FindingName::Missing,
            FindingKind::Extra => FindingName::Extra,
            FindingKind::Hash => FindingName::Hash,
            FindingKind::Content => FindingName::Content,
            FindingKind::Torn => FindingName::Torn,
        };
        Self { file, kind, detail }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketVerified)]
pub(super) struct Verified {
    /// The verified days.
    pub days: usize,
    /// Empty if all files are as they were written.
    pub findings: Vec<FindingView>,
    /// Pass this as `from` to go on: the call ended before it had read all days. Null at the end.
    #[schema(required = true)]
    pub next_from: Option<UnixMillis>,
}

/// A step of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MarketArchiveStep)]
pub(super) enum Step {
    /// Write the minutes that are due, and remove those that have left the window.
    Archive,
    /// Pack the days that are due.
    Pack,
    /// Copy packs into the store of `archive.copy_to`, and bring those back that are missing or damaged.
    Copy,
    /// Delete the days that are too old.
    Retention,
    /// Make this replica's directory the one that keeps the files of the symbol, after another one was lost.
    Adopt,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MarketArchiveRun, example = json!({ "symbol": "GRID", "step": "pack", "dry_run": true }))]
pub(super) struct RunRequest {
    /// All symbols without it; `adopt` needs one.
    #[serde(default)]
    pub symbol: Option<Symbol>,
    pub step: Step,
    /// Only tell what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What became of a symbol or one of its days.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketRunItem)]
pub(super) struct RunItem {
    pub symbol: Symbol,
    /// The beginning of the day, Unix milliseconds; null if the step works on the window.
    #[schema(required = true)]
    pub day: Option<UnixMillis>,
    pub outcome: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MarketRunReport)]
pub(super) struct RunReport {
    pub step: Step,
    pub dry_run: bool,
    /// Minutes that have a file now, or would have.
    pub stored: usize,
    /// Minutes that left Redis, or would.
    pub removed: usize,
    /// The first 1,000 items.
    pub items: Vec<RunItem>,
    /// Whether all symbols had their turn; if not, call again.
    pub complete: bool,
}
