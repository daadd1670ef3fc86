"""Opens the web page in headless Chromium, uses it as a reader would, and prints what it shows as JSON.

Usage: page.py BASE_URL --api-key KEY --axe FILE --redis-pid PID --screenshots FOLDER

Every view is opened at 1280 and at 360 pixels and checked with axe-core. Redis is stopped and continued by its process id.
Ends with 1 if the page does not react as a reader would expect it.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from swagger_ui import PATIENCE_SECONDS, start_browser

# Each view: its place, and an expression that is true when its data are shown.
VIEWS = {
    "overview": ("overview", "document.querySelectorAll('figure.plot canvas').length === 8 && shown('#version')"),
    "energy": ("energy?bucket=1d&compare=1", "shown('#total-generation') && document.querySelector('canvas.cells')"),
    "market": ("market", "shown('#last-price') && shown('#epoch') && document.querySelector('meter.ask')"),
    "locks": ("locks", "shown('#held') && document.querySelectorAll('meter').length > 0"),
    "hosts": ("hosts", "document.querySelector('svg.spark')"),
    "host": ("hosts?host=web-1", "document.querySelector('.verdict')"),
    "series": ("series?q=energy&key=energy:generation:m1&agg=raw&span=2592000000", "shown('#point-count')"),
    "data": ("data?key=page:a&kind=cache", "document.querySelector('#value')"),
    "problems": ("problems", "document.querySelectorAll('main table tr').length > 20"),
}

SHOWN = """
const shown = selector => !['', '–'].includes((document.querySelector(selector)?.textContent ?? '').trim().split(' ')[0])
return Boolean(%s)
"""

# What the page shows, by the id of its elements.
VALUES = """
const text = element => element.textContent.trim().replace(/\\s+/g, ' ')
const values = Object.fromEntries([...document.querySelectorAll('main [id]')].map(element => [element.id, text(element)]))
values.rows = [...document.querySelectorAll('main table')].map(table =>
    [...table.tBodies[0].rows].map(row => [...row.cells].map(text)))
values.images = document.querySelectorAll('img, script:not([src])').length
return values
"""

AXE = """
const done = arguments[arguments.length - 1]
axe.run(document, { resultTypes: ['violations'] }).then(
    result => done(result.violations.map(found => `${found.id}: ${found.nodes.map(node => node.target.join(' ')).join(', ')}: ${found.nodes[0].failureSummary}`)),
    error => done([String(error)]))
"""

# Replaces the stream of live numbers by one that the driver feeds.
FED_STREAM = """
(() => {
    const { fetch } = window
    let feed
    window.fetch = (path, options) => {
        if (path !== '/ui/events') return fetch(path, options)
        return Promise.resolve(new Response(new ReadableStream({ start: controller => {
            feed = controller
            const replica = { name: 'fed:1', version: '1', started: at }
            feed.enqueue(encoder.encode(`event: caller\\ndata: {"may":[]}\\n\\nevent: replica\\ndata: ${JSON.stringify(replica)}\\n\\n`))
        } })))
    }
    let at = Date.now()
    const encoder = new TextEncoder()
    window.feedFrames = count => {
        for (let left = count; left > 0; left -= 1) {
            at += 1000
            const frame = { time: at, status: 'ok', reasons: [], requests: at % 97, errors: 0, p50_ms: 1, p99_ms: 2, hit_rate: 0.5,
                locks_held: 1, locks_waiting: 0, refused: { api: at % 7 }, samples: 3, redis_p99_ms: 1, events: [] }
            feed.enqueue(encoder.encode(`event: frame\\ndata: ${JSON.stringify(frame)}\\n\\n`))
        }
    }
})()
"""


class Page:
    """The page, in the words of a reader."""

    def __init__(self, browser, arguments):
        self.browser = browser
        self.arguments = arguments
        self.wait = WebDriverWait(browser, PATIENCE_SECONDS, poll_frequency=0.05)

    def script(self, text, *values):
        return self.browser.execute_script(text, *values)

    def until(self, expression, message):
        return self.wait.until(lambda _: self.script(SHOWN % expression), message)

    def size(self, width):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def press(self, *keys):
        ActionChains(self.browser).send_keys(*keys).perform()

    def enter_credential(self):
        self.browser.get(f"{self.arguments.base}/ui/")
        self.until("document.querySelector('dialog[open]')", "the page asks for a credential")
        self.press(self.arguments.api_key, Keys.ENTER)
        self.until("!document.querySelector('dialog[open]') && shown('#version')", "the credential is accepted")

    def show(self, name, width, theme, lang):
        """Shows a view, and returns the complaints about its size."""
        self.size(width)
        place, ready = VIEWS[name]
        self.script("location.hash = arguments[0]", f"#/{place}{'&' if '?' in place else '?'}theme={theme}&lang={lang}")
        is_shown = f"document.documentElement.dataset.theme === '{theme}' && document.documentElement.lang === '{lang}'"
        self.until(f"{is_shown} && ({ready})", f"{name} at {width}")
        overflow = self.script("return document.documentElement.scrollWidth")
        if self.arguments.screenshots:
            height = min(2400, self.script("return document.documentElement.scrollHeight"))
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            time.sleep(0.3)
            self.browser.save_screenshot(str(self.arguments.screenshots / f"{name}-{width}-{theme}-{lang}.png"))
            self.size(width)
        return [f"it is {overflow} pixels wide"] if overflow > width else []

    def view(self, name, width, theme):
        """Shows a view, and returns what it shows with the complaints about it."""
        complaints = self.show(name, width, theme, "en")
        self.script("for (const part of document.querySelectorAll('main details')) part.open = true")
        axe = self.arguments.axe.read_text(encoding="utf-8")
        complaints += self.browser.execute_async_script(f"if (!window.axe) {{ {axe} }}\n{AXE}")
        if self.script("return document.querySelector('dialog').open"):
            complaints.append("it asks for the credential again")
        tables = self.script("return [...document.querySelectorAll('figure.plot details')].every(part => part.querySelector('table'))")
        if not tables:
            complaints.append("a plot has no table")
        values = self.script(VALUES)
        self.script("for (const part of document.querySelectorAll('main details')) part.open = false")
        return values, [f"{name} at {width}: {complaint}" for complaint in complaints]

    def reach_by_keyboard(self):
        """Opens every view with Tab and Enter, and returns those that were reached."""
        reached = []
        for name in ("energy", "market", "locks", "hosts", "overview", "series", "data", "problems"):
            self.script("document.activeElement.blur(); scrollTo(0, 0)")
            for _ in range(40):
                self.press(Keys.TAB)
                if self.script("return document.activeElement.getAttribute('href')?.startsWith(arguments[0])", f"#/{name}"):
                    self.press(Keys.ENTER)
                    self.until(f"location.hash.startsWith('#/{name}')", f"Enter opens {name}")
                    reached.append(name)
                    break
        return reached

    def use_keys(self):
        """What the keys of the page do."""
        self.script("location.hash = '#/energy'")
        self.until("shown('#total-generation')", "energy")
        self.script("document.activeElement.blur()")
        self.press("[")
        self.until("/[?&]to=\\d+/.test(location.hash)", "[ shifts the range back")
        self.press("]")
        self.until("!/[?&]to=\\d+/.test(location.hash)", "] shifts it forward")
        self.press("l")
        self.until("document.querySelector('header button').getAttribute('aria-pressed') === 'true'", "l pauses")
        self.press("l")
        self.until("document.querySelector('header button').getAttribute('aria-pressed') === 'false'", "l continues")
        self.press("/")
        self.until("document.activeElement.matches('input.search')", "/ searches")
        self.press("meter=m1", Keys.ENTER)
        self.until("location.hash.includes('filter=meter%3Dm1')", "the filter is in the address")
        self.script("location.hash = '#/energy?lang=th'")
        self.until("document.documentElement.lang === 'th' && document.querySelector('nav').textContent.includes('พลังงาน')", "Thai")
        self.script("location.hash = '#/overview'")

    def change_value(self):
        """Edits a cached value with its version, then deletes it after a confirmation."""
        button = "[...document.querySelectorAll('main button')].find(button => button.textContent === '%s')"
        self.script("location.hash = '#/data?key=page:edited&kind=cache'")
        self.until(button % "Edit", "a writer may edit")
        self.script(f"({button % 'Edit'}).click()")
        self.until("document.querySelector('#draft')", "the value can be edited")
        self.browser.find_element("id", "draft").clear()
        self.browser.find_element("id", "draft").send_keys('{"b": 2}')
        self.script(f"({button % 'Save'}).click()")
        self.until("document.querySelector('#value')?.textContent.includes('\"b\": 2')", "the value is saved")
        self.script(f"({button % 'Delete'}).click()")
        self.until("document.querySelector('button.danger')", "a deletion needs a confirmation")
        self.script("document.querySelector('button.danger').click()")
        self.until("!location.hash.includes('page:edited') && !location.hash.includes('page%3Aedited')", "the value is deleted")

    def stop_redis(self):
        """The milliseconds until the page shows that Redis is stopped."""
        self.script("location.hash = '#/overview'")
        self.until("document.querySelector('#status').classList.contains('ok')", "the service is well")
        os.kill(self.arguments.redis_pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            self.until("document.querySelector('#status').classList.contains('unavailable')", "the page shows the outage")
            elapsed = time.monotonic() - began
            self.until("shown('#reasons')", "the page shows the reason")
        finally:
            os.kill(self.arguments.redis_pid, signal.SIGCONT)
        self.until("document.querySelector('#status').classList.contains('ok')", "the page shows the recovery")
        return round(elapsed * 1000)

    def heap_of_frames(self):
        """The bytes that the page uses when ten minutes are full, and after 2,000 more frames."""
        self.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FED_STREAM})
        self.enter_credential()

        def used(frames):
            for _ in range(frames // 25):
                self.script("feedFrames(25)")
                time.sleep(0.04)
            self.browser.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
            return self.browser.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"]

        return [used(800), used(2_000)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--axe", required=True, type=Path)
    parser.add_argument("--redis-pid", required=True, type=int)
    parser.add_argument("--failure", required=True, type=Path)
    parser.add_argument("--screenshots", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = start_browser(profile)
        page = Page(browser, arguments)
        views, complaints = {}, []
        try:
            page.size(1280)
            page.enter_credential()
            for name in VIEWS:
                for width, theme in ((1280, "dark"), (360, "light")):
                    values, found = page.view(name, width, theme)
                    complaints += found
                    if width == 1280:
                        views[name] = values
                complaints += [f"{name} in Thai: {complaint}" for complaint in page.show(name, 360, "dark", "th")]
                if arguments.screenshots:
                    page.show(name, 1280, "light", "th")
                    page.show(name, 1280, "light", "en")
                    page.show(name, 360, "dark", "en")
            page.size(1280)
            shown = {"views": views, "complaints": complaints}
            shown["kept"] = page.script("return [localStorage.length, sessionStorage.length, document.cookie]")
            shown["first_paint_ms"] = page.script("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
            shown["reached"] = page.reach_by_keyboard()
            page.use_keys()
            page.change_value()
            shown["outage_ms"] = page.stop_redis()
            shown["heap"] = page.heap_of_frames()
            shown["console"] = [entry["message"] for entry in browser.get_log("browser") if "Failed to load" not in entry["message"]]
            print(json.dumps(shown))
            return 0
        except WebDriverException as error:
            browser.save_screenshot(str(arguments.failure))
            print(f"{error.msg or repr(error)}; see {arguments.failure}", file=sys.stderr)
            for message in [*complaints, *(entry["message"] for entry in browser.get_log("browser"))]:
                print(message, file=sys.stderr)
            return 1
        finally:
            browser.quit()


if __name__ == "__main__":
    sys.exit(main())
