//! InfluxDB line protocol: measurement `host_metrics`, tag `host`, a field for each number, times in nanoseconds.
//!
//! InfluxDB keeps only one point for each series and time, so a `seq` other than 0 is a tag. Host names have no characters
//! that need escaping; a line break, which a tag cannot contain, becomes a space.

use super::{Owners, number, owner_of};
use crate::features::hosts::fields::{FIELDS, Kind};
use crate::features::hosts::model::HostId;
use crate::features::hosts::sample::Sample;

pub(super) fn text<'a>(samples: impl Iterator<Item = (&'a HostId, &'a Sample)>, owners: Option<&Owners>) -> String {
    let mut out = String::new();
    let mut integer = itoa::Buffer::new();
    for (host, sample) in samples {
        out.extend(["host_metrics,host=", host.name()]);
        if let Some(owner) = owner_of(owners, host) {
            out.push_str(",organisation=");
            for character in owner.chars() {
                match character {
                    ',' | '=' | ' ' => out.extend(['\\', character]),
                    '\r' | '\n' => out.push_str("\\ "),
                    _ => out.push(character),
                }
            }
        }
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
