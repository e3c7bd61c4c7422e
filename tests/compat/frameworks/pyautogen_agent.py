"""The GPTAssistantAgent of AutoGen 0.2."""

from __future__ import annotations

import os

from autogen import UserProxyAgent
from autogen.agentchat.contrib.gpt_assistant_agent import GPTAssistantAgent

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def get_weather(city: str) -> str:
    return f"21 C in {city}"


def ask(agent: GPTAssistantAgent, user: UserProxyAgent, question: str) -> str:
    user.initiate_chat(agent, message=question, max_turns=1, clear_history=False, silent=True)
    return str(user.last_message(agent)["content"]).strip()


def agent_with(model: str) -> GPTAssistantAgent:
    server = {"model": model, "base_url": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
    agent = GPTAssistantAgent(
        name=f"weather-{model}",
        instructions="Be brief.",
        llm_config={"config_list": [server]},
        assistant_config={"tools": [WEATHER]},
    )
    agent.register_function(function_map={"get_weather": get_weather})
    return agent


user = UserProxyAgent(name="user", human_input_mode="NEVER", code_execution_config=False)
agent = agent_with("counts-messages")
assert ask(agent, user, "How warm is it?") == "1 asked, the last: How warm is it?"
assert ask(agent, user, "And tomorrow?") == "2 asked, the last: And tomorrow?"
for model, answer in (
    ("calls-a-function", "I was told: 21 C in Lisbon"),
    ("calls-two-functions", "I was told: 21 C in Lisbon and 21 C in Porto"),
):
    assert ask(agent_with(model), user, "How warm is it?") == answer
