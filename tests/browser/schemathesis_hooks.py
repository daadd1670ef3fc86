"""Lets schemathesis send line formats as the text that they are, leaves out what breaks no rule, and repeats no key."""

import itertools
import re

import schemathesis

NDJSON = "application/x-ndjson"

schemathesis.serializer.alias([NDJSON, "text/csv"], "text/plain")

# What schemathesis adds where it breaks the rule that nothing but the described parameters may be there.
UNKNOWN_HEADER = "x-schemathesis-unknown-property"


@schemathesis.hook
def filter_case(context, case):
    """Leaves out what cannot be sent, and what is no mistake.

    A body of lines that is no text cannot be sent, since on the wire every body is; schemathesis knows this of text/plain
    by itself. An unknown header is no mistake: who does not know it ignores it (RFC 9110, section 5.1).
    """
    if UNKNOWN_HEADER in (case.headers or {}):
        return False
    return case.media_type != NDJSON or isinstance(case.body, str)


KEY = "Idempotency-Key"
keys = itertools.count(1)


@schemathesis.hook
def before_call(context, case, **kwargs):
    """Gives every request a key of its own, unless the key is invalid: each key belongs to one request."""
    if re.fullmatch("[!-~]{1,255}", str((case.headers or {}).get(KEY, ""))):
        case.headers[KEY] = f"schemathesis-{next(keys)}"
