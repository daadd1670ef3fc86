//! Cumulative meters: their increase across resets, wraps and gaps.

use serde_json::json;

use super::points;
use crate::support::{START, TestApp};
use crate::timeseries::{METER, sample, write};

const QUARTER: i64 = 900_000;
const DAY: i64 = 96 * QUARTER;

/// A meter that counts a quarter of a kWh every 15 minutes from 100 on, for three days of UTC.
async fn three_days(app: &TestApp) {
    let reading = |n: i64| sample(START + n * QUARTER, 100.0 + 0.25 * f64::from(i32::try_from(n).expect("few")));
    write(app, METER, (0..=3 * 96).map(reading).collect()).await;
}

#[tokio::test]
async fn a_reading_at_midnight_ends_one_day_and_begins_the_next() {
    let app = TestApp::spawn().await;
    three_days(&app).await;
    let days = points(&app, METER, "agg=increase&bucket=1d", 100).await;
    let (first, second, third, fourth) = (START, START + DAY, START + 2 * DAY, START + 3 * DAY);
    assert_eq!(days, [(first, 24.0), (second, 24.0), (third, 24.0), (fourth, 0.0)]);
    // A day of Bangkok begins seven hours earlier; the parts add up to the whole.
    let days = points(&app, METER, "agg=increase&bucket=1d&tz=Asia/Bangkok", 100).await;
    let midnight = START - 7 * 3_600_000;
    let expected = [17.0, 24.0, 24.0, 7.0].into_iter().zip(0..).map(|(kwh, day)| (midnight + day * DAY, kwh));
    assert_eq!(days, expected.collect::<Vec<_>>());
    let month = format!("agg=increase&from={first}&to={fourth}");
    assert_eq!(points(&app, METER, &month, 9).await, [(first, 72.0)]);
    // The last millisecond of a day stands for its end.
    let day = format!("agg=increase&bucket=1d&from={first}&to={}", second - 1);
    assert_eq!(points(&app, METER, &day, 9).await, [(first, 24.0)]);
}

#[tokio::test]
async fn days_without_readings_share_the_increase_between_readings() {
    let app = TestApp::spawn().await;
    write(&app, METER, vec![sample(START, 10.0), sample(START + 4 * DAY, 50.0)]).await;
    let days = points(&app, METER, "agg=increase&bucket=1d", 100).await;
    let each = (0..4).map(|day| (START + day * DAY, 10.0));
    assert_eq!(days, each.chain([(START + 4 * DAY, 0.0)]).collect::<Vec<_>>());
    // The window has no reading, but the meter kept counting.
    let window = format!("from={}&to={}", START + DAY, START + 2 * DAY - 1);
    assert_eq!(points(&app, METER, &format!("{window}&agg=increase"), 9).await, [(START + DAY, 10.0)]);
    let rates = points(&app, METER, &format!("{window}&agg=rate&bucket=1d"), 9).await;
    assert_eq!(rates, [(START + DAY, 10.0 / 86_400.0)]);
}

#[tokio::test]
async fn a_replaced_meter_counts_from_zero_and_a_full_register_wraps() {
    let app = TestApp::spawn().await;
    let readings = [99_990.0, 99_998.0, 3.0, 10.0, 50_000.0, 2.0];
    write(&app, METER, readings.iter().zip(0..).map(|(&value, n)| sample(START + n * QUARTER, value)).collect()).await;
    // Without a wrap both falls are resets: 8 + 3 + 7 + 49,990 + 2.
    assert_eq!(points(&app, METER, "agg=increase", 9).await, [(0, 50_010.0)]);
    // With one, the first fall is five units over the end of the register: 8 + 5 + 7 + 49,990 + 2.
    assert_eq!(points(&app, METER, "agg=increase&wrap=100000", 9).await, [(0, 50_012.0)]);
    // The second fall would be 50,002 units over the end, more than half of the register: a new meter.
    let quarters = points(&app, METER, "agg=increase&bucket=15m&wrap=100000", 9).await;
    assert_eq!(quarters.iter().map(|point| point.1).collect::<Vec<_>>(), [8.0, 5.0, 7.0, 49_990.0, 2.0, 0.0]);
}

#[tokio::test]
async fn a_single_reading_has_no_increase() {
    let app = TestApp::spawn().await;
    write(&app, METER, vec![sample(START, 10.0)]).await;
    assert_eq!(points(&app, METER, "agg=increase", 9).await, [(0, 0.0)]);
    let rate = app.get(&format!("{METER}/range?agg=rate")).await.expect(200).json();
    assert_eq!(rate["samples"], json!([{ "timestamp": 0, "value": null }]));
}
