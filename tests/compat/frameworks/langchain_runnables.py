"""LangChain's two runnables for this API: that of langchain-classic, and the newer one of langchain-community.

Not their asyncio side: it takes the awaited list of messages for the messages themselves, and fails with any server.
"""

from __future__ import annotations

from typing import Any

from langchain_classic.agents import AgentExecutor
from langchain_classic.agents.openai_assistant import OpenAIAssistantRunnable
from langchain_community.agents.openai_assistant import OpenAIAssistantV2Runnable
from langchain_core.tools import tool


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 C in {city}"


def a_plain_answer_and_a_second_turn(kind: Any) -> None:
    runnable = kind.create_assistant(name="Weather", instructions="Be brief.", tools=[], model="counts-messages", check_every_ms=50)
    (first,) = runnable.invoke({"content": "How warm is it?"})
    assert first.content[0].text.value == "1 asked, the last: How warm is it?"
    (second,) = runnable.invoke({"content": "And tomorrow?", "thread_id": first.thread_id})
    assert second.content[0].text.value == "2 asked, the last: And tomorrow?"


def a_function_called_by_an_agent(kind: Any, model: str, answer: str) -> None:
    agent = kind.create_assistant(
        name="Weather", instructions="Be brief.", tools=[get_weather], model=model, as_agent=True, check_every_ms=50
    )
    done = AgentExecutor(agent=agent, tools=[get_weather]).invoke({"content": "How warm is it in Lisbon?"})
    assert done["output"] == answer
    again = AgentExecutor(agent=agent, tools=[get_weather]).invoke({"content": "And now?", "thread_id": done["thread_id"]})
    assert again["output"] == answer


for kind in (OpenAIAssistantRunnable, OpenAIAssistantV2Runnable):
    a_plain_answer_and_a_second_turn(kind)
    a_function_called_by_an_agent(kind, "calls-a-function", "I was told: 21 C in Lisbon")
    a_function_called_by_an_agent(kind, "calls-two-functions", "I was told: 21 C in Lisbon and 21 C in Porto")
