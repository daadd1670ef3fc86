//! The HTTP operations of the window and the archive.

pub(super) mod files;
mod list;

use std::ops::Range;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::minutes::FoundMinute;
use super::model::{
    FootprintQuery, FootprintView, MinutePath, MinuteQuery, MinuteSum, MinuteView, MinutesQuery, MinutesView, Order,
    PriceLevel, Profile, ProfileQuery, ProfileView, SingleTrade, SingleTradesQuery,
};
use super::profile::profile;
use super::service::ArchiveService;
use super::{PARTIES, READ};
use crate::clock::UnixMillis;
use crate::http::auth::Principal;
use crate::http::counts::require_count;
use crate::http::extract::{Json, Path, Query};
use crate::http::problem::Problem;
use crate::http::reply::Page;
use crate::http::times::QueryTime;
use crate::tape::{Decimal, Levels, MINUTE, is_entry_id, is_level_size};

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The longest time of a profile.
const MAX_PROFILE: i64 = 7 * DAY;

/// The most buckets of a footprint.
const MAX_BUCKETS: i64 = 200;

/// List the trades of a symbol in a time, the last to arrive first.
///
/// The service keeps about 100,000 trades of each symbol. A page may have fewer trades than `limit`, and ends the list only if
/// `next_cursor` is null. Buyers and sellers are shown to callers with the scope `trades:parties`.
#[utoipa::path(get, path = "/trades", tag = "market", operation_id = "list_single_trades",
    params(SingleTradesQuery),
    responses((status = 200, description = "A page of trades; empty for a symbol without trades. CSV and NDJSON have the next \
        cursor in the header `Next-Cursor`", content(
            (Page<SingleTrade> = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")))))]
pub(super) async fn list_single_trades(
    State(archive): State<Arc<ArchiveService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<SingleTradesQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let SingleTradesQuery { symbol, from, to, limit, cursor } = query;
    caller.require_key(READ, symbol.as_str())?;
    require_count("limit", limit, 1_000)?;
    if cursor.as_deref().is_some_and(|cursor| !is_entry_id(cursor)) {
        return Err(Problem::query_parameter("cursor", "must be the next_cursor of a page"));
    }
    let range = range_of(from, to, archive.clock.now(), DAY)?;
    let with_parties = caller.may_access(PARTIES, symbol.as_str());
    let page = archive.single_trades(&symbol, &range, cursor, limit, with_parties).await?;
    list::list(&archive.offload, &headers, page.items.len(), move || page).await
}

/// List the minutes of a symbol: their trades by price and side.
///
/// A minute is that of the trades' own times, in UTC. Minutes without trades are left out. A page may have fewer minutes than
/// `limit`, and ends the list only if `next_cursor` is null.
#[utoipa::path(get, path = "/trades/windows", tag = "market", operation_id = "list_minutes",
    params(MinutesQuery),
    responses((status = 200, description = "A page of minutes; empty for a symbol without trades. CSV has a line for each \
        price. CSV and NDJSON have the next cursor in the header `Next-Cursor`", content(
            (MinutesView = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")))))]
pub(super) async fn list_minutes(
    State(archive): State<Arc<ArchiveService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<MinutesQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let MinutesQuery { symbol, from, to, order, limit, cursor } = query;
    caller.require_key(READ, symbol.as_str())?;
    require_count("limit", limit, 500)?;
    let mut range = range_of(from, to, archive.clock.now(), DAY)?;
    match (cursor.map(|cursor| i64::try_from(cursor).unwrap_or(i64::MAX)), order) {
        (Some(cursor), Order::Asc) => range.start = range.start.max(cursor),
        (Some(cursor), Order::Desc) => range.end = range.end.min(cursor.saturating_add(1)),
        (None, _) => {}
    }
    let hot = archive.fold(&symbol).await?;
    let page = archive.minutes(&symbol, &range, order, limit, &hot).await?;
    let levels = page.items.iter().map(|found| found.trades.levels.by_price.len()).sum();
    let view = move || MinutesView {
        items: page.items.into_iter().map(MinuteView::from).collect(),
        coverage: page.coverage,
        next_cursor: page.next.map(|next| next.to_string()),
    };
    list::list(&archive.offload, &headers, levels, view).await
}

/// Get a minute of a symbol: its trades by price and side.
#[utoipa::path(get, path = "/trades/windows/{symbol}/{minute}", tag = "market", operation_id = "get_minute",
    params(MinutePath, MinuteQuery),
    responses((status = 200, description = "The minute; without price levels if it has no trades", body = MinuteView)))]
pub(super) async fn get_minute(
    State(archive): State<Arc<ArchiveService>>,
    Path(MinutePath { symbol, minute }): Path<MinutePath>,
    Query(MinuteQuery { version }): Query<MinuteQuery>,
) -> Result<Json<MinuteView>, Problem> {
    let now = archive.clock.now();
    let time = minute.resolve(now);
    check_unit(time).map_err(|rule| Problem::path_segment("minute", rule))?;
    let minute = time - time.rem_euclid(MINUTE);
    if let Some(version) = version {
        return Ok(Json(MinuteView::from(archive.minute_version(&symbol, minute, version).await?)));
    }
    let none = || MinuteView {
        minute,
        complete: minute + MINUTE <= now,
        version: None,
        level_size: None,
        price_levels: Vec::new(),
        sum: None,
    };
    Ok(Json(archive.minute(&symbol, minute).await?.map_or_else(none, MinuteView::from)))
}

/// Get the volume of a symbol by price, over a time.
///
/// The point of control is the price with the most volume, and the value area the prices around it with 70 % of the volume.
#[utoipa::path(get, path = "/trades/profile", tag = "market", operation_id = "get_profile",
    params(ProfileQuery),
    responses((status = 200, description = "The volumes. CSV and NDJSON have one item, that of the whole time", content(
        (ProfileView = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")))))]
pub(super) async fn get_profile(
    State(archive): State<Arc<ArchiveService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<ProfileQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ProfileQuery { symbol, from, to, step } = query;
    caller.require_key(READ, symbol.as_str())?;
    let range = closed_range(from, to, archive.clock.now(), DAY, MAX_PROFILE, "7 days")?;
    check_step(step)?;
    let volumes = archive.volumes(&symbol, &range, None, step).await?;
    let ends = [range.start, range.end];
    let mut view = match volumes.buckets.into_iter().next() {
        Some((_, profile)) => ProfileView::new(ends, &profile),
        None => ProfileView::new(ends, &profile(Levels::default())),
    };
    view.coverage = volumes.coverage;
    list::list(&archive.offload, &headers, view.price_levels.len(), move || view).await
}

/// Get the volume of a symbol by price, for each bucket of a time.
#[utoipa::path(get, path = "/trades/footprint", tag = "market", operation_id = "get_footprint",
    params(FootprintQuery),
    responses((status = 200, description = "The buckets with trades, oldest first", content(
        (FootprintView = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")))))]
pub(super) async fn get_footprint(
    State(archive): State<Arc<ArchiveService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<FootprintQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let FootprintQuery { symbol, from, to, bucket, step } = query;
    caller.require_key(READ, symbol.as_str())?;
    let length = bucket.map_or(MINUTE, |bucket| i64::try_from(bucket.as_millis()).unwrap_or(i64::MAX));
    if length == 0 || length % MINUTE != 0 || DAY % length != 0 {
        return Err(Problem::query_parameter("bucket", "must be whole minutes that divide a day, such as 15m"));
    }
    let range = closed_range(from, to, archive.clock.now(), 3 * HOUR, MAX_BUCKETS * length, "200 buckets")?;
    check_step(step)?;
    let volumes = archive.volumes(&symbol, &range, Some(length), step).await?;
    let levels = volumes.buckets.iter().map(|(_, profile)| profile.levels.by_price.len()).sum();
    let of = move |(start, profile): &(UnixMillis, Profile)| ProfileView::new([*start, start + length], profile);
    let view = move || FootprintView { items: volumes.buckets.iter().map(of).collect(), coverage: volumes.coverage };
    list::list(&archive.offload, &headers, levels, view).await
}

impl From<FoundMinute> for MinuteView {
    fn from(found: FoundMinute) -> Self {
        Self {
            minute: found.minute,
            complete: found.complete,
            version: found.version,
            level_size: found.trades.levels.size,
            price_levels: PriceLevel::all(&found.trades.levels),
            sum: Some(MinuteSum::new(&found.trades.candle, found.is_imported)),
        }
    }
}

fn check_step(step: Option<Decimal>) -> Result<(), Problem> {
    match step {
        Some(step) if !is_level_size(step) => {
            Err(Problem::query_parameter("step", format!("must be 1 or 2 times a power of ten, got {step}")))
        }
        _ => Ok(()),
    }
}

/// Refuses a time in seconds or microseconds.
fn check_unit(time: UnixMillis) -> Result<(), String> {
    /// 1973-03-03 and 9999-01-01.
    const PLAUSIBLE: Range<UnixMillis> = 100_000_000_000..253_370_764_800_000;
    if time == 0 || PLAUSIBLE.contains(&time) {
        return Ok(());
    }
    Err(format!("must be Unix milliseconds between the years 1973 and 9999, got {time}"))
}

/// The range of a query, half-open. Without `from`, it begins `usual` milliseconds ago.
fn range_of(
    from: Option<QueryTime>,
    to: Option<QueryTime>,
    now: UnixMillis,
    usual: i64,
) -> Result<Range<UnixMillis>, Problem> {
    let start = from.map_or(now - usual, |from| from.resolve(now));
    let end = to.map(|to| to.resolve(now));
    for (name, time) in [("from", Some(start)), ("to", end)] {
        check_unit(time.unwrap_or(0)).map_err(|rule| Problem::query_parameter(name, rule))?;
    }
    match end {
        Some(end) if end < start => {
            Err(Problem::query_parameter("from", format!("must not be after to, got {start} and {end}")))
        }
        _ => Ok(start..end.unwrap_or(i64::MAX)),
    }
}

/// A range that ends with the current minute unless the query says otherwise, and is at most `longest`.
fn closed_range(
    from: Option<QueryTime>,
    to: Option<QueryTime>,
    now: UnixMillis,
    usual: i64,
    longest: i64,
    shown: &str,
) -> Result<Range<UnixMillis>, Problem> {
    let mut range = range_of(from, to, now, usual)?;
    if to.is_none() {
        range.end = (now - now.rem_euclid(MINUTE) + MINUTE).max(range.start);
    }
    if from.is_none() && to.is_none() {
        range.start = range.end - usual;
    }
    if range.end - range.start > longest {
        return Err(Problem::query_parameter("from", format!("must be at most {shown} before to")));
    }
    Ok(range)
}
