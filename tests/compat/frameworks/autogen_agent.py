"""AutoGen's OpenAIAssistantAgent."""

from __future__ import annotations

import asyncio

from autogen_agentchat.messages import TextMessage
from autogen_core import CancellationToken
from autogen_ext.agents.openai import OpenAIAssistantAgent
from openai import AsyncOpenAI


async def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 C in {city}"


def agent_with(model: str) -> OpenAIAssistantAgent:
    return OpenAIAssistantAgent(
        name="weather", description="Tells the weather", client=AsyncOpenAI(), model=model, instructions="Be brief.", tools=[get_weather]
    )


async def ask(agent: OpenAIAssistantAgent, question: str) -> str:
    answer = await agent.on_messages([TextMessage(content=question, source="user")], CancellationToken())
    return answer.chat_message.content


async def main() -> None:
    agent = agent_with("counts-messages")
    assert await ask(agent, "How warm is it?") == "1 asked, the last: How warm is it?"
    assert await ask(agent, "And tomorrow?") == "2 asked, the last: And tomorrow?"
    await agent.on_reset(CancellationToken())
    assert await ask(agent, "Hello?") == "1 asked, the last: Hello?"
    await agent.delete_assistant(CancellationToken())

    assert await ask(agent_with("calls-a-function"), "How warm is it?") == "I was told: 21 C in Lisbon"
    assert await ask(agent_with("calls-two-functions"), "How warm is it?") == "I was told: 21 C in Lisbon and 21 C in Porto"


asyncio.run(main())
