"""How servers give each other KV blocks."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.loading import ConfigurationError
from vllmsim.config.transfer import KVTransfer, mover_of, read_transfer

NIXL: dict[str, Any] = {"kv_connector": "NixlConnector", "kv_role": "kv_consumer"}


class TransferTests(SynchronousTestCase):
    """What ``kv-transfer-config`` says."""

    def test_nothing(self) -> None:
        """A server without it gives nobody anything."""
        for members in (None, {}, {"kv_port": 14579}, {"kv_role": "kv_both"}):
            transfer = read_transfer(members)
            self.assertEqual((KVTransfer(), False, False), (transfer, transfer.nixl, transfer.fetches))

    def test_roles(self) -> None:
        """A producer gives blocks and fetches none."""
        for role, fetches in (("kv_producer", False), ("kv_consumer", True), ("kv_both", True)):
            self.assertEqual(fetches, read_transfer({"kv_connector": "X", "kv_role": role}).fetches)

    def test_connectors(self) -> None:
        """NIXL is found by its name, also within a connector that is made of several."""
        self.assertTrue(read_transfer(NIXL).nixl)
        self.assertFalse(read_transfer({**NIXL, "kv_connector": "LMCacheConnectorV1"}).nixl)
        several = {"connectors": [7, {"kv_connector": "NixlConnector"}, {"kv_connector": "OffloadingConnector"}]}
        transfer = read_transfer({**NIXL, "kv_connector": "MultiConnector", "kv_connector_extra_config": several})
        self.assertEqual(("MultiConnector", "NixlConnector", "OffloadingConnector"), transfer.connectors)
        self.assertTrue(transfer.nixl)

    def test_nested(self) -> None:
        """Connectors within connectors without end are followed no further than any server would."""
        members = NIXL
        for _ in range(2000):
            members = {**NIXL, "kv_connector_extra_config": {"connectors": [members]}}
        self.assertLess(len(read_transfer(members).connectors), 10)

    def test_unknown(self) -> None:
        """Members that mean nothing here are ignored, as old manifests have them."""
        self.assertEqual(read_transfer(NIXL), read_transfer({**NIXL, "kv_rank": 0, "kv_buffer_size": "x"}))

    def test_wrong(self) -> None:
        """A role that is none, and a connector without one, are refused at the start."""
        for words, fault in (
            (("--kv-transfer-config", '{"kv_connector": "NixlConnector"}'), "needs a kv_role"),
            (("--kv-transfer-config", '{"kv_role": "kv_server"}'), "'kv_server' is none of kv_producer, kv_consumer,"),
            (("--kv-transfer-config", '{"engine_id": 7}'), "its engine_id is not text"),
            (("--kv-transfer-config", "[]"), "must be a JSON object"),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                load_words(words, {})
            self.assertIn(fault, str(caught.exception), words)

    def test_sources(self) -> None:
        """It is given whole or member by member."""
        words = ("--kv-transfer-config.kv_connector", "NixlConnector", "--kv-transfer-config.kv_role=kv_both")
        transfer = load_words((*words, "--kv-transfer-config.engine_id", "e"), {}).configuration.kv_transfer
        self.assertEqual(KVTransfer(("NixlConnector",), "kv_both", "e"), transfer)


class MoverTests(SynchronousTestCase):
    """Which connector gateways are told."""

    def told(self, *inner: object, **more: object) -> tuple[str, str | None]:
        """Find it where several work together: each by its name, or as it is given."""
        members = [{"kv_connector": each} if isinstance(each, str) else each for each in inner]
        extra = {"kv_connector_extra_config": {"connectors": members}}
        return mover_of({"kv_connector": "MultiConnector", "engine_id": "all", **extra, **more})

    def test_one(self) -> None:
        """A connector that is alone is told as it is, and so is none."""
        self.assertEqual(("", None), mover_of({}))
        self.assertEqual(("NixlConnector", None), mover_of({"kv_connector": "NixlConnector", "engine_id": ""}))
        self.assertEqual(("X", "e"), mover_of({"kv_connector": "X", "engine_id": "e"}))

    def test_direct(self) -> None:
        """Of several that is told which hands blocks from server to server, whatever stands beside it."""
        self.assertEqual(
            ("NixlConnector", "all"), self.told("OffloadingConnector", "NixlConnector", "FlexKVConnectorV1")
        )
        self.assertEqual(("MoRIIOConnector", "all"), self.told("MoRIIOConnector"))
        own = {"kv_connector": "MooncakeConnector", "engine_id": "own"}
        self.assertEqual(("MooncakeConnector", "own"), self.told(own, "X"))

    def test_store(self) -> None:
        """Else it is the one store; MoRI-IO steps aside for it."""
        self.assertEqual(("HF3FSConnector", "all"), self.told("HF3FSConnector", "X"))
        self.assertEqual(("SharedStorageConnector", "all"), self.told("MoRIIOConnector", "SharedStorageConnector"))

    def test_unclear(self) -> None:
        """Two of a kind, none, and what is no list of connectors are told as what joins them."""
        for inner in (
            ("NixlConnector", "MooncakeConnector"),
            ("FlexKVConnectorV1", "HF3FSConnector"),
            ("MoRIIOConnector", "FlexKVConnectorV1", "HF3FSConnector"),
            ("X",),
            (),
            ("NixlConnector", 7),
            ("NixlConnector", {"kv_connector": 7}),
            ({"kv_connector": "NixlConnector", "engine_id": 7},),
            ({"kv_connector": "NixlConnector", "engine_id": ""},),
        ):
            self.assertEqual(("MultiConnector", "all"), self.told(*inner), inner)
        wrong: tuple[object, ...] = ([], {"connectors": "NixlConnector"}, None)
        for extra in wrong:
            self.assertEqual(("MultiConnector", "all"), self.told(kv_connector_extra_config=extra), extra)
