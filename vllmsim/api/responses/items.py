# -*- test-case-name: tests.api.responses.test_answer -*-
"""Items of a response's output, as vLLM 0.33 writes them: ``reasoning``, ``message`` and ``function_call``."""

from typing import Any

from attrs import frozen

from vllmsim.inference import Part


@frozen(eq=False)
class OutputItem:
    """One item of an answer.

    :param index: its place in the output.
    :param number: the place in the answer of the part that it shows.
    :param part: that part.
    :param call_id: for a call, the id that its result will name.
    :param complete: whether nothing of it was cut off.
    """

    index: int
    number: int
    id: str
    part: Part
    call_id: str
    complete: bool

    @property
    def status(self) -> str:
        """How it came to its end."""
        return "completed" if self.complete else "incomplete"

    def shown(self, text: str | None, status: str | None, logprobs: Any = None) -> dict[str, Any]:
        """Write the item.

        :param text: what it says; None at its beginning.
        :param logprobs: for a message, the log probabilities of its tokens.
        """
        if self.part.kind == "call":
            return {
                "arguments": text or "",
                "call_id": self.call_id,
                "name": self.part.name,
                "type": "function_call",
                "id": self.id,
                "async": None,
                "caller": None,
                "namespace": None,
                "status": status,
            }
        content = None if text is None else [self.content(text, logprobs)]
        if self.part.kind == "reasoning":
            return {
                "id": self.id,
                "summary": [],
                "type": "reasoning",
                "content": content,
                "encrypted_content": None,
                "status": status,
            }
        return {
            "id": self.id,
            "content": content or [],
            "role": "assistant",
            "status": status,
            "type": "message",
            "phase": None,
        }

    def content(self, text: str, logprobs: Any = None) -> dict[str, Any]:
        """Write what the item says."""
        if self.part.kind == "reasoning":
            return {"text": text, "type": "reasoning_text"}
        return {"annotations": [], "text": text, "type": "output_text", "logprobs": logprobs}

    @property
    def logged(self) -> range:
        """The tokens that its log probabilities are of: the ending one belongs to the text before it."""
        return range(self.part.first, self.part.stop)
