//! CSV: a header of field names and a line for each sample. No value needs quotes.

use super::number;
use crate::features::hosts::fields::FIELDS;
use crate::features::hosts::model::HostId;
use crate::features::hosts::sample::Sample;

pub(super) fn text<'a>(samples: impl Iterator<Item = (&'a HostId, &'a Sample)>) -> String {
    let mut out = "host,timestamp,seq".to_owned();
    for field in FIELDS {
        out.extend([",", field.name]);
    }
    out.push('\n');
    let mut integer = itoa::Buffer::new();
    for (host, sample) in samples {
        out.extend([host.as_str(), ","]);
        out.extend([integer.format(sample.timestamp), ","]);
        out.push_str(integer.format(sample.seq));
        for field in FIELDS {
            out.push(',');
            number(&mut out, field, sample);
        }
        out.push('\n');
    }
    out
}
