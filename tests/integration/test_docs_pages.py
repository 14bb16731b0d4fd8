"""The documentation's pages in a browser."""

from unittest import skipUnless

from tests.integration.browser import CHROMIUM, Browser
from tests.integration.daemon import DaemonTestCase


@skipUnless(CHROMIUM, "there is no Chromium")
class PageTests(DaemonTestCase):
    """A person reads and tries."""

    words = ("--mode", "echo", "--inter-token-latency", "20ms", "--model", "m")

    def open(self, path: str) -> Browser:
        """Show a page, and see at its end that it had nothing to complain about."""
        browser = Browser(self.daemon.url(path))
        self.addCleanup(browser.close)
        browser.wait("document.querySelector('.route')")
        return browser

    def test_try(self) -> None:
        """A request can be changed and sent on /docs, and its answer comes token by token."""
        browser = self.open("/docs#chat_v1_chat_completions_post")
        route = "document.getElementById('chat_v1_chat_completions_post')"
        browser.wait(f"{route}.querySelector('button')")
        browser.run(f"""{{
            const body = {route}.querySelector("textarea"), asked = JSON.parse(body.value);
            body.value = JSON.stringify({{...asked, messages: [
                {{role: "user", content: "one two three four five six seven eight nine ten"}}]}});
            {route}.querySelector("button.send").click();
        }}""")
        output = f"{route}.querySelector('.answer').textContent"
        browser.wait(f"{output}.split('data: ').length > 3")
        self.assertNotIn("[DONE]", browser.run(output))
        browser.wait(f"{output}.includes('[DONE]')")
        self.assertIn("200 OK text/event-stream", browser.run(f"{route}.querySelector('.state').textContent"))
        self.assertGreater(browser.run(f"{output}.split('data: ').length"), 10)
        self.assertEqual([], browser.complaints)

    def test_errors(self) -> None:
        """What the server refuses is shown as it is."""
        browser = self.open("/docs#completions_v1_completions_post")
        route = "document.getElementById('completions_v1_completions_post')"
        browser.wait(f"{route}.querySelector('button')")
        browser.run(f"""{{
            {route}.querySelector("textarea").value = "{{";
            {route}.querySelector("button.send").click();
        }}""")
        browser.wait(f"{route}.querySelector('.answer').textContent.includes('json_invalid')")
        self.assertIn("400", browser.run(f"{route}.querySelector('.state').textContent"))

    def test_read(self) -> None:
        """Everything can be read on /redoc, where nothing can be sent; members unfold."""
        browser = self.open("/redoc")
        browser.wait("document.querySelectorAll('.member').length > 50")
        self.assertEqual(0, browser.run("document.querySelectorAll('button, textarea').length"))
        before = browser.run("document.querySelectorAll('.member').length")
        browser.run("document.querySelector('.member details').open = true")
        browser.wait(f"document.querySelectorAll('.member').length > {before}")
        self.assertEqual([], browser.complaints)

    def test_all(self) -> None:
        """Every route of the document is on the page, but for HEAD, and can be found by its words."""
        browser = self.open("/docs")
        missing = browser.run("""fetch("openapi.json").then(response => response.json()).then(read =>
            Object.values(read.paths).flatMap(methods => Object.entries(methods))
            .filter(([method, each]) => method !== "head" && !document.getElementById(each.operationId))
            .map(([_, each]) => each.operationId))""")
        self.assertEqual([], missing)
        browser.run("""{
            const filter = document.querySelector("input[type=search]");
            filter.value = "/detokenize";
            filter.dispatchEvent(new Event("input"));
        }""")
        shown = browser.run("[...document.querySelectorAll('.route')].filter(each => each.checkVisibility()).length")
        self.assertEqual(1, shown)
