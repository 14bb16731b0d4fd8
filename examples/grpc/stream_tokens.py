"""Stream tokens over gRPC, as a gateway does (pip install smg-grpc-proto tokenizers).

Start a server first: make run ARGS="--time-to-first-token 200ms --inter-token-latency 20ms"

vLLM's gRPC server takes tokens and answers with tokens, and says itself of which tokenizer they are: the tokenizer's
files come in an archive. Text is made of tokens here.
"""

import hashlib
import io
import sys
import time
import zipfile

import grpc
from smg_grpc_proto import vllm_engine_pb2 as pb
from smg_grpc_proto import vllm_engine_pb2_grpc as services
from smg_grpc_proto.generated import common_pb2 as common
from tokenizers import Tokenizer

MIB = 1 << 20


def tokenizer_of(engine: services.VllmEngineStub) -> Tokenizer:
    """Fetch the server's tokenizer."""
    chunks = list(engine.GetTokenizer(common.GetTokenizerRequest(), timeout=10))
    archive = b"".join(chunk.data for chunk in chunks)
    if hashlib.sha256(archive).hexdigest() != chunks[-1].sha256:
        raise ValueError("the archive is damaged")
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        return Tokenizer.from_str(files.read("tokenizer.json").decode())


def main(target: str = "127.0.0.1:8000", prompt: str = "Tell me about your latency.", max_tokens: str = "40") -> None:
    """Print an answer as it comes, then when its tokens came."""
    channel = grpc.insecure_channel(target, options=[("grpc.max_receive_message_length", 16 * MIB)])
    engine = services.VllmEngineStub(channel)
    model = engine.GetModelInfo(pb.GetModelInfoRequest(), timeout=10)
    print(f"{model.served_model_name}, a context of {model.max_context_length} tokens")
    tokenizer = tokenizer_of(engine)
    request = pb.GenerateRequest(
        request_id=f"example-{time.time_ns()}",
        tokenized=pb.TokenizedInput(input_ids=tokenizer.encode(prompt).ids),
        sampling_params=pb.SamplingParams(max_tokens=int(max_tokens)),
        stream=True,
    )
    begin = time.monotonic()
    times: list[float] = []
    ids: list[int] = []
    shown = ""
    for response in engine.Generate(request, timeout=60):
        if response.HasField("chunk"):
            times += [time.monotonic() - begin] * len(response.chunk.token_ids)
            ids += response.chunk.token_ids
            text = tokenizer.decode(ids)
            # A character may be cut over several tokens.
            if not text.endswith("\ufffd"):
                print(text[len(shown) :], end="", flush=True)
                shown = text
        else:
            prompt_tokens, reason = response.complete.prompt_tokens, response.complete.finish_reason
    print(f"\n\n{prompt_tokens} prompt tokens, {len(ids)} generated, then {reason!r}")
    if len(times) > 1:
        gap = (times[-1] - times[0]) / (len(times) - 1)
        print(f"first token after {times[0] * 1000:.0f} ms, then one every {gap * 1000:.1f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
