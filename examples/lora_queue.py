"""Ask for answers of several LoRA adapters at the same time, and see who is served when.

Start a server that runs one adapter at a time::

    make run ARGS="--max-num-seqs 2 --max-loras 1 --lora-load-time 500ms --time-to-first-token 300ms"

and then run this. Those of the adapter that is on the GPU come before the others, and those of the base model fill the
slots that are left.
"""

import argparse
import asyncio

import openai

ORDER = ("sql", "sql", "poet", "base", "poet", "sql", "base", "sql")


async def ask(client: openai.AsyncOpenAI, number: int, model: str | None) -> None:
    """Ask for a few words, and tell when they are there."""
    began = asyncio.get_running_loop().time()
    await client.completions.create(model=model or "", prompt="Hello", max_tokens=4)
    print(f"{asyncio.get_running_loop().time() - began:5.2f} s: request {number}, {model or 'the base model'}")


async def main(server: str) -> None:
    """Load two adapters, ask for all answers at once, and unload the adapters."""
    async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none") as client:
        for name in ("sql", "poet"):
            body = {"lora_name": name, "lora_path": f"/loras/{name}", "load_inplace": True}
            await client.post("/load_lora_adapter", body=body, cast_to=str)
        asked = [ask(client, number, None if name == "base" else name) for number, name in enumerate(ORDER)]
        await asyncio.gather(*asked)
        models = await client.models.list()
        print("models:", ", ".join(model.id for model in models.data))
        for name in ("sql", "poet"):
            await client.post("/unload_lora_adapter", body={"lora_name": name}, cast_to=str)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("server", nargs="?", default="http://localhost:8000")
    asyncio.run(main(parser.parse_args().server))
