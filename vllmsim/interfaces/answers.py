# -*- test-case-name: tests.test_interfaces -*-
"""What answers say, and how long that takes."""

import random
from collections.abc import Awaitable, Mapping, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from vllmsim.inference import Composition, Conversation, Extent, TextPrompt, TokenizedPrompt, Tokens
from vllmsim.structure import Form


class ITokenizer(Interface):
    """Text to tokens and back."""

    eos_id = Attribute("int: the id of the end-of-sequence token.")
    eos_text = Attribute("str: how log probabilities show that token.")
    vocabulary_size = Attribute("int: every id is below it.")

    def read(prompt: TextPrompt | Conversation, limit: int) -> Awaitable[TokenizedPrompt]:
        """Make tokens of what a client sent, without letting the reactor wait for long texts.

        A conversation becomes one text by the chat template, which ends where the answer begins. Special tokens are
        put around a text where the prompt asks for them.

        :param limit: stop after so many tokens.
        :return: awaiting it raises :class:`vllmsim.errors.InvalidRequest` when the template refuses.
        """

    def encode(text: str, limit: int) -> Awaitable[Tokens]:
        """Cut a text that the model says into tokens, without letting the reactor wait for long ones.

        :param limit: stop after so many tokens.
        """

    def texts_of(ids: Sequence[int]) -> Sequence[str]:
        """Tell what each of some tokens adds to the text that they are together.

        :return: one text for each token. A character that is cut over several tokens belongs to the last of them. An
            id that means nothing says nothing.
        """

    def text_of(token: int) -> str | None:
        """Look up one token.

        :return: its text, or None when the id means nothing to this tokenizer.
        """

    def pieces_of(ids: Sequence[int]) -> Sequence[str]:
        """Spell some tokens as the vocabulary does, which may write blanks as something else.

        It may be called in any thread.
        """

    def decode(ids: Sequence[int]) -> Awaitable[str]:
        """Join tokens to text, without letting the reactor wait for many; ids that mean nothing give nothing."""

    def tag(text: str) -> Tokens:
        """Make tokens of a tag such as ``</think>``, or of a name.

        :return: the one token that the vocabulary has for it, or those that its text is cut into; at least one.
        """

    def describe() -> Mapping[str, object]:
        """Tell how the tokenizer was made.

        :return: what JSON can say: the arguments of its making, its ``chat_template`` in Jinja's language if it has
            one, and ``tokenizer_class``.
        """

    def close() -> Awaitable[None]:
        """Give back what was opened; nothing is asked of it any more."""


class IEmbedder(Interface):
    """Turns texts into vectors. Pure: equal texts give equal vectors, in every process and on every machine."""

    def embed(tokens: Sequence[str | int], dimensions: int) -> Deferred[Sequence[float]]:
        """Make the vector of a text, without letting the reactor wait for long ones.

        :param tokens: the texts of its tokens, or their ids; none for the empty text.
        :param dimensions: how many numbers the vector has, at least 1.
        :return: fires with the numbers, each a 32-bit float; the root of the sum of their squares is 1. Texts that
            share words have a larger cosine than texts that do not.
        """

    def compare(tokens: Sequence[str | int], others: Sequence[Sequence[str | int]]) -> Deferred[Sequence[float]]:
        """Compare a text with others.

        :return: fires with a number from 0 to 1 for each: what the cosine of their vectors tends to as the dimensions
            become many.
        """


class IResponseSource(Interface):
    """Decides what an answer says."""

    def respond(prompt: TokenizedPrompt, model: str, extent: Extent, generator: random.Random) -> Awaitable[Tokens]:
        """Compose one choice.

        :param model: the name that the answer carries: the first served name, or an adapter's.
        :param extent: how long it may be.
        :param generator: the choice's own randomness; equal states give equal answers.
        :return: gives the tokens, as many as `extent` allows; fewer than the most mean that the model ends here by
            itself.
        """


class IComposer(Interface):
    """Decides what an answer is made of: reasoning, text, calls of tools."""

    def compose(
        prompt: TokenizedPrompt, model: str, form: Form, extent: Extent, generator: random.Random
    ) -> Awaitable[Composition]:
        """Compose one choice; the arguments are those of :meth:`IResponseSource.respond`.

        :return: gives the whole answer. Fewer than the most tokens mean that the model ends here by itself; more,
            that the limit cuts it.
        :raises vllmsim.errors.InvalidRequest: when it is awaited, if nothing can have the form.
        """

    def speaking(tokenizer: ITokenizer) -> "IComposer":
        """Find one like this that says everything in other tokens."""


class ILatencyModel(Interface):
    """How long the model takes. Pure: equal arguments and generator states give equal times."""

    instant = Attribute("bool: whether every inter-token latency is zero.")

    def time_to_first_token(
        prompt_tokens: int, cached_tokens: int, remote: bool, running: int, generator: random.Random
    ) -> float:
        """Draw the prefill's duration.

        :param remote: whether another server ran the prefill, so that its KV blocks are fetched instead.
        :param running: sequences in slots now, this one included.
        :return: seconds, at least 0.
        """

    def inter_token_latency(running: int, generator: random.Random) -> float:
        """Draw the gap before the next token.

        :return: seconds, at least 0.
        """

    def image_latency(generator: random.Random) -> float:
        """Draw the time that an image takes after the text.

        :return: seconds, at least 0.
        """
