"""Bodies that load and unload adapters."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api import adapters
from vllmsim.api.body import Head
from vllmsim.errors import MalformedRequest

JSON = Head("application/json")


class AdapterTests(SynchronousTestCase):
    """vLLM's bodies and SageMaker's."""

    def test_read(self) -> None:
        """What vLLM takes is taken; what nobody knows is ignored."""
        load = adapters.read_load(b'{"lora_name":"a","lora_path":"/p","load_inplace":true,"x":1}', JSON)
        self.assertEqual(("a", "/p", True), (load.lora_name, load.lora_path, load.load_inplace))
        self.assertEqual("a", adapters.read_unload(b'{"lora_name":"a","lora_int_id":3}', JSON).lora_name)
        register = adapters.read_register(b'{"name":"a","src":"s3://b"}', JSON)
        self.assertEqual(("a", "s3://b"), (register.name, register.src))

    def test_refused(self) -> None:
        """A member that is missing is named."""
        for read, param in (
            (adapters.read_load, "body.lora_name"),
            (adapters.read_unload, "body.lora_name"),
            (adapters.read_register, "body.name"),
        ):
            self.assertEqual(param, self.assertRaises(MalformedRequest, read, b"{}", JSON).param)

    def test_sentences(self) -> None:
        """The sentences are vLLM's, with the name in UTF-8."""
        self.assertEqual("Success: LoRA adapter 'ä' added successfully.".encode(), adapters.loaded("ä"))
        self.assertEqual(b"Success: LoRA adapter 'a' removed successfully.", adapters.unloaded("a"))
        self.assertEqual(b"Adapter a registered", adapters.registered("a"))
        self.assertEqual(b"Adapter a unregistered", adapters.unregistered("a"))
