//! Responses in the form of Prometheus: `{"status": "success", "data": ...}`, with numbers as text.

use serde::Serialize;

use crate::clock::UnixMillis;
use crate::features::timeseries::prom::{Listed, Metric, PromError, Steps, Value};
use crate::features::timeseries::render::json_value;
use crate::features::timeseries::series::Sample;

/// The response of a list. As in Prometheus, a warning says that it is not complete.
pub(in crate::features::timeseries) fn prom_list<T: Serialize>(list: &Listed<T>) -> Vec<u8> {
    let mut out = BEGIN.to_vec();
    json_value(&mut out, &list.items);
    if list.truncated {
        out.extend_from_slice(br#","warnings":["results truncated due to limit"]"#);
    }
    out.push(b'}');
    out
}

/// A response with any data.
pub(in crate::features::timeseries) fn prom_data(data: &impl Serialize) -> Vec<u8> {
    let mut out = BEGIN.to_vec();
    json_value(&mut out, data);
    out.push(b'}');
    out
}

pub(in crate::features::timeseries) fn prom_error(error: &PromError) -> Vec<u8> {
    let mut out = br#"{"status":"error","errorType":"#.to_vec();
    json_value(&mut out, error.kind());
    out.extend_from_slice(br#","error":"#);
    json_value(&mut out, &error.text);
    out.push(b'}');
    out
}

/// The response of a query at one time.
pub(in crate::features::timeseries) fn prom_instant(value: &Value, steps: Steps) -> Vec<u8> {
    let (mut out, time) = (BEGIN.to_vec(), steps.start);
    match value {
        Value::Scalar(numbers) => {
            out.extend_from_slice(br#"{"resultType":"scalar","result":"#);
            point(&mut out, time, numbers.first().copied().unwrap_or(f64::NAN));
        }
        Value::Vector(series) => {
            out.extend_from_slice(br#"{"resultType":"vector","result":["#);
            let there =
                series.iter().filter_map(|series| Some((&series.metric, series.points.first().copied().flatten()?)));
            for (at, (metric, value)) in there.enumerate() {
                out.extend_from_slice(if at > 0 { br#",{"metric":"# } else { br#"{"metric":"#.as_slice() });
                json_value(&mut out, metric);
                out.extend_from_slice(br#","value":"#);
                point(&mut out, time, value);
                out.push(b'}');
            }
            out.push(b']');
        }
        Value::Matrix(series) => matrix(&mut out, series),
    }
    out.extend_from_slice(b"}}");
    out
}

/// The samples of each series, with their own times.
fn matrix(out: &mut Vec<u8>, series: &[(Metric, Vec<Sample>)]) {
    out.extend_from_slice(br#"{"resultType":"matrix","result":["#);
    let there = series.iter().filter(|(_, samples)| !samples.is_empty());
    for (at, (metric, samples)) in there.enumerate() {
        out.extend_from_slice(if at > 0 { br#",{"metric":"# } else { br#"{"metric":"#.as_slice() });
        json_value(out, metric);
        out.extend_from_slice(br#","values":["#);
        for (at, sample) in samples.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            point(out, sample.timestamp, sample.value);
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
}

/// The response of a query at all steps. A number becomes a series without labels.
pub(in crate::features::timeseries) fn prom_range(value: &Value, steps: Steps) -> Vec<u8> {
    let mut out = BEGIN.to_vec();
    out.extend_from_slice(br#"{"resultType":"matrix","result":["#);
    match value {
        Value::Scalar(numbers) => {
            out.extend_from_slice(br#"{"metric":{},"values":["#);
            points(&mut out, steps, numbers.iter().copied().map(Some));
            out.extend_from_slice(b"]}");
        }
        Value::Vector(series) => {
            let there = series.iter().filter(|series| series.points.iter().any(Option::is_some));
            for (at, series) in there.enumerate() {
                out.extend_from_slice(if at > 0 { br#",{"metric":"# } else { br#"{"metric":"#.as_slice() });
                json_value(&mut out, &series.metric);
                out.extend_from_slice(br#","values":["#);
                points(&mut out, steps, series.points.iter().copied());
                out.extend_from_slice(b"]}");
            }
        }
        // A plan for several steps has no ranges of samples.
        Value::Matrix(_) => {}
    }
    out.extend_from_slice(b"]}}");
    out
}

const BEGIN: &[u8] = br#"{"status":"success","data":"#;

fn points(out: &mut Vec<u8>, steps: Steps, values: impl Iterator<Item = Option<f64>>) {
    let there = steps.times().zip(values).filter_map(|(time, value)| Some((time, value?)));
    for (at, (time, value)) in there.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        point(out, time, value);
    }
}

/// `[<seconds>,"<number>"]`
fn point(out: &mut Vec<u8>, time: UnixMillis, value: f64) {
    let mut integer = itoa::Buffer::new();
    out.push(b'[');
    out.extend_from_slice(integer.format(time.div_euclid(1_000)).as_bytes());
    let millis = time.rem_euclid(1_000);
    if millis > 0 {
        out.extend_from_slice(format!(".{millis:03}").trim_end_matches('0').as_bytes());
    }
    out.extend_from_slice(b",\"");
    let text = match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    };
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\"]");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_and_numbers_are_text() {
        for (time, value, text) in [
            (1_767_225_600_000, 0.397_999_999_999_999_96, r#"[1767225600,"0.39799999999999996"]"#),
            (1_500, 1.0, r#"[1.5,"1"]"#),
            (10, f64::NAN, r#"[0.01,"NaN"]"#),
            (0, f64::INFINITY, r#"[0,"+Inf"]"#),
            (0, f64::NEG_INFINITY, r#"[0,"-Inf"]"#),
        ] {
            let mut out = Vec::new();
            point(&mut out, time, value);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }
}
