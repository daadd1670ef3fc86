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


DURABILITY = "#/components/parameters/Durability"


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Leaves out the header Durability: the Redis of the test has no replica, so every demand is 503 `replication-unmet`."""
    for item in raw_schema["paths"].values():
        for operation in [item, *item.values()]:
            if isinstance(operation, dict) and "parameters" in operation:
                operation["parameters"] = [one for one in operation["parameters"] if one.get("$ref") != DURABILITY]
