"""Downloading tokenizers from the hub."""

import hashlib

from attrs import evolve
from huggingface_hub import scan_cache_dir, try_to_load_from_cache
from twisted.internet.defer import CancelledError

from tests.downloading.fakeweb import Served, WebTestCase
from tests.tokenization.fakehub import CDN, COMMIT, CONFIG, ENDPOINT, TOKENIZER, git_tag, put_model, where
from vllmsim.downloading.web import DownloadError
from vllmsim.tokenization.hub.cache import HubAccess, HubCache, HubModel
from vllmsim.tokenization.hub.download import HubDownload

MODEL = HubModel("org/model")


class HubDownloadTests(WebTestCase):
    """One model, on one hub."""

    def setUp(self) -> None:
        """Put it there."""
        super().setUp()
        put_model(self.web)
        self.cache = HubCache(self.directory)
        self.access = HubAccess(ENDPOINT, "secret", offline=False)
        self.snapshot = self.directory / "models--org--model" / "snapshots" / COMMIT

    def download(self) -> HubDownload:
        """Make what downloads."""
        return HubDownload(self.downloader, self.access, self.cache)

    def refused(self, model: HubModel = MODEL) -> str:
        """Fail to download it; no tokenizer is there then."""
        failure = self.failureResultOf(self.run_to_end(self.download().fetch(model)), DownloadError)
        self.assertIsNone(self.cache.find(model))
        self.assertEqual([], [name for name in self.there() if ".part" in name])
        self.assertEqual([], self.clock.getDelayedCalls())
        return str(failure.value)

    def test_downloaded(self) -> None:
        """The tokenizer's files are in the cache, where the hub's own library finds them."""
        self.assertEqual(self.snapshot, self.successResultOf(self.run_to_end(self.download().fetch(MODEL))))
        path = try_to_load_from_cache("org/model", "tokenizer.json", self.directory)
        assert isinstance(path, str)
        self.assertEqual(TOKENIZER, (self.snapshot / path).read_bytes())
        self.assertEqual(CONFIG, (self.snapshot / "tokenizer_config.json").read_bytes())
        blobs = {hashlib.sha256(TOKENIZER).hexdigest(), git_tag(CONFIG)}
        self.assertEqual(blobs, {each.name for each in (self.snapshot.parents[1] / "blobs").iterdir()})
        self.assertNotIsInstance(try_to_load_from_cache("org/model", "config.json", self.directory), str | None)
        self.assertEqual([], scan_cache_dir(self.directory).warnings)

    def test_once(self) -> None:
        """What is in the cache is not asked for."""
        self.successResultOf(self.run_to_end(self.download().fetch(MODEL)))
        self.web.asked.clear()
        self.assertEqual(self.snapshot, self.successResultOf(self.run_to_end(self.download().fetch(MODEL))))
        self.assertEqual([], self.web.asked)

    def test_token(self) -> None:
        """The hub is told the token, and the server that it leads to is not."""
        self.successResultOf(self.run_to_end(self.download().fetch(MODEL)))
        told = {place: headers.get("authorization") for _, place, headers in self.web.asked}
        self.assertIsNone(told.pop(CDN))
        self.assertEqual({"Bearer secret"}, set(told.values()))

    def test_revision(self) -> None:
        """A branch is looked up once; everything is of the commit that it was."""
        model = HubModel("org/model", "refs/pr/1")
        put_model(self.web, revision=model.revision)
        self.successResultOf(self.run_to_end(self.download().fetch(model)))
        revisions = [place.split("/")[4] for _, place, _ in self.web.asked if place != CDN]
        self.assertEqual(["refs%2Fpr%2F1"] + [COMMIT] * (len(revisions) - 1), revisions)
        self.assertEqual(self.snapshot, self.cache.find(model))

    def test_renamed(self) -> None:
        """A model that has a new name is found by its old one."""
        for name in ("tokenizer.json", "tokenizer_config.json"):
            for revision in ("main", COMMIT):
                self.web.files[where("old/name", revision, name)] = (
                    307,
                    {"Location": f"/org/model/resolve/{revision}/{name}"},
                )
        path = self.successResultOf(self.run_to_end(self.download().fetch(HubModel("old/name"))))
        self.assertEqual(TOKENIZER, (path / "tokenizer.json").read_bytes())

    def test_offline(self) -> None:
        """Offline, what is in the cache is found, and of the rest is said what is missing; nobody is asked."""
        self.access = evolve(self.access, offline=True)
        expected = f"tokenizer.json of org/model is not in {self.directory}, and HF_HUB_OFFLINE forbids to download it"
        self.assertEqual(expected, self.refused())
        self.assertEqual([], self.web.asked)

    def test_gated(self) -> None:
        """Models that are gated, and models that are hidden or are none, are told apart."""
        place = where("org/model", "main", "tokenizer.json")
        self.web.files[place] = (401, {"X-Error-Code": "GatedRepo"})
        self.assertIn("org/model is gated: accept its conditions at http://hub.test/org/model", self.refused())
        nothing = "there is no org/model at http://hub.test"
        for answer in ((401, {}), (404, {"X-Error-Code": "RepoNotFound"}), (403, {})):
            self.web.files[place] = answer
            self.assertEqual(f"{nothing}, or hf-token (HF_TOKEN) does not open it", self.refused())
        self.access = evolve(self.access, token="")
        self.assertEqual(f"{nothing}, or it wants hf-token (HF_TOKEN)", self.refused())

    def test_not_there(self) -> None:
        """A model without a tokenizer, and one without the revision, are told apart."""
        place = where("org/model", "main", "tokenizer.json")
        self.web.files[place] = (404, {"X-Error-Code": "EntryNotFound"})
        self.assertEqual("org/model has no tokenizer.json at http://hub.test", self.refused())
        self.web.files[place] = (404, {"X-Error-Code": "RevisionNotFound"})
        self.assertEqual("org/model has no revision main at http://hub.test", self.refused())
        self.assertEqual("'../x' is no revision of org/model", self.refused(HubModel("org/model", "../x")))

    def test_no_hub(self) -> None:
        """What answers without the hub's headers, or with names that lead out of the cache, is no hub."""
        place = where("org/model", "main", "tokenizer.json")
        tag = {"ETag": '"abc"'}
        for headers in (
            {},
            tag,
            {"X-Repo-Commit": COMMIT},
            {"X-Repo-Commit": "../../x", **tag},
            {"X-Repo-Commit": COMMIT, "ETag": '"../../../x"'},
            {"X-Repo-Commit": COMMIT, "ETag": '".x"'},
            {"X-Repo-Commit": COMMIT, "ETag": '"' + "x" * 300 + '"'},
        ):
            self.web.files[place] = Served(TOKENIZER, "", headers=headers)
            self.assertIn("is no hub: it names no commit or no content", self.refused())
        self.web.files[place] = (410, {})
        self.assertIn("answers with status 410", self.refused())
        self.assertEqual([], self.there())

    def test_wrong_content(self) -> None:
        """Bytes of another size, or with another hash, than the hub has told are refused."""
        self.web.files[CDN] = Served(TOKENIZER + b" ")
        self.assertIn(f"has {len(TOKENIZER) + 1} bytes, and should have {len(TOKENIZER)}", self.refused())
        self.web.files[CDN] = Served(TOKENIZER.replace(b"WordLevel", b"WordXevel"))
        self.assertIn("has not the SHA-256", self.refused())

    def test_truncated(self) -> None:
        """A connection that breaks is continued; one that breaks always is given up."""
        self.web.files[CDN] = Served(TOKENIZER, cuts=[10, 10])
        self.successResultOf(self.run_to_end(self.download().fetch(MODEL)))
        self.assertEqual(TOKENIZER, (self.snapshot / "tokenizer.json").read_bytes())
        self.cache = HubCache(self.directory / "other")
        self.web.files[CDN] = Served(TOKENIZER, cuts=[10] * 9)
        self.assertIn("the connection was lost", self.refused())

    def test_trouble(self) -> None:
        """A hub in trouble is asked again."""
        self.web.troubles = [503, 429]
        self.successResultOf(self.run_to_end(self.download().fetch(MODEL)))

    def test_interrupted(self) -> None:
        """A download that is stopped in between is no tokenizer yet."""
        self.web.files[CDN] = lambda _request: 1
        work = self.run_to_end(self.download().fetch(MODEL), seconds=5)
        self.assertTrue((self.snapshot / "tokenizer_config.json").is_file())
        work.cancel()
        self.failureResultOf(work, CancelledError)
        self.assertIsNone(self.cache.find(MODEL))

    def test_empty(self) -> None:
        """A file that is empty on the hub is empty here; a tokenizer that is cannot be used, which is told later."""
        place = where("org/model", COMMIT, "config.json")
        self.web.files[place] = Served(b"", f'"{git_tag(b"")}"', headers={"X-Repo-Commit": COMMIT})
        self.successResultOf(self.run_to_end(self.download().fetch(MODEL)))
        self.assertEqual(b"", (self.snapshot / "config.json").read_bytes())

    def test_no_room(self) -> None:
        """A cache where nothing can be written is an error that says so."""
        (self.directory / "models--org--model").touch()
        self.assertIn("cannot write", self.refused())
