"""Lists: every combination of limit, order and cursors cuts out the page that a plain list would give."""

from __future__ import annotations

import itertools

import orjson
import pytest

from oxillama import ids
from oxillama.errors import NotFound
from oxillama.lifecycle import threads
from oxillama.objects import step as step_object
from oxillama.objects.page import Page, PageQuery
from tests.builders import PROJECT, a_run, a_thread, an_assistant, answer, claimed, listed, open_store

COUNT = 6
LIMITS = (1, 2, 3, COUNT - 1, COUNT, COUNT + 1, 100)


def expected(known: list[str], gone: set[str], query: PageQuery) -> tuple[list[str], bool]:
    """The page by the rules of behaviour.md, section 10, in the plainest way.

    Args:
        known: all ids that ever were, oldest first.
        gone: those of them that are deleted.
        query: what is asked for.
    """
    order = known if query.order == "asc" else known[::-1]
    low = order.index(query.after) + 1 if query.after else 0
    high = order.index(query.before) if query.before else len(order)
    window = [one for one in order[low:high] if one not in gone]
    from_the_end = query.before and not query.after
    page = window[max(0, len(window) - query.limit) :] if from_the_end else window[: query.limit]
    return page, len(window) > len(page)


class Messages:
    noun = "message"

    def __init__(self, store):
        self.folder = a_thread(store, *"abcdef")
        self.ids = listed(self.page(PageQuery(order="asc")).items)

    def page(self, query):
        return self.folder.page_messages(query)

    def delete(self, object_id):
        threads.delete_message(self.folder, object_id)


class Runs:
    noun = "run"

    def __init__(self, store):
        self.folder = a_thread(store, "a")
        self.ids = []
        for _ in range(COUNT):
            run = a_run(store, self.folder)
            answer(claimed(store, run), "b")
            self.ids.append(run["id"])

    def page(self, query):
        return self.folder.page_runs(query)


class Steps:
    noun = "run step"

    def __init__(self, store):
        self.folder = a_thread(store, "a")
        self.run = a_run(store, self.folder)
        with self.folder.locked() as thread:
            steps = [step_object.tool_calls_step(self.run, ids.stamp_of(self.run["id"]) + number) for number in range(COUNT)]
            for step in steps[::-1]:
                thread.write_step(step)
        self.ids = [step["id"] for step in steps]

    def page(self, query):
        return self.folder.page_steps(self.run["id"], query)


class Assistants:
    noun = "assistant"

    def __init__(self, store):
        self.store = store
        made = [an_assistant(name=str(number)) for number in range(COUNT)]
        for stamp, assistant in enumerate(made):
            assistant["id"] = ids.new_id("assistant", 1_790_000_000_000_000 + stamp)
        for assistant in made[::-1]:
            store.assistants.insert(PROJECT, assistant)
        self.ids = [assistant["id"] for assistant in made]

    def page(self, query):
        return self.store.assistants.page(PROJECT, query)

    def delete(self, object_id):
        self.store.assistants.delete(PROJECT, object_id)


KINDS = [Messages, Runs, Steps, Assistants]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__.lower())
def things(request, tmp_path_factory):
    return request.param(open_store(tmp_path_factory.mktemp("lists")))


def every_query(known: list[str]):
    cursors = [None, *known]
    for limit, order, after, before in itertools.product(LIMITS, ("asc", "desc"), cursors, cursors):
        yield PageQuery(limit, order, after, before)


def assert_pages_are_right(things, gone: set[str]) -> None:
    for query in every_query(things.ids):
        page = things.page(query)
        assert (listed(page.items), page.has_more) == expected(things.ids, gone, query), query
        assert all(orjson.loads(item)["id"] == object_id for object_id, item in page.items)


def test_every_page_is_the_one_that_a_plain_list_would_give(things):
    assert_pages_are_right(things, gone=set())


def test_by_default_the_newest_20_come_first(things):
    assert listed(things.page(PageQuery()).items) == things.ids[::-1]
    assert PageQuery().limit == 20


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_walking_on_from_the_last_object_meets_each_once(things, order, limit):
    met, page = [], things.page(PageQuery(limit, order))
    while True:
        met += listed(page.items)
        if not page.has_more:
            break
        page = things.page(PageQuery(limit, order, after=met[-1]))
    assert met == (things.ids if order == "asc" else things.ids[::-1])


@pytest.mark.parametrize("kind", [Messages, Assistants], ids=["messages", "assistants"])
@pytest.mark.parametrize("gone", [{0}, {COUNT - 1}, {1, 2}, {0, 3, COUNT - 1}, set(range(COUNT))], ids=str)
def test_a_cursor_still_works_when_its_object_is_deleted(store, kind, gone):
    things = kind(store)
    deleted = {things.ids[number] for number in gone}
    for object_id in deleted:
        things.delete(object_id)
    assert_pages_are_right(things, deleted)


@pytest.mark.parametrize("cursor", ["after", "before"])
@pytest.mark.parametrize("kind", [Messages, Runs, Steps], ids=lambda kind: kind.__name__.lower())
def test_a_cursor_that_never_was_in_the_list_is_not_found(store, kind, cursor):
    """Not so for assistants: nothing tells one that was deleted from one that never was."""
    things = kind(store)
    between = ids.new_id(things.noun, ids.stamp_of(things.ids[2]))
    for unknown in (ids.new_id(things.noun, 1), between, ids.new_id(things.noun)):
        with pytest.raises(NotFound) as missing:
            things.page(PageQuery(**{cursor: unknown}))
        assert (missing.value.noun, missing.value.object_id) == (things.noun, unknown)


def test_a_cursor_of_the_originals_shape_that_never_was_is_not_found(things):
    unknown = {"run step": "step-5b0c7a90-4a39-4b0e-9d0b-3f0a3e1f2d11"}.get(things.noun, f"{ids.PREFIXES[things.noun]}_{'0' * 32}")
    with pytest.raises(NotFound):
        things.page(PageQuery(after=unknown))


def test_the_envelope():
    one, two = (b'{"id":"msg_1"}', b'{"id":"msg_2"}')
    page = Page([("msg_1", one), ("msg_2", two)], has_more=True)
    assert orjson.loads(page.wire_form()) == {
        "object": "list",
        "data": [{"id": "msg_1"}, {"id": "msg_2"}],
        "first_id": "msg_1",
        "last_id": "msg_2",
        "has_more": True,
    }
    assert orjson.loads(Page([], has_more=False).wire_form()) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_an_empty_list(store):
    folder = a_thread(store)
    for query in (PageQuery(), PageQuery(order="asc")):
        assert folder.page_messages(query) == folder.page_runs(query) == store.assistants.page(PROJECT, query) == Page([], has_more=False)


def test_the_messages_of_one_run(store):
    folder = a_thread(store, "a")
    runs = [a_run(store, folder) for _ in "x"]
    answer(claimed(store, runs[0]), "first")
    runs.append(a_run(store, folder))
    answer(claimed(store, runs[1]), "second")
    for run in runs:
        (only,) = folder.page_messages(PageQuery(), run["id"]).items
        assert orjson.loads(only[1])["run_id"] == run["id"]
        assert folder.page_messages(PageQuery(after=only[0]), run["id"]).items == []
    assert folder.page_messages(PageQuery(), ids.new_id("run")).items == []


def test_lists_of_what_does_not_exist_are_not_found(store):
    missing = store.thread(PROJECT, ids.new_id("thread"))
    for act, noun in (
        (lambda: missing.page_messages(PageQuery()), "thread"),
        (lambda: missing.page_runs(PageQuery()), "thread"),
        (lambda: missing.page_steps(ids.new_id("run"), PageQuery()), "thread"),
        (lambda: a_thread(store).page_steps(ids.new_id("run"), PageQuery()), "run"),
    ):
        with pytest.raises(NotFound) as error:
            act()
        assert error.value.noun == noun
