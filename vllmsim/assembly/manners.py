# -*- test-case-name: tests.assembly.test_manners -*-
"""What a configuration makes of requests: the settings with which they are read, and how they are served.

Both are made anew, whole, when the configuration changes; a request keeps those that it was read with.
"""

import random
from collections.abc import Callable, Sequence

from attrs import define

from vllmsim.api.dialect import Settings
from vllmsim.api.toolcalls import Tooling
from vllmsim.api.transfer import PrefillSource
from vllmsim.composing.composer import Composer, Habits
from vllmsim.config.schema import Configuration
from vllmsim.identity import engine_id, fingerprint, side_channel
from vllmsim.interfaces import ILatencyModel, IModelCatalogue
from vllmsim.omni import ImageEmission
from vllmsim.scheduling.behaviour import Behaviour
from vllmsim.structured.values import Ranges


@define(eq=False)
class Manners:
    """Those of one rank.

    :param ranks: the data-parallel ranks that its requests may name.
    :param seed: the daemon's seed.
    :param models: which names are served.
    :param new_id: makes the ids of answers.
    :param now: tells whole seconds since the epoch.
    :param images: decides which answers have an image unasked.
    :param composer: composes answers, with whatever habits.
    :param latencies: makes what takes the time that a configuration says.
    """

    _ranks: Sequence[int]
    _seed: int
    _models: IModelCatalogue
    _new_id: Callable[[], str]
    _now: Callable[[], int]
    _images: random.Random
    _composer: Composer
    _latencies: Callable[[Configuration], ILatencyModel]

    def behaviour(self, configuration: Configuration) -> Behaviour:
        """Make how requests are served."""
        c = configuration
        # It remembers what it has made of schemas, unless that is otherwise now.
        self._composer = self._composer.adapted(habits(c))
        threshold = c.global_cache_hit_threshold if c.caches_prefixes else None
        return Behaviour(self._latencies(c), threshold, self._composer, c.max_answer_tokens)

    def settings(self, configuration: Configuration, behaviour: Behaviour) -> Settings:
        """Make what dialects share.

        :param behaviour: how the requests are served that they read.
        """
        c = configuration
        return Settings(
            models=self._models,
            new_id=self._new_id,
            now=self._now,
            fingerprint=fingerprint(c),
            response_role=c.response_role,
            stream_interval=c.stream_interval,
            # Else a step gives a sequence one, and what comes late comes as it would have come.
            together=c.steps and c.speculation is not None,
            tokens_as_ids=c.return_tokens_as_token_ids,
            prompt_tokens_details=c.enable_prompt_tokens_details,
            force_include_usage=c.enable_force_include_usage,
            ranks=self._ranks,
            tooling=Tooling(c.tool_call_parser, c.enable_auto_tool_choice, not c.skip_tool_validation),
            reasons=bool(c.reasoning_parser),
            multimodal=not c.language_model_only,
            encoder_only=c.mm_encoder_only,
            trusts_templates=c.trust_request_chat_template,
            wants_image=ImageEmission(c, self._images),
            remote=PrefillSource(
                {rank: engine_id(c, self._seed, rank) for rank in self._ranks},
                *side_channel(c, 0),
                block_size=c.block_size,
                tensor_parallel_size=max(1, c.tensor_parallel_size),
                patience=c.nixl_abort_request_timeout,
            ),
            block_size=c.block_size if c.caches_prefixes else None,
            most_prompts=c.max_completion_prompts,
            behaviour=behaviour,
        )


def habits(configuration: Configuration) -> Habits:
    """Make what answers are like where nobody says."""
    c = configuration
    return Habits(
        Ranges(
            integer_least=c.min_tool_call_integer_param,
            integer_most=c.max_tool_call_integer_param,
            number_least=c.min_tool_call_number_param,
            number_most=c.max_tool_call_number_param,
            array_least=c.min_tool_call_array_param_length,
            array_most=c.max_tool_call_array_param_length,
            optional_probability=c.tool_call_not_required_param_probability / 100,
            optional_field_probability=c.object_tool_call_not_required_field_probability / 100,
        ),
        extra_calls=c.tool_call_extra_call_probability / 100,
        reasoning_share=c.reasoning_share / 100 if c.reasoning_parser else 0.0,
    )
