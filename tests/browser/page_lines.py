"""Opens the web page in headless Chromium and does what it reads, line by line: an address to open or a place to go to, and an
expression that is true when the page shows what is waited for. Prints what the page then shows, as JSON.

Usage: page_lines.py FAILURE_SCREENSHOT
Lines: {"open": "http://127.0.0.1:4040/ui/", "until": "shown('#version')"}, {"place": "problems", "until": "..."}
"""

import json
import signal
import sys
import tempfile

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.support.wait import WebDriverWait

from page import SHOWN, VALUES
from swagger_ui import PATIENCE_SECONDS, start_browser


def main():
    # The browser is closed, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = start_browser(profile)
        wait = WebDriverWait(browser, 2 * PATIENCE_SECONDS, poll_frequency=0.05)
        try:
            for line in sys.stdin:
                command = json.loads(line)
                if "open" in command:
                    browser.get(command["open"])
                if "place" in command:
                    browser.execute_script("location.hash = arguments[0]", f"#/{command['place']}")
                wait.until(lambda _: browser.execute_script(SHOWN % command["until"]), command["until"])
                print(json.dumps(browser.execute_script(VALUES)), flush=True)
        except WebDriverException as error:
            browser.save_screenshot(sys.argv[1])
            print(f"{error.msg}; see {sys.argv[1]}", file=sys.stderr)
            return 1
        finally:
            browser.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
