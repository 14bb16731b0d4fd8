"""Recording and alert rules for Prometheus; what they find is in :mod:`tests.integration.test_monitoring`."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from unittest import skipUnless

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.monitoring.asking import FILES, RULES, named, ruled, rules, shown

TESTS = sorted(RULES.joinpath("tests").glob("*.test.yml"))
GOLDEN = Path(__file__).parents[1] / "golden" / "vllm-0.33"
ASKED = re.compile(r"(?:by \((.*?)\) \((?:rate\(|increase\()?)?((?:vllm:|http_|process_|python_)\w+)(?:\{(.*?)\})?")
"""A sample in a query, with what it is summed by, and chosen by."""
OPTIONAL = re.compile("vllm:(kv_block|nixl|sleep_mode|tool_call|lora|num_requests_kv_fetch|spec_decode)_|vllmsim:")
"""What a vLLM tells where its options ask for it, and what it has not."""
ALERTS = [rule for rule in rules() if "alert" in rule]


@skipUnless(shutil.which("promtool"), "needs promtool")
class PromtoolTests(SynchronousTestCase):
    """What Prometheus's own checker says."""

    def promtool(self, *words: object) -> str:
        """Run it, and see that it finds nothing."""
        done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return done.stdout

    def test_rules(self) -> None:
        """All rules are right, and it has seen them all."""
        found = re.findall(r"SUCCESS: (\d+) rules found", self.promtool("check", "rules", *FILES))
        self.assertEqual([len(rules(path)) for path in FILES], [int(number) for number in found])

    def test_configuration(self) -> None:
        """The example of a configuration is right, and loads every file of rules."""
        self.promtool("check", "config", RULES / "prometheus.yml")
        config = yaml.safe_load(RULES.joinpath("prometheus.yml").read_text("utf-8"))
        self.assertEqual([path.name for path in FILES], config["rule_files"])

    def test_units(self) -> None:
        """Rules record what was computed by hand; alerts fire when they should, with their words, and stop."""
        self.assertEqual(len(TESTS), self.promtool("test", "rules", *TESTS).count("SUCCESS"))


class RuleTests(SynchronousTestCase):
    """What rules have in common."""

    def test_vllm(self) -> None:
        """Rules that are for a vLLM too ask for families that it has, and for no other metrics of servers."""
        for each in ruled(*FILES[:2]):
            for name in named(each.expr):
                self.assertRegex(name, "^(vllm:|http_)", each.where)

    def test_a_vllm(self) -> None:
        """A real vLLM has what rules and dashboard ask for, with the labels that they choose and sum by."""
        recorded = {
            line.partition("{")[0]: set(re.findall(r'(\w+)="', line))
            for page in ("metrics.txt", "metrics_server.txt")
            for line in GOLDEN.joinpath(page).read_text("utf-8").splitlines()
            if not line.startswith("#")
        }
        asked: set[str] = set()
        for each in [*shown(), *ruled()]:
            for by, name, selector in ASKED.findall(each.expr):
                if name not in recorded:
                    continue
                asked.add(name)
                labels = {*filter(None, by.split(", ")), *re.findall(r"(\w+)=~?\"", selector)}
                self.assertLessEqual(labels, recorded[name] | {"job", "instance"}, f"{each.where}: {name}")
        names = {name for each in [*shown(), *ruled()] for name in named(each.expr)}
        self.assertGreater(len(asked), 60)
        self.assertEqual(set(), {name for name in names - set(recorded) if not OPTIONAL.match(name)})

    def test_recorded(self) -> None:
        """Whatever alerts read of rules is recorded, and every rule is named once."""
        recorded = [rule["record"] for rule in rules() if "record" in rule]
        self.assertEqual(len(recorded), len(set(recorded)))
        for each in ruled():
            for name in re.findall(r"(?<![\w:])(?:model|instance):\w+(?::\w+)?", each.expr):
                self.assertIn(name, recorded, each.where)

    def test_described(self) -> None:
        """The documentation tells of every rule that records; latencies, all of which have the same rules, once."""
        page = RULES.parents[1].joinpath("docs", "monitoring.rst").read_text("utf-8")
        table = page.split("What is recorded")[1].split("The dashboard\n")[0]
        for rule in rules(FILES[0]):
            name = rule["record"]
            if latency := re.fullmatch(r"model:vllm_(\w+_seconds)(_bucket)?(:\w+)", name):
                self.assertIn(f"``{latency[1]}``", table)
                self.assertIn(f"``model:vllm_LATENCY_bucket{latency[3]}``" if latency[2] else f"{latency[3]}``", table)
            else:
                level, metric, operation = name.split(":")
                rows = [line for line in table.splitlines() if line.startswith(f"``{level}:{metric}:")]
                self.assertIn(f":{operation}``", " ".join(rows), name)

    def test_alerts(self) -> None:
        """Every alert has a severity that one can route by, and says what is wrong, with which, and what to do."""
        page = RULES.parents[1].joinpath("docs", "monitoring.rst").read_text("utf-8")
        names = [rule["alert"] for rule in ALERTS]
        self.assertEqual(len(names), len(set(names)))
        for rule in ALERTS:
            name = rule["alert"]
            self.assertIn(rule["labels"]["severity"], {"critical", "warning", "info"}, name)
            self.assertEqual({"summary", "description", "runbook"}, set(rule["annotations"]), name)
            self.assertEqual(f"monitoring.html#{name.lower()}", rule["annotations"]["runbook"])
            self.assertRegex(page, rf"(?m)^{name}\n\.+\n", "the runbook has a section for it, whose anchor is its name")
            self.assertIn(
                f"{rule.get('for', '0m')}, {rule['labels']['severity']}", page.split(f"\n{name}\n")[1][:200], name
            )

    def test_tried(self) -> None:
        """There is a test for every alert, in which it does not fire yet, fires, and is over."""
        tried = {
            each["name"]: [bool(question.get("exp_alerts")) for question in each["alert_rule_test"]]
            for path in TESTS
            for each in yaml.safe_load(path.read_text("utf-8"))["tests"]
            if "alert_rule_test" in each
        }
        self.assertEqual({rule["alert"]: [False, True, False] for rule in ALERTS}, tried)


class ExampleTests(SynchronousTestCase):
    """The script that tries the rules."""

    @skipUnless(shutil.which("promtool"), "needs promtool")
    def test_configuration(self) -> None:
        """It gives Prometheus a configuration that is right, with the server, all rules, and no prober."""
        folder = Path(self.mktemp())
        folder.mkdir()
        stand_in = folder / "prometheus"
        stand_in.write_text('#!/bin/sh\nfile=${1#*=}\npromtool check config "$file" && cat "$file"\n')
        stand_in.chmod(0o755)
        # It waits for Prometheus to start, and then sees that it has ended.
        (folder / "sleep").write_text("#!/bin/sh\nexec /bin/sleep 0.5\n")
        (folder / "sleep").chmod(0o755)
        done = subprocess.run(
            ["sh", RULES.parents[1] / "examples" / "prometheus.sh", "server:1234"],
            env=os.environ | {"PATH": f"{folder.resolve()}:{os.environ['PATH']}"},
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        self.assertIn(f"SUCCESS: {len(FILES)} rule files found", done.stdout)
        config = yaml.safe_load(done.stdout[done.stdout.index("\nglobal:") :].split("\nhttp://")[0])
        [job] = config["scrape_configs"]
        self.assertEqual("server:1234", job["static_configs"][0]["targets"][0])

    def test_operator(self) -> None:
        """What the documentation gives to the Prometheus operator is the same rules, as its kind of resource."""
        page = RULES.parents[1].joinpath("docs", "monitoring.rst").read_text("utf-8")
        [loop] = re.findall(r"(?ms)^    (for name in .*?done) \| kubectl", page)
        done = subprocess.run(["sh", "-c", loop], cwd=RULES.parents[1], capture_output=True, text=True, check=True)
        resources = list(yaml.safe_load_all(done.stdout))
        self.assertEqual({"PrometheusRule"}, {each["kind"] for each in resources})
        expected = [yaml.safe_load(path.read_text("utf-8")) for path in FILES]
        self.assertEqual(expected, [each["spec"] for each in resources])
