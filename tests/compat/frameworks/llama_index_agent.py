"""LlamaIndex's OpenAIAssistantAgent."""

from __future__ import annotations

import asyncio

from llama_index.agent.openai import OpenAIAssistantAgent
from llama_index.core.tools import FunctionTool


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 C in {city}"


def agent_with(model: str) -> OpenAIAssistantAgent:
    return OpenAIAssistantAgent.from_new(
        name="Weather",
        instructions="Be brief.",
        tools=[FunctionTool.from_defaults(get_weather)],
        model=model,
        run_retrieve_sleep_time=0.05,
    )


def a_plain_answer_and_a_second_turn() -> None:
    agent = agent_with("counts-messages")
    assert agent.chat("How warm is it?").response == "1 asked, the last: How warm is it?"
    assert agent.chat("And tomorrow?").response == "2 asked, the last: And tomorrow?"
    assert [str(message.role.value) for message in agent.chat_history] == ["user", "assistant", "user", "assistant"]
    agent.reset()
    assert agent.chat("Hello?").response == "1 asked, the last: Hello?"


def a_function_is_called() -> None:
    for model, answer in (
        ("calls-a-function", "I was told: 21 C in Lisbon"),
        ("calls-two-functions", "I was told: 21 C in Lisbon and 21 C in Porto"),
    ):
        assert agent_with(model).chat("How warm is it?").response == answer


async def the_same_with_asyncio() -> None:
    assert (await agent_with("calls-a-function").achat("How warm is it?")).response == "I was told: 21 C in Lisbon"


a_plain_answer_and_a_second_turn()
a_function_is_called()
asyncio.run(the_same_with_asyncio())
