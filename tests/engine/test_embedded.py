"""The embedded engine as a process of its own, with the model that comes along."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from raw_engine import reserved

from oxillama import settings
from oxillama.engine.chat_completions import ChatCompletionsEngine, connect
from oxillama.engine.interface import ChatRequest, Engine, Finished, TextDelta
from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineUnavailable, PromptTooLong

WORD = "xylophonist"
STORY = [{"role": "user", "content": f"Tell a very long story about a {WORD}."}]


def free_port() -> int:
    with reserved() as probe:
        return int(probe.getsockname()[1])


def environment(port: int, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OXILLAMA_")}
    ours = {"OXILLAMA_EMBEDDED_PORT": str(port), "OXILLAMA_CONTEXT_TOKENS": "512", "OXILLAMA_RUN_CONCURRENCY": "2"}
    return {**kept, **ours, "OXILLAMA_ENGINE_API_KEY": "a-key-of-the-engine", **more}


def launch(env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen([sys.executable, "-m", "oxillama.engine.embedded"], env=env, stdout=output, stderr=subprocess.STDOUT)


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    settings: settings.Settings


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    port, log = free_port(), tmp_path_factory.mktemp("embedded") / "log"
    env = environment(port)
    process = launch(env, log)
    try:
        yield Running(process, port, log, settings.read(env))
    finally:
        process.kill()
        process.wait()


def with_engine(running: Running) -> Engine:
    return connect(running.settings)


def test_it_answers_while_it_is_still_loading(running: Running) -> None:
    async def run() -> None:
        engine = with_engine(running)
        async with aclosing(engine.stream(ChatRequest("gpt-4o", STORY, temperature=0.1, max_tokens=12))) as stream:
            deltas = [delta async for delta in stream]
        await engine.close()
        assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        assert isinstance(deltas[-1], Finished)
        assert deltas[-1].reason == "length"
        assert deltas[-1].usage is not None
        assert deltas[-1].usage.completion_tokens == 12

    asyncio.run(run())


def test_it_knows_its_tokens(running: Running) -> None:
    async def run() -> None:
        engine = with_engine(running)
        assert await engine.context_tokens("m") == 512
        assert await engine.count_tokens("hello world foo") == 3
        await engine.close()

    asyncio.run(run())


def test_a_prompt_that_is_too_long(running: Running) -> None:
    async def run() -> None:
        engine = with_engine(running)
        with pytest.raises(PromptTooLong) as raised:
            async with aclosing(engine.stream(ChatRequest("m", [{"role": "user", "content": f"{WORD} " * 600}]))) as stream:
                await anext(stream)
        await engine.close()
        assert raised.value.context_tokens == 512
        assert (raised.value.prompt_tokens or 0) > 512

    asyncio.run(run())


def test_its_model_has_a_name_and_no_path(running: Running) -> None:
    async def run() -> object:
        engine = ChatCompletionsEngine(EngineEndpoint.of(running.settings), wait_seconds=60)
        try:
            return await engine._question("GET", "/models", None)
        finally:
            await engine.close()

    answer = json.dumps(asyncio.run(run()))
    assert "SmolLM2-135M-Instruct.Q4_1" in answer
    assert "/" not in answer.replace("v1/", "")


def test_it_listens_on_loopback_only(running: Running) -> None:
    asyncio.run(_ready(running))
    wanted = f"{running.port:04X}"
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    assert {line[1] for line in lines if line[3] == "0A" and line[1].endswith(f":{wanted}")} == {f"0100007F:{wanted}"}


def test_nothing_anyone_said_is_logged(running: Running) -> None:
    asyncio.run(_ready(running))
    log = running.log.read_text()
    assert "serves SmolLM2" in log
    assert WORD not in log


def test_it_ends_at_once_in_the_middle_of_an_answer_and_starts_again_on_its_port(tmp_path: Path) -> None:
    port = free_port()
    env = environment(port)

    async def until_signalled(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        engine = connect(settings.read(env))
        with pytest.raises(Exception, match="broke off"):
            async with aclosing(engine.stream(ChatRequest("m", STORY))) as stream:
                await anext(stream)
                process.send_signal(number)
                async for _ in stream:
                    pass
        await engine.close()

    for number in (signal.SIGTERM, signal.SIGINT):
        process = launch(env, tmp_path / "log")
        try:
            asyncio.run(until_signalled(process, number))
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "env = dict(os.environ, OXILLAMA_PARENT_PID=str(os.getpid()))\n"
        "print(subprocess.Popen([sys.executable, '-m', 'oxillama.engine.embedded'], env=env).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    env = environment(free_port())
    with (tmp_path / "log").open("wb") as log:
        parent = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=log)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        asyncio.run(_ready_at(env))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    until = time.monotonic() + 15
    while _alive(child) and time.monotonic() < until:
        time.sleep(0.02)
    alive = _alive(child)
    if alive:
        os.kill(child, signal.SIGKILL)
    assert not alive


def test_it_ends_when_its_parent_was_dead_before_it_began(tmp_path: Path) -> None:
    process = launch(environment(free_port(), OXILLAMA_PARENT_PID="1"), tmp_path / "log")
    try:
        assert process.wait(60) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("case", ["missing file", "not a model", "port taken", "no port", "bad setting"])
def test_it_says_in_one_line_why_it_cannot_start(case: str, tmp_path: Path) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("not a model")
    with reserved() as taken:
        taken.listen()
        port = int(taken.getsockname()[1]) if case == "port taken" else free_port()
        changes = {
            "missing file": {"OXILLAMA_MODEL_PATH": str(tmp_path / "none.gguf")},
            "not a model": {"OXILLAMA_MODEL_PATH": str(text)},
            "port taken": {},
            "no port": {"OXILLAMA_EMBEDDED_PORT": ""},
            "bad setting": {"OXILLAMA_CONTEXT_TOKENS": "few"},
        }[case]
        env = environment(port, **changes)
        done = subprocess.run([sys.executable, "-m", "oxillama.engine.embedded"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("The embedded engine cannot start: ")


async def _ready(running: Running) -> None:
    engine = with_engine(running)
    assert await engine.context_tokens("m") == 512
    await engine.close()


async def _ready_at(env: dict[str, str]) -> None:
    engine = connect(settings.read(env))
    if await engine.context_tokens("m") is None:
        raise EngineUnavailable("the engine under test did not come up")
    await engine.close()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
