"""Opens the page of examples/realtime in headless Chromium, and prints what it shows as JSON when its conditions hold.

Usage: realtime_page.py URL --screenshot FILE --connections N --prices N --orders N

The page is read when it has connected, and has received prices and shows orders, so often.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.support.wait import WebDriverWait

from swagger_ui import PATIENCE_SECONDS, start_browser

SHOWN = """
const text = id => document.getElementById(id).textContent
const rows = id => [...document.getElementById(id).rows].map(row => [...row.cells].map(cell => cell.textContent))
return {
    state: text('state'),
    connections: Number(text('connections')),
    ticker: rows('ticker'),
    orders: rows('orders'),
    dashboard: rows('dashboard'),
    dashboard_count: Number(text('dashboard-count')),
    ticker_count: Number(text('ticker-count')),
}
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--screenshot", required=True, type=Path)
    parser.add_argument("--connections", required=True, type=int)
    parser.add_argument("--prices", required=True, type=int)
    parser.add_argument("--orders", required=True, type=int)
    arguments = parser.parse_args()

    def is_complete(browser):
        shown = browser.execute_script(SHOWN)
        is_connected = shown["state"] == "connected" and shown["connections"] >= arguments.connections
        has_all = shown["ticker_count"] >= arguments.prices and len(shown["orders"]) >= arguments.orders
        return is_connected and has_all and shown

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = start_browser(profile)
        try:
            browser.get(arguments.url)
            shown = WebDriverWait(browser, 2 * PATIENCE_SECONDS, poll_frequency=0.05).until(is_complete)
            print(json.dumps(shown))
            return 0
        except WebDriverException as error:
            browser.save_screenshot(str(arguments.screenshot))
            print(f"{error!r}: {browser.execute_script(SHOWN)}; see {arguments.screenshot}", file=sys.stderr)
            for entry in browser.get_log("browser"):
                print(f"console: {entry['message']}", file=sys.stderr)
            return 1
        finally:
            browser.quit()


if __name__ == "__main__":
    sys.exit(main())
