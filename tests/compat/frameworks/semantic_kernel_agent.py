"""Semantic Kernel's OpenAIAssistantAgent."""

from __future__ import annotations

import asyncio

from openai import AsyncOpenAI
from semantic_kernel.agents import AssistantAgentThread, OpenAIAssistantAgent
from semantic_kernel.functions import kernel_function


class Weather:
    @kernel_function(description="The weather in a city")
    def get_weather(self, city: str) -> str:
        return f"21 C in {city}"


async def agent_with(client: AsyncOpenAI, model: str) -> OpenAIAssistantAgent:
    definition = await client.beta.assistants.create(model=model, name="Weather", instructions="Be brief.")
    return OpenAIAssistantAgent(client=client, definition=definition, plugins=[Weather()])


async def main() -> None:
    client = AsyncOpenAI()
    agent = await agent_with(client, "counts-messages")
    first = await agent.get_response("How warm is it?")
    assert str(first) == "1 asked, the last: How warm is it?"
    assert str(await agent.get_response("And tomorrow?", thread=first.thread)) == "2 asked, the last: And tomorrow?"
    await first.thread.delete()

    for model, answer in (
        ("calls-a-function", "I was told: 21 C in Lisbon"),
        ("calls-two-functions", "I was told: 21 C in Lisbon and 21 C in Porto"),
    ):
        agent = await agent_with(client, model)
        thread = AssistantAgentThread(client=client)
        assert str(await agent.get_response("How warm is it?", thread=thread)) == answer
        pieces = [str(piece) async for piece in agent.invoke_stream("And now?", thread=thread)]
        assert "".join(pieces) == answer


asyncio.run(main())
