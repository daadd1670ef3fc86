"""Drives Swagger UI in headless Chromium: authorises, then executes operations and expects 2xx answers.

Usage: swagger_ui.py BASE_URL --api-key KEY --screenshot FILE OPERATION_ID...

Prints `<operation id>: <status>` for each operation. Ends with 1, and leaves a screenshot, when something is not as
a person would expect it.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expect
from selenium.webdriver.support.wait import WebDriverWait

# A person waits about this long before giving up; a debug build on a busy machine needs some of it.
PATIENCE_SECONDS = 30

FLAGS = [
    "--headless=new",
    # Chromium refuses to sandbox itself as root, as in a container.
    "--no-sandbox",
    # The shared memory of a container is often too small for a page.
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    # Nothing but the service under test is asked.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,2000",
]


def program(*names):
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    sys.exit(f"{names[0]} is not installed: run scripts/setup_tests.sh")


def start_browser(profile):
    options = Options()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for flag in [*FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    # Named, so that selenium does not look for a driver on the network.
    return webdriver.Chrome(options=options, service=Service(program("chromedriver")))


class SwaggerUi:
    """The page, in the words of somebody who uses it."""

    def __init__(self, browser, base):
        self.browser = browser
        self.wait = WebDriverWait(browser, PATIENCE_SECONDS)
        browser.get(f"{base}/swagger-ui/")
        self.one(".opblock")

    def one(self, selector):
        return self.wait.until(expect.presence_of_element_located((By.CSS_SELECTOR, selector)), selector)

    def click(self, selector):
        element = self.wait.until(expect.element_to_be_clickable((By.CSS_SELECTOR, selector)), selector)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def authorise(self, api_key):
        """Enters the key in the Authorize dialog; a scheme that is not offered there is a failure."""
        self.click(".scheme-container button.authorize")
        self.one(".dialog-ux input#api_key_value").send_keys(api_key)
        self.click(".dialog-ux .auth-container:has(input#api_key_value) .auth-btn-wrapper button.authorize")
        # Accepted: the dialog now offers to forget the key.
        self.one(".dialog-ux .auth-btn-wrapper button[aria-label='Remove authorization']")
        self.click(".dialog-ux button.close-modal")

    def execute(self, operation_id):
        """Opens the operation, tries it with the document's examples, and returns the live answer's status."""
        block = f".opblock[id$='-{operation_id}']"
        self.click(f"{block} .opblock-summary-control")
        self.click(f"{block} .try-out__btn")
        self.attach_file(block)
        self.click(f"{block} button.execute")
        status = self.one(f"{block} .live-responses-table tr.response .response-col_status")
        return status.text.split()[0]

    def attach_file(self, block):
        """A binary body is a file chooser."""
        for chooser in self.browser.find_elements(By.CSS_SELECTOR, f"{block} input[type='file']"):
            with tempfile.NamedTemporaryFile(suffix=".bin", delete=False) as file:
                file.write(b"a value from the browser")
            chooser.send_keys(file.name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("operations", nargs="+")
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--screenshot", required=True, type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = start_browser(profile)
        try:
            page = SwaggerUi(browser, arguments.base)
            page.authorise(arguments.api_key)
            failed = False
            for operation in arguments.operations:
                status = page.execute(operation)
                print(f"{operation}: {status}", flush=True)
                failed |= not status.startswith("2")
            if failed:
                browser.save_screenshot(str(arguments.screenshot))
            return 1 if failed else 0
        except WebDriverException as error:
            browser.save_screenshot(str(arguments.screenshot))
            print(f"{error.__class__.__name__}: {error.msg}; see {arguments.screenshot}", file=sys.stderr)
            for entry in browser.get_log("browser"):
                print(f"console: {entry['message']}", file=sys.stderr)
            return 1
        finally:
            browser.quit()


if __name__ == "__main__":
    sys.exit(main())
