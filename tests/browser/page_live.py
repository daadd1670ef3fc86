"""Opens the views of the web page while `demo --live` writes, and compares what they show with what the API answers.

Usage: page_live.py BASE_URL --failure FILE

What moves is a moment older on the page than in the API: both must come to agree, and again after the value has changed. Prints
the number of comparisons as JSON. Ends with 1 if the page does not come to show what the API answers.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from selenium.common.exceptions import WebDriverException

from page import Page
from swagger_ui import PATIENCE_SECONDS, start_browser

DAY_MS = 86_400_000
# Of the simulation: Bangkok has no summer time.
ZONE, AHEAD_MS = "Asia/Bangkok", 7 * 3_600_000
PRICE = "market:price:GRID-THB"

TABLE = """
for (const part of document.querySelectorAll('main details')) part.open = true
const table = [...document.querySelectorAll('main table')].find(table => table.caption?.textContent.trim() === arguments[0])
return table ? [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent.trim())) : null
"""


class Comparison:
    """The page beside the API."""

    def __init__(self, page, base):
        self.page = page
        self.base = base
        self.count = 0

    def api(self, path, body=None):
        headers = {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            return json.load(response)

    def open(self, place):
        joint = "&" if "?" in place else "?"
        self.page.script("location.hash = arguments[0]", f"#/{place}{joint}lang=en")

    def text(self, selector):
        return self.page.script("return document.querySelector(arguments[0])?.textContent.trim() ?? null", selector)

    def table(self, caption):
        return self.page.script(TABLE, caption)

    def agree(self, what, shown, answered):
        """Waits until the page shows what the API answers, and returns it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            before, seen, after = answered(), shown(), answered()
            if seen in (before, after):
                self.count += 1
                return seen
            if time.monotonic() > deadline:
                raise WebDriverException(f"{what}: the page shows {seen}, the API answers {after}")
            time.sleep(0.05)

    def follow(self, what, shown, answered):
        """Waits until they agree, and agree again on another value."""
        first = self.agree(what, shown, answered)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while answered() == first:
            if time.monotonic() > deadline:
                raise WebDriverException(f"{what}: the API answers {first} all the time")
            time.sleep(0.05)
        self.agree(what, shown, answered)

    def sums(self, kind, start, end, bucket=None):
        """Sums of all meters, as the energy view asks for them."""
        body = {"filter": [f"kind={kind}"], "from": start, "to": end - 1, "agg": "sum", "group_by": "kind", "reduce": "sum"}
        if bucket:
            body |= {"bucket": bucket, "tz": ZONE}
        return [(sample["timestamp"], sample["value"]) for sample in self.api("/timeseries/query", body)["items"][0]["samples"]]

    def overview(self):
        self.open("overview")
        self.agree("the version", lambda: self.text("#version"), lambda: self.api("/health")["version"])
        self.agree("the locks held", lambda: self.text("#locks-held"), lambda: str(self.api("/locks/stats")["held"]))

    def energy(self, end):
        self.open(f"energy?to={end}&span={7 * DAY_MS}")
        start = (end - 7 * DAY_MS) // 3_600_000 * 3_600_000
        for kind in ("generation", "consumption"):
            total = sum(value for _, value in self.sums(kind, start, end, "1h"))
            self.agree(kind, lambda kind=kind: self.text(f"#total-{kind}"), lambda total=total: f"{decimal(total, 3)} kWh")

    def heat_map(self, end):
        self.open(f"energy?to={end}&span={90 * DAY_MS}")
        start = (end - 90 * DAY_MS + AHEAD_MS) // DAY_MS * DAY_MS - AHEAD_MS
        days = [[time.strftime("%Y-%m-%d", time.gmtime((at + AHEAD_MS) / 1000)), decimal(value, 3)]
                for at, value in self.sums("generation", start, end, "1d")]
        if len(days) <= 31:
            raise WebDriverException(f"the demo has written only {len(days)} days")
        def shown():
            rows = self.table("By day and quarter-hour")
            return rows and [row[:2] for row in rows]
        self.agree("the heat map", shown, lambda: days)

    def market(self):
        self.open("market")
        price = lambda: str_of(self.api(f"/timeseries/{PRICE}/latest")["value"])
        self.follow("the last price", lambda: self.text("#last-price"), price)

    def locks(self):
        self.open("locks")
        self.agree("the locks held", lambda: self.text("#held"), lambda: str(self.api("/locks/stats")["held"]))
        resources = lambda: sorted(item["resource"] for item in self.api("/locks?limit=200")["items"])
        self.agree("the locks", lambda: sorted(row[0] for row in self.table("Locks") or []), resources)
        def decisions():
            limiters = self.api("/ratelimit/stats")["limiters"]
            return next([number["allowed"], number["refused"]] for number in limiters if number["limiter"] == "trading")
        def shown():
            rows = self.table("Limiters") or []
            return next(([int(row[2].replace(",", "")), int(row[3].replace(",", ""))] for row in rows if row[0] == "trading"), None)
        self.follow("the decisions of a limiter", shown, decisions)

    def hosts(self):
        self.open("hosts")
        def answered():
            items = self.api("/hosts/metrics/latest?limit=1000")["items"]
            return sorted([item["host"], decimal(item["metrics"]["cpu"]["usage"], 1)] for item in items)
        self.follow("the hosts", lambda: sorted(row[:2] for row in self.table("Hosts") or []), answered)
        self.open("hosts?host=gateway-1")
        words = {"usual": "usual", "high": "high", "low": "low"}
        verdict = lambda: words.get(self.api("/hosts/gateway-1/metrics/anomaly?field=cpu.usage")["verdict"], "too little history")
        self.agree("the verdict", lambda: self.text(".verdict"), verdict)

    def series(self, end):
        span = f"to={end}&span={DAY_MS}"
        self.open(f"series?key={PRICE}&agg=raw&{span}")
        path = f"/timeseries/{PRICE}/range?from={end - DAY_MS}&to={end}&limit=10000"
        self.agree("the samples", lambda: self.text("#point-count"), lambda: f"{len(self.api(path)['samples']):,}")

    def data(self):
        self.open("data?key=demo:households:1&kind=document")
        shown = lambda: json.loads(self.text("#value") or "null")
        self.agree("the document", shown, lambda: self.api("/json/demo:households:1"))

    def problems(self):
        for at in range(3):
            try:
                self.api(f"/nowhere/{at}")
            except urllib.error.HTTPError as error:
                error.close()
        self.open("problems")
        def answered():
            with urllib.request.urlopen(f"{self.base}/metrics", timeout=PATIENCE_SECONDS) as response:
                lines = response.read().decode().splitlines()
            line = next(line for line in lines if line.startswith('http_problems_total{code="not-found"'))
            return line.split()[-1]
        shown = lambda: next((row[1] for row in self.table("Problems") or [] if row[0] == "not-found"), None)
        self.agree("the problems", shown, answered)


def str_of(value):
    """A number as JavaScript writes it."""
    return str(int(value)) if float(value).is_integer() else repr(value)


def decimal(value, places):
    """A number as the page writes it in English."""
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("--failure", required=True, type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = start_browser(profile)
        page = Page(browser, arguments)
        comparison = Comparison(page, arguments.base)
        try:
            for width in (1280, 360):
                page.size(width)
                browser.get(f"{arguments.base}/ui/")
                # What is written later does not count in ranges that end here.
                end = int(time.time() * 1000) // 1000 * 1000 - 10_000
                comparison.overview()
                comparison.energy(end)
                comparison.heat_map(end)
                comparison.market()
                comparison.locks()
                comparison.hosts()
                comparison.series(end)
                comparison.data()
                comparison.problems()
            print(json.dumps({"comparisons": comparison.count}))
            return 0
        except WebDriverException as error:
            browser.save_screenshot(str(arguments.failure))
            print(f"{error.msg or repr(error)}; see {arguments.failure}", file=sys.stderr)
            return 1
        finally:
            browser.quit()


if __name__ == "__main__":
    sys.exit(main())
