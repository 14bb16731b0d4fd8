"""The chart, as helm renders it: which values it takes, and what becomes of configurations."""

import json
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.resources import CHART, RELEASES, RefusedError, container, faults, needs, only, run, template, unsafe
from tests.cluster.values import EVERYTHING, MATRIX, PICKER
from vllmsim import __version__
from vllmsim.config.listing import sample_yaml
from vllmsim.config.loading import read_yaml

HOSTILE = (
    "", " ", "\n", "\n\n", "a\n\n\n", "  indented\nless\n", "\tt", "a: b", "# no comment", "{{ .Values.config }}",
    "'\"\\", "...", "---", "a\r\nb", "\u2028\u00e9\u96ea\U0001f600", "no", "010", "1e3", "~", "- a\n- b\n",
    "%", "@", "`", "|", "a #b", " a", "a ", "a\n ", "x" * 5000, "$(POD_IP)", "a\x07b", "12:30:45", "1:00", "1_000",
    "0o10", "0x1F", ".5", "+1", "2026-11-23", "=", "<<", "y", "null", "!t", "&a", "*a", "? a", "[a", "{a", "1.", "-",
    ".inf", "on", "0b1",
)  # fmt: skip
"""Texts that are something else where they are not quoted."""
WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"replicas": 3}, "replicas"),
    ({"replicaCount": "3"}, "replicaCount"),
    ({"replicaCount": -1}, "replicaCount"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"image": {"tag": "a b"}}, "tag"),
    ({"config": []}, "config"),
    ({"config": {"a b": 1}}, "config"),
    ({"config": {"seed": 9007199254740993}}, "seed"),
    ({"config": {"deep": {"er": [1e300]}}}, "deep"),
    ({"files": {"../x": "a"}}, "files"),
    ({"files": {"sim.yaml": "a"}}, "files"),
    ({"files": {"x": 1}}, "files"),
    ({"onConfigChange": "never"}, "onConfigChange"),
    ({"watchInterval": "soon"}, "watchInterval"),
    ({"secrets": {"apikey": {"name": "x"}}}, "apikey"),
    ({"tls": {"secretName": "UPPER"}}, "secretName"),
    ({"tls": {"enabled": True}}, "enabled"),
    ({"service": {"port": 65536}}, "port"),
    ({"service": {"type": "None"}}, "type"),
    ({"probes": {"startup": {"period": 1}}}, "period"),
    ({"extraPorts": [{"name": "much-too-long-a-name", "port": 1}]}, "extraPorts"),
    ({"extraArgs": "--port=1"}, "extraArgs"),
    ({"podLabels": {"a": 1}}, "podLabels"),
    ({"autoscaling": {"metrics": []}}, "metrics"),
    ({"llmd": {"model": "Qwen/Qwen3"}}, "model"),
    ({"inferencePool": {"endpointPicker": {"failureMode": "Fail"}}}, "failureMode"),
    ({"disaggregation": {"prefill": {"replicas": 1}}}, "replicas"),
)
SENSELESS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"config": {"port": 1}, "configText": "port: 2"}, "give either config or configText"),
    ({"configText": "- a"}, "configText is no map"),
    ({"config": {"uds": "/run/x"}}, "the option uds cannot be used here"),
    ({"config": {"host": "127.0.0.1"}}, "nobody reaches the pod"),
    ({"config": {"ssl_certfile": "/x"}, "tls": {"secretName": "s"}}, "either by tls.secretName or by"),
    ({"tls": {"clientCASecretName": "ca"}}, "tls.clientCASecretName needs tls.secretName"),
    ({"configText": "port: 1", "disaggregation": {"enabled": True}}, "configText is one file for all"),
    ({"disaggregation": {"enabled": True}, "tls": {"secretName": "s"}}, "disaggregation.proxy speaks no TLS"),
    ({"inferencePool": {"enabled": True}}, "inferencePool.endpointPicker.name is"),
    ({"inferencePool": PICKER, "llmd": {"labels": False}}, "inferencePool needs llmd.labels"),
    ({"inferencePool": PICKER, "config": {"data-parallel-size": 9}}, "an InferencePool has at most 8 ports"),
)


@needs("helm")
class ChartTests(SynchronousTestCase):
    """What becomes of values."""

    def refused(self, values: dict[str, Any], words: str) -> None:
        """See that values are refused with some words."""
        error = self.assertRaises(RefusedError, template, values)
        self.assertIn(words, str(error), values)

    def pods(self, documents: list[Any]) -> list[Any]:
        """List the pods that would be."""
        made = [each["spec"]["template"]["spec"] for each in documents if each["kind"] == "Deployment"]
        return made + [each["spec"] for each in documents if each["kind"] == "Pod"]

    def test_lint(self) -> None:
        """Helm finds nothing to say against the chart."""
        run("helm", "lint", "--strict", "--quiet", str(CHART))

    @needs("schemas")
    def test_schemas(self) -> None:
        """A cluster of the oldest or of the latest release takes what is made, and knows every field of it."""
        for name, values in MATRIX.items():
            documents = template(values)
            for release in RELEASES:
                self.assertEqual([], faults(documents, release), name)

    def test_careful(self) -> None:
        """All pods fit the restricted pod security standard, the one that tests too."""
        for name, values in MATRIX.items():
            self.assertEqual([[]] * len(pods := self.pods(template(values))), [unsafe(pod) for pod in pods], name)

    def test_version(self) -> None:
        """The image's tag is the program's version, and the repository names no place."""
        self.assertEqual(f"vllmsim:{__version__}", container(template())["image"])
        self.assertEqual("somewhere/vllmsim:1.2.3", container(template(EVERYTHING))["image"])

    def test_defaults(self) -> None:
        """Every option of vllmsim arrives as it was written: read by Helm, rendered, and read by vllmsim."""
        text = "\n".join(
            line.removeprefix("#") for line in sample_yaml().splitlines() if line.startswith("#") and ": " in line
        )
        asked = yaml.safe_load("\n".join(line for line in text.splitlines() if not line.startswith(" ")))
        for name in ("port", "uds", "listen", "host"):
            asked.pop(name, None)
        rendered = only(template({"config": asked}), "ConfigMap")["data"]["sim.yaml"]
        expected, problems = read_yaml(yaml.safe_dump(asked), "file")
        self.assertEqual([], problems)
        self.assertGreater(len(expected), 100)
        found, _ = read_yaml(rendered, "file")
        self.assertEqual(
            {key: value for key, (value, _) in expected.items()}, {key: value for key, (value, _) in found.items()}
        )

    def test_config(self) -> None:
        """Values of options are the same after Helm as before: texts, durations, and integers up to 2^53 - 1."""
        config: dict[str, Any] = {f"t{number}": text for number, text in enumerate(HOSTILE)}
        config |= {"whole": 9007199254740991, "less": -9007199254740991, "many": 100100100, "half": 0.5, "not": False}
        config |= {"deep": {"list": [{"a": None}, "500", 500, "100ms", []], "empty": {}}}
        self.assertEqual(config, yaml.safe_load(only(template({"config": config}), "ConfigMap")["data"]["sim.yaml"]))

    def test_files(self) -> None:
        """Files, and a configuration that is given as one, are the same byte for byte."""
        files = {
            f"f{number}": text for number, text in enumerate(HOSTILE) if text not in {"=", "<<"}
        }  # PyYAML reads these otherwise than a cluster
        told = only(template({"files": files}), "ConfigMap")["data"]
        self.assertEqual(files | {"sim.yaml": "{}\n"}, told)
        for text in (
            "\n# first\nport: 8100   \n\n\nmodel: x\n\n\n",
            "  port: 8100",
            "port: 8100\nseed: 18446744073709551615\n",
        ):
            documents = template({"configText": text})
            self.assertEqual(text, only(documents, "ConfigMap")["data"]["sim.yaml"])
            self.assertEqual(8100, container(documents)["ports"][0]["containerPort"])

    def test_refused(self) -> None:
        """A value that there is not, or one of the wrong kind, is refused, and named."""
        for values, words in (*WRONG, *SENSELESS):
            self.refused(values, words)

    def test_documented(self) -> None:
        """values.yaml has every value that the schema knows."""
        schema = json.loads(CHART.joinpath("values.schema.json").read_text("utf-8"))
        values = yaml.safe_load(CHART.joinpath("values.yaml").read_text("utf-8"))
        self.assertEqual({*values, "global"}, set(schema["properties"]))
        for name, value in values.items():
            known = schema["properties"][name]
            if isinstance(value, dict) and known.get("additionalProperties") is False:
                self.assertLessEqual(set(value), set(known["properties"]), name)

    def test_names(self) -> None:
        """However long a release's name is, names stay within what a cluster takes."""
        documents = list(
            yaml.safe_load_all(run("helm", "template", "r" * 53, str(CHART), "--set", "disaggregation.enabled=true"))
        )
        for each in filter(None, documents):
            self.assertLessEqual(len(each["metadata"]["name"]), 63)

    def test_notes(self) -> None:
        """What helm says at the end leads to the server."""
        words = ("install", "sim", str(CHART), "--dry-run=client", "--set", "tls.secretName=s,secrets.apiKey.name=k")
        told = run("helm", *words)
        self.assertIn("port-forward service/sim-vllmsim 8000:8000", told)
        self.assertIn("curl --insecure https://localhost:8000/v1/completions", told)
        self.assertIn("Bearer $KEY", told)
