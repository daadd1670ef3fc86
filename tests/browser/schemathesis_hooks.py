"""Lets schemathesis send line formats as the text that they are."""

import schemathesis

schemathesis.serializer.alias(["application/x-ndjson", "text/csv"], "text/plain")
