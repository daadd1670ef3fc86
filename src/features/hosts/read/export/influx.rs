//! Influx line protocol: measurement `host_metrics`, tag `host`, a field for each number, nanoseconds.
//!
//! Points of one series and time replace each other there, so a number other than 0 is a tag. Host names have no
//! character that the protocol would want escaped.

use crate::features::hosts::fields::{FIELDS, Kind};
use crate::features::hosts::model::HostId;
use crate::features::hosts::read::export::number;
use crate::features::hosts::sample::Sample;

pub(in crate::features::hosts::read::export) fn text<'a>(
    samples: impl Iterator<Item = (&'a HostId, &'a Sample)>,
) -> String {
    let mut out = String::new();
    let mut integer = itoa::Buffer::new();
    for (host, sample) in samples {
        out.extend(["host_metrics,host=", host.as_str()]);
        if sample.seq > 0 {
            out.extend([",seq=", integer.format(sample.seq)]);
        }
        let mut separator = ' ';
        for field in FIELDS {
            out.push(separator);
            out.extend([field.name, "="]);
            number(&mut out, field, sample);
            if field.kind == Kind::Whole {
                out.push('i');
            }
            separator = ',';
        }
        out.push(' ');
        out.push_str(integer.format(i128::from(sample.timestamp) * 1_000_000));
        out.push('\n');
    }
    out
}
