"""Drives Swagger UI in headless Chromium: authorises, then executes every operation in the order of the page.

Usage: swagger_ui.py BASE_URL --api-key KEY --screenshot FILE --values JSON

`--values` names the fields that a person copies from an earlier response:
`{"extend_lock": {"body/token": ["acquire_lock", "body/token"]}, ...}`, with `body/<path>` for a field of a JSON body and
any other name for a parameter or a header.

An operation runs once for each media type of its body and of its response. Prints one JSON object per response:
`operation`, `chosen` (a media type other than the first one), `status`, `media_type`, `body`, `headers`. Ends with 1, and
leaves a screenshot, if the page does not react as a person would expect it.
"""

import argparse
import json
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


# Clicks the elements of selectors one after the other; each appears after the click before it.
CLICK_EACH = """
const [selectors, done] = arguments
const next = at => {
    const element = document.querySelector(selectors[at])
    if (!element) return setTimeout(next, 5, at)
    if (at + 1 === selectors.length) return done()
    element.click()
    next(at + 1)
}
next(0)
"""

# Sets the text of a field, or a member of the JSON in it, in such a way that the page notices.
FILL = """
const [selector, name, value] = arguments
const field = document.querySelector(selector)
const text = name === null ? value : JSON.stringify({ ...JSON.parse(field.value), [name]: value })
Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value').set.call(field, text)
field.dispatchEvent(new Event('input', { bubbles: true }))
field.dispatchEvent(new Event('change', { bubbles: true }))
// A parameter's field reports its text when it loses the focus.
field.dispatchEvent(new Event('focusout', { bubbles: true }))
"""

METHODS = ["get", "put", "post", "delete", "options", "head", "patch", "trace"]

# What leads from a closed operation to its Execute button.
TO_TRY = [".opblock-summary-control", ".try-out__btn", "button.execute"]

# The choices of the body's media type, and of the response's.
MEDIA_TYPES = [".body-param-content-type select", ".response-control-media-type--accept-controller select"]

OPTIONS = "return [...(document.querySelector(arguments[0])?.options ?? [])].map(option => option.value)"

GROUPS = """
return [...document.querySelectorAll('.opblock-tag-section')].map(group => [
    '#' + group.querySelector('.opblock-tag').id,
    [...group.querySelectorAll('.opblock')].map(block => block.id.split('-').pop()),
])
"""

# The response that the page shows in an operation.
RESPONSE = """
const block = document.querySelector(arguments[0])
const path = block.querySelector('.opblock-summary-path').dataset.path
const method = block.querySelector('.opblock-summary-method').textContent.toLowerCase()
const response = window.ui.specSelectors.responseFor(path, method).toJS()
const headers = response.headers || {}
const media_type = String(headers['content-type'] || '').split(';')[0]
return { status: response.status, media_type, headers, body: typeof response.text === 'string' ? response.text : '' }
"""


class SwaggerUi:
    """The page, in the words of somebody who uses it."""

    def __init__(self, browser, base):
        self.browser = browser
        self.wait = WebDriverWait(browser, PATIENCE_SECONDS, poll_frequency=0.02)
        browser.get(f"{base}/swagger-ui/")
        self.one(".opblock")
        self.document = json.loads(browser.execute_script("return window.ui.specSelectors.specStr()"))

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

    def operations(self):
        """The ids of all operations by the selector of their group's header, from top to bottom."""
        return self.browser.execute_script(GROUPS)

    def show_part(self, operations):
        """Shows a document of these operations and of what they refer to.

        Swagger UI reads the whole document again for each operation that is opened, which takes seconds.
        """
        part = part_of(self.document, operations)
        self.browser.execute_script("window.ui.specActions.updateSpec(arguments[0])", json.dumps(part))

    def toggle(self, selector):
        self.browser.execute_script("document.querySelector(arguments[0]).click()", selector)

    def execute(self, operation, values):
        """Opens the operation and tries it with the document's examples and `values`, once per media type.

        Returns the live responses.
        """
        block = f".opblock[id$='-{operation}']"
        self.browser.execute_async_script(CLICK_EACH, [f"{block} {selector}" for selector in TO_TRY])
        variants = [(selector, option) for selector in MEDIA_TYPES for option in self.options(block, selector)[1:]]
        responses = []
        for variant in [None, *variants]:
            if variant:
                self.toggle(f"{block} .btn-clear")
                selector, option = variant
                self.browser.execute_script(FILL, f"{block} {selector}", None, option)
            self.attach_file(block)
            for field, value in values.items():
                self.fill(block, field, value)
            self.toggle(f"{block} button.execute")
            self.one(f"{block} .live-responses-table tr.response .response-col_status")
            response = self.browser.execute_script(RESPONSE, block)
            responses.append({"chosen": variant[1] if variant else "", **response})
        # A page with few open operations stays fast.
        self.toggle(f"{block} .opblock-summary-control")
        return responses

    def options(self, block, selector):
        return self.browser.execute_script(OPTIONS, f"{block} {selector}")

    def fill(self, block, field, value):
        """Enters a value into a parameter's field, or into the JSON body's text."""
        name = field.removeprefix("body/")
        if name == field:
            self.browser.execute_script(FILL, f"{block} tr[data-param-name='{name}'] input", None, value)
        else:
            self.browser.execute_script(FILL, f"{block} textarea.body-param__text", name, value)

    def attach_file(self, block):
        """A binary body is a file chooser."""
        for chooser in self.browser.find_elements(By.CSS_SELECTOR, f"{block} input[type='file']"):
            with tempfile.NamedTemporaryFile(suffix=".bin", delete=False) as file:
                file.write(b"a value from the browser")
            chooser.send_keys(file.name)


def part_of(document, operations):
    """A document of some operations, and of the components to which they refer, directly or through others."""
    paths = {}
    for path, item in document["paths"].items():
        others = [method for method in METHODS if item.get(method, {}).get("operationId") not in operations]
        if len(others) < len(METHODS):
            paths[path] = {name: value for name, value in item.items() if name not in others}
    components = {"securitySchemes": document["components"]["securitySchemes"]}
    unread = [paths]
    while unread:
        value = unread.pop()
        if isinstance(value, list):
            unread.extend(value)
        elif isinstance(value, dict):
            unread.extend(value.values())
            reference = value.get("$ref")
            if isinstance(reference, str):
                _, _, kind, name = reference.split("/")
                if name not in components.setdefault(kind, {}):
                    components[kind][name] = document["components"][kind][name]
                    unread.append(components[kind][name])
    return {**document, "paths": paths, "components": components}


def value_of(response, field):
    """A field of the body or a header of a response."""
    name = field.removeprefix("body/")
    if name == field:
        return response["headers"][name]
    value = json.loads(response["body"])
    for part in name.split("/"):
        value = value[part]
    return value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--screenshot", required=True, type=Path)
    parser.add_argument("--values", required=True, type=json.loads)
    parser.add_argument("--skip", default="", help="operations, separated by commas")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = start_browser(profile)
        browser.set_script_timeout(PATIENCE_SECONDS)
        operation = "the page"
        try:
            page = SwaggerUi(browser, arguments.base)
            page.authorise(arguments.api_key)
            groups = page.operations()
            page.toggle(".models-control")
            for header, _ in groups:
                page.toggle(header)
            first = {}
            for header, operations in groups:
                # The first group is used in the whole page.
                if first:
                    page.show_part(operations)
                    page.one(header)
                page.toggle(header)
                for operation in operations:
                    if operation in arguments.skip.split(","):
                        continue
                    sources = arguments.values.get(operation, {})
                    values = {field: value_of(first[source], name) for field, (source, name) in sources.items()}
                    page.one(f".opblock[id$='-{operation}']")
                    responses = page.execute(operation, values)
                    first[operation] = responses[0]
                    for response in responses:
                        print(json.dumps({"operation": operation, **response}), flush=True)
            return 0
        except (WebDriverException, KeyError, ValueError) as error:
            browser.save_screenshot(str(arguments.screenshot))
            print(f"{operation}: {error!r}; see {arguments.screenshot}", file=sys.stderr)
            for entry in browser.get_log("browser"):
                print(f"console: {entry['message']}", file=sys.stderr)
            return 1
        finally:
            browser.quit()


if __name__ == "__main__":
    sys.exit(main())
