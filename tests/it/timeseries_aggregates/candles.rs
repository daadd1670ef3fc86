//! Prices as candles, with the volumes of another series.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::TestApp;
use crate::timeseries::{sample, write};

const PRICE: &str = "/timeseries/market:price:GRID";
const VOLUME: &str = "/timeseries/trading:volume:daily";

async fn with_trades() -> TestApp {
    let app = TestApp::spawn().await;
    let prices = [(0, 4.0), (10, 4.5), (20, 3.5), (59, 4.2), (180, 5.0), (200, 4.8)];
    write(&app, PRICE, prices.iter().map(|&(time, price)| sample(time, price)).collect()).await;
    let volumes = [(0, 10.0), (10, 20.5), (70, 99.0), (200, 1.5)];
    write(&app, VOLUME, volumes.iter().map(|&(time, volume)| sample(time, volume)).collect()).await;
    app
}

fn candle(timestamp: i64, prices: [f64; 4], volume: Option<f64>) -> Value {
    let [open, high, low, close] = prices;
    json!({ "timestamp": timestamp, "open": open, "high": high, "low": low, "close": close, "volume": volume })
}

#[tokio::test]
async fn a_candle_has_prices_and_the_volume_of_its_bucket() {
    let app = with_trades().await;
    let ask = async |query: &str| app.get(&format!("{PRICE}/range?agg=ohlcv&{query}")).await.expect(200).json();
    let (first, last) = ([4.0, 4.5, 3.5, 4.2], [5.0, 5.0, 4.8, 4.8]);
    let bare = ask("bucket=60ms").await;
    assert_eq!(bare["samples"], json!([candle(0, first, None), candle(180, last, None)]));
    let volume = "volume_key=trading:volume:daily";
    let full = ask(&format!("bucket=60ms&{volume}")).await;
    assert_eq!(full["samples"], json!([candle(0, first, Some(30.5)), candle(180, last, Some(1.5))]));
    // An empty bucket keeps the price, and has the volume that was traded in it.
    let filled = ask(&format!("bucket=60ms&fill=previous&{volume}")).await;
    let quiet = |time, volume| candle(time, [4.2; 4], Some(volume));
    let expected =
        json!([candle(0, first, Some(30.5)), quiet(60, 99.0), quiet(120, 0.0), candle(180, last, Some(1.5))]);
    assert_eq!(filled["samples"], expected);
    assert_eq!(ask(&format!("bucket=60ms&empty=true&{volume}")).await["samples"], expected);
    let mut newest_first = expected.as_array().expect("candles").clone();
    newest_first.reverse();
    let page = ask(&format!("bucket=60ms&fill=previous&order=desc&limit=2&{volume}")).await;
    assert_eq!(page["samples"], json!(newest_first[..2]));
    let cursor = page["next_cursor"].as_str().expect("a second page");
    let rest = ask(&format!("bucket=60ms&fill=previous&{volume}&cursor={cursor}")).await;
    assert_eq!(rest["samples"], json!(newest_first[2..]));
    let whole = ask(&format!("from=10&to=180&{volume}")).await;
    assert_eq!(whole["samples"], json!([candle(10, [4.5, 5.0, 3.5, 5.0], Some(119.5))]));
}

#[tokio::test]
async fn an_unknown_candle_is_null_and_its_csv_is_empty() {
    let app = with_trades().await;
    let query = format!("{PRICE}/range?agg=ohlcv&bucket=60ms&fill=null&volume_key=trading:volume:daily");
    let nulls = app.get(&query).await.expect(200).json();
    let unknown = json!({ "timestamp": 60, "open": null, "high": null, "low": null, "close": null, "volume": 99.0 });
    assert_eq!(nulls["samples"][1], unknown);
    let csv = app.send(Method::GET, &query, &[("accept", "text/csv")], Body::empty()).await.expect(200);
    let expected = "timestamp,open,high,low,close,volume\n0,4.0,4.5,3.5,4.2,30.5\n60,,,,,99.0\n120,,,,,0.0\n180,5.0,5.0,4.8,4.8,1.5\n";
    assert_eq!(csv.text(), expected);
    let missing = format!("{PRICE}/range?agg=ohlcv&volume_key=market:price:NONE");
    app.get(&missing).await.expect_problem(404, "series-not-found");
}
