//! CSV: a header of field names and a line for each sample. Only the name of an organisation can need quotes.

use super::{Owners, number, owner_of};
use crate::features::hosts::fields::FIELDS;
use crate::features::hosts::model::HostId;
use crate::features::hosts::sample::Sample;

pub(super) fn text<'a>(samples: impl Iterator<Item = (&'a HostId, &'a Sample)>, owners: Option<&Owners>) -> String {
    let mut out = "host,timestamp,seq".to_owned();
    for field in FIELDS {
        out.extend([",", field.name]);
    }
    if owners.is_some() {
        out.push_str(",organisation");
    }
    out.push('\n');
    let mut integer = itoa::Buffer::new();
    for (host, sample) in samples {
        out.extend([host.name(), ","]);
        out.extend([integer.format(sample.timestamp), ","]);
        out.push_str(integer.format(sample.seq));
        for field in FIELDS {
            out.push(',');
            number(&mut out, field, sample);
        }
        if owners.is_some() {
            let owner = owner_of(owners, host).unwrap_or_default();
            if owner.contains([',', '"', '\r', '\n']) {
                out.extend([",\"", &owner.replace('"', "\"\""), "\""]);
            } else {
                out.extend([",", owner]);
            }
        }
        out.push('\n');
    }
    out
}
