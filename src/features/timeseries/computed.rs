//! Values of series that other capabilities compute, by the names `series.latest`, `series.stats` and `series.range`.

use serde::de::DeserializeOwned;

use super::error::TimeseriesError;
use super::render;
use super::series::SeriesKey;
use super::service::TimeseriesService;
use crate::computed::{Arguments, Computed, ComputedText};
use crate::http::extract::parse_query;
use crate::http::negotiation::Form;

/// Registers the functions. Their arguments are the key and the parameters of the query of the same name.
pub(super) fn provide(computed: &Computed, timeseries: &TimeseriesService) {
    let service = timeseries.clone();
    computed.provide("series.latest", &["key"], move |arguments| {
        let service = service.clone();
        async move {
            let (key, _) = key_and_query::<()>(arguments, false)?;
            text(service.latest(key).await)
        }
    });
    let service = timeseries.clone();
    computed.provide("series.stats", &["key", "from", "to"], move |arguments| {
        let service = service.clone();
        async move {
            let (key, query) = key_and_query(arguments, true)?;
            let Some(query) = query else { return Ok(None) };
            text(service.stats(key, &query).await)
        }
    });
    let service = timeseries.clone();
    computed.provide("series.range", &["key", "from", "to", "agg", "bucket", "limit"], move |arguments| {
        let service = service.clone();
        async move {
            let (key, query) = key_and_query(arguments, true)?;
            let Some(query) = query else { return Ok(None) };
            found(service.range(key, &query).await.map(|page| render::page(Form::Json, &page)))
        }
    });
}

fn key_and_query<T: DeserializeOwned>(
    mut arguments: Arguments,
    has_query: bool,
) -> Result<(SeriesKey, Option<T>), String> {
    let key = arguments.remove("key").unwrap_or_default();
    let key = SeriesKey::new(&key).map_err(|rule| format!("the key of the series {rule}"))?;
    if !has_query {
        return Ok((key, None));
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&arguments).finish();
    let query = parse_query(&query).map_err(|problem| problem.text().to_owned())?;
    Ok((key, Some(query)))
}

fn text<T: serde::Serialize>(value: Result<T, TimeseriesError>) -> ComputedText {
    // Finite numbers and texts always serialise.
    found(value.map(|value| serde_json::to_vec(&value).unwrap_or_default()))
}

fn found(json: Result<Vec<u8>, TimeseriesError>) -> ComputedText {
    match json {
        Ok(json) => String::from_utf8(json).map(Some).map_err(|_| "the series cannot be shown".to_owned()),
        Err(TimeseriesError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
