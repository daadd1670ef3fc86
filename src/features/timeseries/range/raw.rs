//! Reads pages of raw samples.

use super::super::aggregate::Point;
use super::super::cursor::Place;
use super::super::error::TimeseriesError;
use super::super::series::Sample;
use super::super::window::{Order, Window};
use super::scan::{Ended, Scan};

/// Reads a page of samples, with the start of the next page. The page can be short if a filter omits most samples.
pub(super) async fn page(
    scan: &Scan<'_>,
    window: Window,
    order: Order,
    limit: usize,
    place: Option<Place>,
) -> Result<(Vec<Point>, Option<Place>), TimeseriesError> {
    let rest = match (place, order) {
        (None, _) => window,
        (Some(place), Order::Asc) => Window { from: place.at, to: window.to },
        (Some(place), Order::Desc) => Window { from: window.from, to: place.at },
    };
    let mut points: Vec<Point> = Vec::new();
    // One more sample than requested shows whether there is a next page.
    let take = |samples: &[Sample]| {
        points.extend(samples.iter().take(limit + 1 - points.len()).copied().map(Point::from));
        points.len() <= limit
    };
    let ended = scan.read(rest, order, limit + 1, take).await?;
    let next = match (points.get(limit), ended, order) {
        (Some(beyond), ..) => Some(beyond.timestamp),
        (None, Ended::Spent(Some(reached)), Order::Asc) if reached < rest.to => Some(reached + 1),
        (None, Ended::Spent(Some(reached)), Order::Desc) if reached > rest.from => Some(reached - 1),
        (None, Ended::Spent(None), _) => return Err(scan.too_wide()),
        (None, ..) => None,
    };
    points.truncate(limit);
    Ok((points, next.map(|at| Place { at, skip: 0 })))
}
