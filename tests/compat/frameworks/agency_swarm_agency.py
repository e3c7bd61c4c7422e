"""Agency Swarm, whose agents talk to each other through threads of their own."""

from __future__ import annotations

from agency_swarm import Agency, Agent, BaseTool
from pydantic import Field


class GetWeather(BaseTool):
    """The weather in a city."""

    city: str = Field(..., description="Name of the city")

    def run(self) -> str:
        return f"21 C in {self.city}"


def agency_with(model: str) -> Agency:
    agent = Agent(name="Weather", description="Tells the weather", instructions="Be brief.", tools=[GetWeather], model=model)
    return Agency([agent], temperature=0.5)


agency = agency_with("counts-messages")
assert agency.get_completion("How warm is it?") == "1 asked, the last: How warm is it?"
assert agency.get_completion("And tomorrow?") == "2 asked, the last: And tomorrow?"
for model, answer in (
    ("calls-a-function", "I was told: 21 C in Lisbon"),
    ("calls-two-functions", "I was told: 21 C in Lisbon and 21 C in Porto"),
):
    assert agency_with(model).get_completion("How warm is it?") == answer
