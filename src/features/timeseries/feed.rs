//! Samples that other capabilities feed to the platform's series.

use super::error::TimeseriesError;
use super::model::{NewSeriesSample, StreamAnswer, Timestamp};
use super::service::TimeseriesService;
use crate::deps::SeriesSample;
use crate::http::batch_item::BatchItem;
use crate::redis::RedisFault;
use crate::telemetry::episodes;

impl TimeseriesService {
    /// Stores samples; their families create the series. A refused sample, such as one beyond the retention, is logged and
    /// left out, since it would be refused again.
    ///
    /// # Errors
    /// [`RedisFault`]; some of the samples may be stored.
    pub(super) async fn feed(&self, samples: Vec<SeriesSample>) -> Result<(), RedisFault> {
        let item = |SeriesSample { series, timestamp, value }| {
            BatchItem::Valid(NewSeriesSample { series, timestamp: Some(Timestamp(timestamp)), value })
        };
        match self.ingest(None).samples(samples.into_iter().map(item).collect()).await {
            Ok(StreamAnswer { refused, .. }) => {
                if let Some(first) = refused.first()
                    && let Some(repeated) = episodes::next("timeseries.feed")
                {
                    let (refused, first) = (refused.len(), &first.detail);
                    tracing::warn!(refused, first, repeated, "samples of the market were refused");
                }
                Ok(())
            }
            Err(TimeseriesError::Interrupted { fault, .. }) => Err(fault),
            Err(error) => {
                if let Some(repeated) = episodes::next("timeseries.feed") {
                    tracing::warn!(%error, repeated, "samples of the market were refused");
                }
                Ok(())
            }
        }
    }
}
