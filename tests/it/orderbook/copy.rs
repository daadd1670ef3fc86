//! A client's copy of a book.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::levels;

/// A client's copy of a book, built by the rules of the documentation.
pub struct CopyOfBook {
    pub generation: u64,
    pub sequence: u64,
    /// Levels by price, as numbers and as printed.
    sides: [BTreeMap<i64, (String, String, u64)>; 2],
}

fn cents(price: &str) -> i64 {
    price.replace('.', "").parse().expect("a price with two decimals")
}

impl CopyOfBook {
    pub fn of(view: &Value) -> Self {
        let side = |name| levels(view, name).into_iter().map(|level| (cents(&level.0), level)).collect();
        let number = |name: &str| view[name].as_u64().expect("a number");
        Self { generation: number("generation"), sequence: number("sequence"), sides: [side("bids"), side("asks")] }
    }

    pub fn apply(&mut self, message: &Value) {
        assert_eq!((message["generation"].as_u64(), &message["kind"]), (Some(self.generation), &json!("delta")));
        assert!(message["first_sequence"].as_u64() <= Some(self.sequence + 1), "{message}");
        for change in message["changes"].as_array().expect("changes") {
            let text = |name: &str| change[name].as_str().expect("text").to_owned();
            let side = &mut self.sides[usize::from(change["side"] == "sell")];
            if change["orders"] == 0 {
                assert!(text("quantity").trim_matches(['0', '.']).is_empty(), "{change}");
                side.remove(&cents(&text("price")));
            } else {
                let level = (text("price"), text("quantity"), change["orders"].as_u64().expect("a number"));
                side.insert(cents(&text("price")), level);
            }
        }
        self.sequence = message["last_sequence"].as_u64().expect("a sequence");
    }

    pub fn levels(&self, side: &str) -> Vec<(String, String, u64)> {
        let [bids, asks] = &self.sides;
        if side == "bids" { bids.values().rev().cloned().collect() } else { asks.values().cloned().collect() }
    }

    /// Drops what is beyond the depth.
    pub fn cut(&mut self, depth: usize) {
        let [bids, asks] = &mut self.sides;
        while bids.len() > depth {
            bids.pop_first();
        }
        while asks.len() > depth {
            asks.pop_last();
        }
    }

    pub fn checksum(&self) -> u64 {
        let mut crc = flate2::Crc::new();
        for (price, quantity, _) in self.levels("asks").iter().take(10).chain(self.levels("bids").iter().take(10)) {
            for number in [price, quantity] {
                crc.update(number.replace('.', "").trim_start_matches('0').as_bytes());
            }
        }
        u64::from(crc.sum())
    }
}
