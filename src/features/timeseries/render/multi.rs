//! Writes several ranges as one response.

use std::borrow::Cow;

use crate::features::timeseries::aggregate::Point;
use crate::features::timeseries::multi::{ManyPage, TURN_POINTS};
use crate::features::timeseries::platform::Energy;
use crate::features::timeseries::range::RangePage;
use crate::features::timeseries::render::{csv_columns, json_value, points, points_after};
use crate::http::negotiation::Form;

/// `{items: [{key, labels, samples, truncated, reducer, sources}], next_cursor}`. Only groups have the last
/// two fields, and `sources_total` if `sources` does not name all series.
pub(in crate::features::timeseries) async fn json_items(answer: &ManyPage) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"items\":[");
    for (at, item) in answer.items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"key\":");
        json_value(&mut out, &item.key);
        out.extend_from_slice(b",\"labels\":");
        json_value(&mut out, &item.labels);
        out.extend_from_slice(b",\"samples\":[");
        for (at, samples) in item.samples.chunks(TURN_POINTS).enumerate() {
            points(&mut out, Form::Json, samples, at == 0);
            tokio::task::yield_now().await;
        }
        out.extend_from_slice(if item.truncated { b"],\"truncated\":true" } else { b"],\"truncated\":false" });
        if let (Some(reducer), Some(sources)) = (item.reducer, &item.sources) {
            out.extend_from_slice(b",\"reducer\":");
            json_value(&mut out, &reducer);
            out.extend_from_slice(b",\"sources\":");
            json_value(&mut out, sources);
            if let Some(total) = item.sources_total {
                out.extend_from_slice(b",\"sources_total\":");
                json_value(&mut out, &total);
            }
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"next_cursor\":");
    json_value(&mut out, &answer.next_cursor.as_ref().map(ToString::to_string));
    out.push(b'}');
    out
}

/// `{meter_id, energy_generated: {key, ...}, energy_consumed: {key, ...}}`, with the requested kinds of energy.
pub(in crate::features::timeseries) fn json_readings(meter: &str, pages: &[(Energy, Option<RangePage>)]) -> Vec<u8> {
    let mut out = b"{\"meter_id\":".to_vec();
    json_value(&mut out, meter);
    for (energy, page) in pages {
        out.extend_from_slice(match energy {
            Energy::Generation => b",\"energy_generated\":",
            Energy::Consumption => b",\"energy_consumed\":",
        });
        match page {
            Some(page) => out.extend(super::page(Form::Json, page)),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    out
}

/// Writes the header line above the lines of [`lines`].
pub(in crate::features::timeseries) fn lines_head(out: &mut Vec<u8>, form: Form, candles: bool) {
    if form == Form::Csv {
        out.extend_from_slice(b"series,");
        out.extend_from_slice(csv_columns(candles).as_bytes());
    }
}

/// Writes points of one series or group, one line per point with the name of the series: CSV, or else a JSON object.
pub(in crate::features::timeseries) fn lines(out: &mut Vec<u8>, form: Form, key: &str, points: &[Point]) {
    let start = if form == Form::Csv {
        format!("{},", csv_field(key)).into_bytes()
    } else {
        let mut start = b"{\"series\":".to_vec();
        json_value(&mut start, key);
        start.push(b',');
        start
    };
    points_after(out, form, &start, points, true);
}

/// A CSV field according to RFC 4180: in quotes if it contains commas, quotes or line breaks.
fn csv_field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}
