"""Nothing that a request names is fetched: no address is dialled, and no file is opened."""

import json
import os
import socket
from contextlib import closing
from typing import Any

from smg_grpc_proto.generated import common_pb2
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from tests.folders import make_folder
from tests.integration.calling import CallingTestCase, prompt
from tests.integration.daemon import PATIENCE
from tests.integration.test_processes import fetch

CANARY = "the-canary-is-in-the-file"
REFUSED = 400
SCHEMAS, TEMPLATES, OPTIONS = 4, 1, 4
"""How many requests are refused: schemas that refer to others, templates that include, options that cannot change."""


def schema(address: str) -> dict[str, Any]:
    """Make a JSON schema that refers to another."""
    return {"type": "object", "$schema": address, "properties": {"a": {"$ref": address}}, "required": ["a"]}


def media(address: str) -> list[dict[str, Any]]:
    """Make parts of a message of every kind that has an address."""
    return [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": address}},
        {"type": "audio_url", "audio_url": {"url": address}},
        {"type": "video_url", "video_url": {"url": address}},
    ]


def bodies(address: str, host: str, port: int) -> list[tuple[str, dict[str, Any]]]:
    """Make requests that name an address wherever a request can, each with its path."""
    said: Any = [{"role": "user", "content": media(address)}]
    plain: Any = [{"role": "user", "content": "look"}]
    block = {"type": "image", "source": {"type": "url", "url": address}}
    blocks: Any = {"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": [block, *media("x")[:1]]}]}
    transfer = {
        "do_remote_prefill": True, "remote_engine_id": "e", "remote_block_ids": [1], "remote_host": host,
        "remote_port": port, "remote_request_id": "r", "tp_size": 1, "transfer_id": "t",
        "remote_bootstrap_addr": address,
    }  # fmt: skip
    tool = {"type": "function", "function": {"name": "f", "parameters": schema(address)}}
    chat: dict[str, Any] = {"messages": plain, "max_tokens": 2}
    image: Any = {"type": "input_image", "image_url": address}
    file: Any = {"type": "input_file", "file_url": address}
    server: Any = {"type": "mcp", "server_label": "s", "server_url": address}
    formed: Any = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema(address)}}
    template = f"{{% include {json.dumps(address)} %}}{{{{ open({json.dumps(address)}) }}}}"
    return [
        ("/v1/chat/completions", {"messages": said, "max_tokens": 2}),
        ("/v1/chat/completions", {"messages": said, "max_tokens": 2, "stream": True}),
        ("/v1/chat/completions", {**chat, "media_io_kwargs": {"video": {"url": address}}}),
        ("/v1/chat/completions", {**chat, "mm_processor_kwargs": transfer}),
        ("/v1/chat/completions", {**chat, "kv_transfer_params": transfer}),
        ("/v1/chat/completions", {**chat, "chat_template": template}),
        ("/v1/chat/completions", {**chat, "tools": [tool], "tool_choice": "required"}),
        ("/v1/chat/completions", {**chat, "response_format": formed}),
        ("/v1/chat/completions", {**chat, "structured_outputs": {"json": schema(address)}}),
        ("/v1/chat/completions", {**chat, "documents": [{"title": "d", "url": address}]}),
        ("/v1/chat/completions/batch", {"messages": [said], "max_tokens": 2}),
        ("/v1/completions", {"prompt": address, "max_tokens": 2, "kv_transfer_params": transfer}),
        ("/v1/completions", {"prompt": address, "max_tokens": 2, "structured_outputs": {"json": schema(address)}}),
        ("/v1/responses", {"input": [{"role": "user", "content": [image, file]}], "max_output_tokens": 2}),
        ("/v1/responses", {"input": "x", "tools": [server], "max_output_tokens": 2}),
        ("/v1/messages", blocks),
        ("/v1/messages", {**blocks, "mcp_servers": [{"type": "url", "url": address, "name": "s"}]}),
        ("/v1/messages/count_tokens", blocks),
        ("/v1/embeddings", {"messages": said}),
        ("/v1/embeddings", {"input": address}),
        ("/v2/embed", {"model": "m", "input_type": "image", "images": [address], "embedding_types": ["float"]}),
        ("/pooling", {"messages": said}),
        ("/classify", {"messages": said}),
        ("/score", {"queries": {"content": media(address)[1:2]}, "documents": {"content": media(address)[1:2]}}),
        ("/rerank", {"query": address, "documents": {"content": media(address)[1:2]}}),
        ("/tokenize", {"messages": said}),
        ("/v1/chat/completions/render", {"messages": said}),
        ("/v1/messages/render", blocks),
        ("/v1/responses/render", {"input": [{"role": "user", "content": [image]}]}),
        ("/inference/v1/generate", {"token_ids": [1], "sampling_params": {}, "kv_transfer_params": transfer}),
        ("/invocations", {"messages": said, "max_tokens": 2}),
        ("/v1/load_lora_adapter", {"lora_name": "a", "lora_path": address}),
        ("/adapters", {"name": "b", "src": address}),
        ("/collective_rpc", {"method": "load", "args": [address], "kwargs": {"url": address}}),
        ("/admin/config", {"render-url": address}),
        ("/admin/config", {"dataset-url": address, "dataset-path": address}),
        ("/admin/config", {"otlp-traces-endpoint": address, "tokenizer": address, "kv-cache-backend": address}),
        ("/admin/scenario", {"name": "s", "steps": [{"at": "0s", "load-adapter": {"name": "s", "path": address}}]}),
        ("/admin/scenario", {"name": "s", "steps": [{"at": "0s", "set": {"render-url": address}}]}),
    ]  # fmt: skip


class FetchingTests(CallingTestCase):
    """A listener that must hear nobody, and a pipe that must have no reader."""

    words = (
        *("--tokenizer", "builtin", "--trust-request-chat-template", "--enable-kvcache", "--zmq-endpoint", ""),
        *("--kv-transfer-config", '{"kv_connector":"NixlConnector","kv_role":"kv_both"}', "--omni"),
        *("--enable-responses-store", "--max-model-len", "8192", "--served-model-name", "m"),
    )

    def setUp(self) -> None:
        """Listen, and lay out files."""
        self.trap = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.trap.close)
        self.trap.setblocking(False)
        self.host, self.port = self.trap.getsockname()
        folder = make_folder(self)
        self.pipe, self.file = folder / "pipe", folder / "file"
        os.mkfifo(self.pipe)
        self.file.write_text(CANARY, "utf-8")

    def silent(self, what: object) -> None:
        """See that nobody has called, and that nobody reads the pipe."""
        with self.assertRaises(BlockingIOError, msg=f"dialled for {what}"):
            closing(self.trap.accept()[0])
        with self.assertRaises(OSError, msg=f"opened for {what}"):
            os.close(os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK))

    def send_all(self, address: str) -> None:
        """Send everything with an address in it, of which nearly all is served."""
        refused = []
        for path, body in bodies(address, self.host, self.port):
            status, _, answer = fetch(self.daemon.url(path), json.dumps(body).encode())
            self.assertIn(status, {200, 400}, (path, answer))
            self.assertNotIn(CANARY.encode(), answer, path)
            self.silent((path, body))
            if status == REFUSED:
                refused.append((path, answer))
        self.assertEqual(SCHEMAS + TEMPLATES + OPTIONS, len(refused), refused)
        for name in ("a", "b"):
            fetch(self.daemon.url("/v1/unload_lora_adapter"), json.dumps({"lora_name": name}).encode())

    def test_addresses(self) -> None:
        """Addresses of images, sounds, films, files, schemas, tools' servers, adapters and peers are never dialled."""
        for scheme in ("http", "https", "ftp"):
            self.send_all(f"{scheme}://{self.host}:{self.port}/x.png")

    def test_files(self) -> None:
        """Files that requests name are not opened, by an address or a path, and nothing of them is in an answer."""
        for address in (f"file://{self.pipe}", str(self.pipe), f"file://{self.file}", str(self.file)):
            self.send_all(address)

    def test_calls(self) -> None:
        """Over gRPC the same: peers that have a prompt's blocks, and media, are named and never asked."""
        address = f"http://{self.host}:{self.port}/x.png"
        transfer = {"do_remote_prefill": True, "remote_host": self.host, "remote_port": self.port}
        memory = pb.MultimodalInputs(
            modality=common_pb2.Modality.IMAGE,
            mm_hashes=["h"],
            mm_placeholders=[pb.PlaceholderRange(offset=0, length=1)],
            pixel_values=pb.TensorData(
                shape=[len(CANARY)], dtype="uint8", shm=common_pb2.ShmHandle(name=str(self.pipe), nbytes=len(CANARY))
            ),
        )
        media_refs = pb.MediaRefs(items=[pb.MediaRef(modality=common_pb2.Modality.IMAGE, url=address)])
        for request in (
            prompt([1, 2], kv_transfer_params=pb.KvTransferParams(remote_host=self.host, remote_port=self.port)),
            prompt([1, 2], kv_transfer_params_json=json.dumps(transfer)),
            prompt([1, 2], mm_inputs=memory),
            prompt([1, 2], media_refs=media_refs),
        ):
            self.assertTrue(list(self.engine().Generate(request, timeout=PATIENCE)))
            self.silent(request)

    def test_no_proxy(self) -> None:
        """Nobody reaches others through the server: whatever host a request names, it is answered here."""
        for line in (
            f"GET http://{self.host}:{self.port}/health HTTP/1.1",
            f"CONNECT {self.host}:{self.port} HTTP/1.1",
        ):
            head = f"{line}\r\nHost: {self.host}:{self.port}\r\nConnection: close\r\n\r\n"
            with self.raw(head.encode()) as connection:
                answer = b"".join(iter(lambda: connection.recv(4096), b""))
            self.assertRegex(answer, rb"^HTTP/1.1 (200|4\d\d) ")
            self.silent(line)

    def test_adapters(self) -> None:
        """Where adapters' paths are looked at, it is told whether an adapter is there, and of others nothing at all."""
        url = self.daemon.url("/admin/config")
        self.assertEqual(200, fetch(url, b'{"lora-verify-paths": true}')[0])
        self.addCleanup(fetch, url, b'{"lora-verify-paths": false}')
        folder = make_folder(self)
        folder.joinpath("adapter_config.json").write_text(CANARY, "utf-8")
        self.file.with_name("link").symlink_to("/")
        answers = set()
        for path in (
            *(
                self.pipe,
                self.file,
                self.file.parent,
                f"{folder}/../x",
                "/etc/shadow",
                "/etc",
                "/proc/self",
                "/proc/self/fd",
            ),
            *("../../../../etc", "~root", "~nobody-here", "", "\0", "x" * 5000, self.file.with_name("link")),
        ):
            body = json.dumps({"lora_name": "verified", "lora_path": str(path)}).encode()
            status, _, answer = fetch(self.daemon.url("/v1/load_lora_adapter"), body)
            self.assertIn(status, {400, 404}, (path, answer))
            answers.add(answer.replace(json.dumps(str(path))[1:-1].encode(), b""))
            self.silent(path)
        self.assertEqual(3, len(answers), answers)
        body = json.dumps({"lora_name": "verified", "lora_path": str(folder)}).encode()
        status, _, answer = fetch(self.daemon.url("/v1/load_lora_adapter"), body)
        self.assertEqual(200, status, answer)
        self.assertNotIn(CANARY.encode(), answer)
