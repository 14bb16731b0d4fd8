"""A headless Chromium, told what to do over a pipe."""

import json
import os
import shutil
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import Any

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
PATIENCE = 30.0


class Browser:
    """A browser with one page. Methods of the DevTools protocol are called by name.

    :param url: what the page shows first.
    """

    def __init__(self, url: str) -> None:
        self._profile = TemporaryDirectory(ignore_cleanup_errors=True)
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        # The browser reads file descriptor 3 and writes 4, which only a shell or a child of ours can arrange.
        launch = f"import os; os.dup2({commands}, 63); os.dup2({answers}, 64); os.dup2(63, 3); os.dup2(64, 4);"
        launch += (
            "os.set_inheritable(3, True); os.set_inheritable(4, True); import sys; os.execv(sys.argv[1], sys.argv[1:])"
        )
        words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        words += [f"--user-data-dir={self._profile.name}", "--window-size=1280,1000", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", launch, *words],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._read = b""
        self._number = 0
        self._session: dict[str, str] = {}
        self.complaints: list[Any] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method and wait for its result; what the page complains about meanwhile is kept."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]
            if message.get("method") in {"Runtime.exceptionThrown", "Log.entryAdded"}:
                self.complaints.append(message["params"])

    def _message(self) -> Any:
        while b"\0" not in self._read:
            data = os.read(self._answers, 1 << 16)
            if not data:
                raise AssertionError("the browser is gone")
            self._read += data
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)

    def run(self, script: str) -> Any:
        """Run a script in the page and wait for its value, a promise's too."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(result["exceptionDetails"])
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        script = f"""new Promise((resolve, reject) => {{
            const end = Date.now() + {PATIENCE * 1000};
            const look = () => {{
              let seen = false;
              try {{ seen = {condition}; }} catch (error) {{}}
              if (seen) resolve(true);
              else if (Date.now() > end) reject(new Error("waited too long"));
              else setTimeout(look, 20);
            }};
            look();
        }})"""
        self.run(script)

    def close(self) -> None:
        """End the browser."""
        self._session = {}
        try:
            self.call("Browser.close")
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)
        self._profile.cleanup()
