# -*- test-case-name: tests.api.engine.test_parameters -*-
"""Sampling parameters in messages of ``VllmEngine``.

Protocol buffers do not tell a number that is 0 from one that is not there, unless a field says that it is optional. So
``top_p``, ``repetition_penalty`` and ``n`` mean 1 where they are 0, as in vLLM's own server; ``temperature``,
``max_tokens``, ``seed`` and the numbers of log probabilities may be there, and 0.
"""

from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from vllmsim.api.sampling import check_logprobs, check_stops
from vllmsim.api.structuredoutputs import StructuredOutputs, structured_output
from vllmsim.errors import InvalidParameter
from vllmsim.inference import Cut
from vllmsim.sampling import Sampling
from vllmsim.structure import PLAIN, Form


def read_sampling(given: pb.SamplingParams) -> Sampling:
    """Read how an answer is to be chosen and where it ends.

    :raises InvalidParameter: for what the simulator does not check itself.
    """
    check_stops(given.stop)
    logprobs = given.logprobs if given.HasField("logprobs") else None
    prompt_logprobs = given.prompt_logprobs if given.HasField("prompt_logprobs") else None
    check_logprobs("logprobs", logprobs)
    check_logprobs("prompt_logprobs", prompt_logprobs)
    return Sampling(
        n=given.n or 1,
        max_tokens=given.max_tokens if given.HasField("max_tokens") else None,
        min_tokens=given.min_tokens,
        stop=tuple(given.stop),
        stop_token_ids=tuple(given.stop_token_ids),
        ignore_eos=given.ignore_eos,
        include_stop_str_in_output=given.include_stop_str_in_output,
        seed=given.seed if given.HasField("seed") else None,
        temperature=given.temperature if given.HasField("temperature") else 1.0,
        top_p=given.top_p or 1.0,
        top_k=given.top_k,
        min_p=given.min_p,
        repetition_penalty=given.repetition_penalty or 1.0,
        presence_penalty=given.presence_penalty,
        frequency_penalty=given.frequency_penalty,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        logit_bias=tuple(given.logit_bias),
    )


def read_cut(given: pb.SamplingParams) -> Cut | None:
    """Read how the prompt is to be shortened: its end is what stays.

    :raises InvalidParameter: for fewer tokens than none.
    """
    if not given.HasField("truncate_prompt_tokens"):
        return None
    tokens = given.truncate_prompt_tokens
    if tokens < -1:
        raise InvalidParameter(
            f"truncate_prompt_tokens must be -1 or more, got {tokens}.", "truncate_prompt_tokens", tokens
        )
    return Cut(tokens, "left")


def read_form(given: pb.SamplingParams, *, thinks: bool) -> Form:
    """Read what an answer must be made of.

    :param thinks: whether it may begin with reasoning, unless the request says that what it must be made of begins with
        the first token.
    :raises InvalidParameter: when a schema is none, nothing may be chosen, or the structure is not simulated.
    """
    kind = given.WhichOneof("constraint")
    thinks = thinks and not given.grammar_from_first_token
    if kind is None:
        return Form(thinks=True) if thinks else PLAIN
    value = list(given.choice.choices) if kind == "choice" else getattr(given, kind)
    # All of these have the types that they must have.
    constraint = StructuredOutputs.model_validate({"json" if kind == "json_schema" else kind: value})
    return Form(output=structured_output(None, constraint), thinks=thinks)
