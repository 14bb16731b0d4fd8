"""Search a few sentences with the official OpenAI SDK (pip install openai) on a server on this machine: make run.

Vectors of texts that share words are close to each other; there is no more meaning in them than that.
"""

import sys

from openai import OpenAI

SENTENCES = (
    "The first token comes after the prefill of the prompt.",
    "A cat sat on the mat and looked at the dog.",
    "Each further token of an answer comes after a gap.",
    "Revenue rose in the third quarter.",
)


def main(question: str = "When does the first token come?", address: str = "http://127.0.0.1:8000/v1") -> None:
    """Print the sentences, the closest to the question first."""
    client = OpenAI(base_url=address, api_key="none")
    model = client.models.list().data[0].id
    answer = client.embeddings.create(model=model, input=[question, *SENTENCES])
    asked, *others = (entry.embedding for entry in answer.data)
    cosines = [sum(a * b for a, b in zip(asked, other, strict=True)) for other in others]
    for cosine, sentence in sorted(zip(cosines, SENTENCES, strict=True), reverse=True):
        print(f"{cosine:5.2f}  {sentence}")
    print(f"{answer.usage.prompt_tokens} tokens, {len(asked)} dimensions")


if __name__ == "__main__":
    main(*sys.argv[1:])
