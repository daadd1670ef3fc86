"use strict";

// Parses an AsyncAPI document with npm's @asyncapi/parser, and prints what it found as JSON: the complaints, and the numbers
// of channels, operations and messages.
//
// Usage: asyncapi.js FILE

const fs = require("fs");

const { Parser } = require("@asyncapi/parser");

// The parser recommends every later version of the specification.
const IGNORED = ["asyncapi-latest-version"];

async function main() {
  const { document, diagnostics } = await new Parser().parse(fs.readFileSync(process.argv[2], "utf8"));
  const complaints = diagnostics
    .filter(({ code }) => !IGNORED.includes(code))
    .map(({ code, message, path }) => `${path.join("/")}: ${code}: ${message}`);
  const count = (collection) => collection?.all().length ?? 0;
  console.log(
    JSON.stringify({
      complaints,
      version: document?.version(),
      channels: count(document?.allChannels()),
      operations: count(document?.allOperations()),
      messages: count(document?.components().messages()),
    }),
  );
}

main();
