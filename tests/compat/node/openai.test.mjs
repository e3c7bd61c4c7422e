// openai for Node: every method, every helper and every event of its streams. The models are those of answering_engine.py.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import OpenAI from 'openai';
import { AssistantStream } from 'openai/lib/AssistantStream';

import { called, offered } from './recorded_calls.mjs';

const client = new OpenAI({ maxRetries: 0 });
const { assistants, threads } = client.beta;
const { messages, runs } = threads;

const WEATHER = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather in a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};
const ASKED = { messages: [{ role: 'user', content: 'How warm is it in Lisbon?' }] };
const EVENTS = [
  'run',
  'messageCreated',
  'messageDelta',
  'messageDone',
  'runStepCreated',
  'runStepDelta',
  'runStepDone',
  'toolCallCreated',
  'toolCallDelta',
  'toolCallDone',
  'textCreated',
  'textDelta',
  'textDone',
  'imageFileDone',
  'event',
  'connect',
  'error',
  'abort',
  'end',
];
// Images that a model made come from the code interpreter, which is not executed here.
const NEVER_FIRED = ['imageFileDone'];

const assistantThat = (model) => assistants.create({ model, tools: [WEATHER], name: 'Weather' });
const newThread = () => threads.create(ASKED);
const textOf = (message) => message.content.map((part) => part.text.value).join('');
const outputs = (run, ...texts) =>
  run.required_action.submit_tool_outputs.tool_calls.map((call, index) => ({ tool_call_id: call.id, output: texts[index] }));

async function all(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

/** Every event that the stream fires from now on, as [name, ...arguments]. */
function noted(stream) {
  const fired = [];
  for (const name of EVENTS) stream.on(name, (...parameters) => fired.push([name, ...structuredClone(parameters)]));
  return fired;
}

const namesIn = (fired) => new Set(fired.map(([name]) => name));

test('the life of an assistant', async () => {
  const made = await assistants.create({ model: 'answers', name: 'Weather', tools: [WEATHER], metadata: { team: 'travel' } });
  assert.deepEqual(await assistants.retrieve(made.id), made);
  assert.equal((await assistants.update(made.id, { name: 'Climate' })).name, 'Climate');
  const more = [];
  for (let number = 0; number < 4; number++) more.push((await assistants.create({ model: 'answers' })).id);
  assert.deepEqual((await all(assistants.list({ limit: 2, order: 'asc', after: made.id }))).map((one) => one.id), more);
  const page = await assistants.list({ limit: 3 });
  assert.deepEqual(page.data.map((one) => one.id), [more[3], more[2], more[1]]);
  assert.ok(page.hasNextPage());
  assert.deepEqual((await page.getNextPage()).data.slice(0, 2).map((one) => one.id), [more[0], made.id]);
  assert.deepEqual(await assistants.delete(made.id), { id: made.id, object: 'assistant.deleted', deleted: true });
  await assert.rejects(assistants.retrieve(made.id), OpenAI.NotFoundError);
});

test('the life of a thread and its messages', async () => {
  const thread = await threads.create();
  assert.deepEqual(await threads.retrieve(thread.id), thread);
  assert.deepEqual((await threads.update(thread.id, { metadata: { a: 'b' } })).metadata, { a: 'b' });
  const made = [];
  for (const content of ['First', 'Second', 'Third']) made.push(await messages.create(thread.id, { role: 'user', content }));
  assert.deepEqual(await messages.retrieve(made[0].id, { thread_id: thread.id }), made[0]);
  assert.deepEqual((await messages.update(made[0].id, { thread_id: thread.id, metadata: { n: '1' } })).metadata, { n: '1' });
  assert.deepEqual((await all(messages.list(thread.id, { limit: 2 }))).map(textOf), ['Third', 'Second', 'First']);
  assert.ok((await messages.delete(made[2].id, { thread_id: thread.id })).deleted);
  assert.deepEqual((await all(messages.list(thread.id, { order: 'asc' }))).map(textOf), ['First', 'Second']);
  assert.ok((await threads.delete(thread.id)).deleted);
});

test('a run created and polled step by step', async () => {
  const thread = await newThread();
  const created = await runs.create(thread.id, { assistant_id: (await assistantThat('answers')).id });
  const done = await runs.poll(created.id, { thread_id: thread.id });
  assert.deepEqual([created.status, done.status], ['queued', 'completed']);
  assert.deepEqual(await runs.retrieve(created.id, { thread_id: thread.id }), done);
  assert.deepEqual((await runs.update(created.id, { thread_id: thread.id, metadata: { a: 'b' } })).metadata, { a: 'b' });
  assert.deepEqual((await all(runs.list(thread.id))).map((run) => run.id), [created.id]);
  const [step] = await all(runs.steps.list(created.id, { thread_id: thread.id }));
  assert.deepEqual(await runs.steps.retrieve(step.id, { thread_id: thread.id, run_id: created.id }), step);
});

test('a second turn remembers the first', async () => {
  const thread = await newThread();
  const helper = await assistantThat('counts-messages');
  for (const answer of ['1 asked, the last: How warm is it in Lisbon?', '2 asked, the last: And tomorrow?']) {
    assert.equal((await runs.createAndPoll(thread.id, { assistant_id: helper.id })).status, 'completed');
    assert.equal(textOf((await messages.list(thread.id)).data[0]), answer);
    await messages.create(thread.id, { role: 'user', content: 'And tomorrow?' });
  }
});

test('functions are called with polling', async () => {
  const helper = await assistantThat('calls-two-functions');
  const run = await threads.createAndRunPoll({ assistant_id: helper.id, thread: ASKED });
  assert.equal(run.status, 'requires_action');
  const done = await runs.submitToolOutputsAndPoll(run.id, { thread_id: run.thread_id, tool_outputs: outputs(run, '21 C', '17 C') });
  assert.equal(done.status, 'completed');
  assert.equal(textOf((await messages.list(run.thread_id)).data[0]), 'I was told: 21 C and 17 C');

  const begun = await threads.createAndRun({ assistant_id: helper.id, thread: ASKED });
  const again = await runs.poll(begun.id, { thread_id: begun.thread_id });
  const queued = await runs.submitToolOutputs(again.id, { thread_id: again.thread_id, tool_outputs: outputs(again, '1', '2') });
  assert.equal(queued.status, 'queued');
});

test('plain streams carry the documented events in order', async () => {
  const helper = await assistantThat('calls-a-function');
  const events = await all(await threads.createAndRun({ assistant_id: helper.id, thread: ASKED, stream: true }));
  assert.deepEqual([events[0].event, events.at(-1).event], ['thread.created', 'thread.run.requires_action']);
  const run = events.at(-1).data;
  const tool_outputs = outputs(run, '21 C');
  const more = await all(await runs.submitToolOutputs(run.id, { thread_id: run.thread_id, tool_outputs, stream: true }));
  assert.deepEqual(more.slice(0, 2).map((event) => event.event), ['thread.run.step.completed', 'thread.run.queued']);
  assert.equal(more.at(-1).event, 'thread.run.completed');
  for await (const event of await runs.create(run.thread_id, { assistant_id: helper.id, model: 'answers', stream: true })) {
    if (event.event === 'thread.message.delta') {
      assert.equal(event.data.delta.content[0].text.value, 'It is ');
      break;
    }
  }
});

test('every event of an AssistantStream fires', async () => {
  // But for images, which only the code interpreter makes.
  const thread = await newThread();
  const calling = runs.stream(thread.id, { assistant_id: (await assistantThat('calls-two-functions')).id });
  const firedCalling = noted(calling);
  const run = await calling.finalRun();
  assert.equal(run.status, 'requires_action');
  const cities = firedCalling.filter(([name]) => name === 'toolCallDone').map(([, call]) => JSON.parse(call.function.arguments).city);
  assert.deepEqual(cities, ['Lisbon', 'Porto']);

  const answering = runs.submitToolOutputsStream(run.id, { thread_id: thread.id, tool_outputs: outputs(run, '21 C', '17 C') });
  const firedAnswering = noted(answering);
  assert.equal((await answering.finalRun()).status, 'completed');
  assert.deepEqual((await answering.finalMessages()).map(textOf), ['I was told: 21 C and 17 C']);
  const steps = await answering.finalRunSteps();
  assert.deepEqual(steps.map((step) => [step.type, step.status]), [['tool_calls', 'completed'], ['message_creation', 'completed']]);
  const texts = firedAnswering.filter(([name]) => name === 'textDelta').map(([, delta]) => delta.value);
  assert.equal(texts.join(''), 'I was told: 21 C and 17 C');

  const stuck = threads.createAndRunStream({ assistant_id: (await assistantThat('never-finishes')).id, thread: ASKED });
  const firedStuck = noted(stuck);
  stuck.on('textDelta', (delta) => delta.value === 'warm ' && stuck.abort());
  await assert.rejects(stuck.done(), OpenAI.APIUserAbortError);
  assert.ok(stuck.aborted && stuck.ended);
  const left = firedStuck.find(([name, event]) => name === 'event' && event.event === 'thread.run.created')[1].data;
  assert.equal((await runs.retrieve(left.id, { thread_id: left.thread_id })).status, 'in_progress');
  assert.equal((await runs.cancel(left.id, { thread_id: left.thread_id })).status, 'cancelling');
  assert.equal((await runs.poll(left.id, { thread_id: left.thread_id })).status, 'cancelled');

  const refused = runs.stream('thread_doesnotexist', { assistant_id: 'asst_doesnotexist' });
  const firedRefused = noted(refused);
  await assert.rejects(refused.finalRun(), OpenAI.NotFoundError);

  const fired = new Set([firedCalling, firedAnswering, firedStuck, firedRefused].flatMap((one) => [...namesIn(one)]));
  assert.deepEqual(EVENTS.filter((name) => !fired.has(name)), NEVER_FIRED);
});

test('the helpers of a stream', async () => {
  const thread = await newThread();
  const helper = await assistantThat('answers');
  const stream = runs.stream(thread.id, { assistant_id: helper.id });
  const connected = stream.emitted('connect');
  const firstText = stream.emitted('textCreated');
  let once = 0;
  const never = () => assert.fail('was taken off');
  stream.once('textDelta', () => once++);
  stream.on('textDelta', never).off('textDelta', never);
  const deltas = all(stream.events('textDelta'));
  const seen = [];
  stream.on('textDelta', () => {
    assert.equal(stream.currentEvent().event, 'thread.message.delta');
    seen.push([stream.currentRun().status, stream.currentRunStepSnapshot().type, textOf(stream.currentMessageSnapshot())]);
  });
  await stream.done();
  await connected;
  assert.ok((await firstText).value !== undefined);
  assert.equal(once, 1);
  // The SDK goes on to write the whole text into the first delta, so only the later ones are still what came.
  assert.deepEqual((await deltas).slice(1).map(([delta]) => delta.value), ['warm ', 'in Lisbon.']);
  const texts = ['It is ', 'It is warm ', 'It is warm in Lisbon.'];
  assert.deepEqual(seen, texts.map((text) => ['in_progress', 'message_creation', text]));

  const events = await all(runs.createAndStream(thread.id, { assistant_id: helper.id }));
  assert.deepEqual([events[0].event, events.at(-1).event], ['thread.run.created', 'thread.run.completed']);
});

test('a stream handed on to a browser', async () => {
  const stream = threads.createAndRunStream({ assistant_id: (await assistantThat('answers')).id, thread: ASKED });
  const restored = AssistantStream.fromReadableStream(stream.toReadableStream());
  assert.equal((await restored.finalRun()).status, 'completed');
  assert.deepEqual((await restored.finalMessages()).map(textOf), ['It is warm in Lisbon.']);
});

test('a run cancelled in the middle of its stream', async () => {
  const thread = await newThread();
  const stream = runs.stream(thread.id, { assistant_id: (await assistantThat('never-finishes')).id });
  stream.on('textDelta', (delta) => delta.value === 'warm ' && runs.cancel(stream.currentRun().id, { thread_id: thread.id }));
  assert.equal((await stream.finalRun()).status, 'cancelled');
  const [message] = await stream.finalMessages();
  assert.deepEqual([message.status, message.incomplete_details.reason, textOf(message)], ['incomplete', 'run_cancelled', 'It is warm ']);
  const [step] = await stream.finalRunSteps();
  assert.equal(step.status, 'cancelled');
});

test('runs that end badly', async () => {
  const thread = await newThread();
  const cut = await runs.createAndPoll(thread.id, { assistant_id: (await assistantThat('runs-out-of-tokens')).id });
  assert.deepEqual([cut.status, cut.incomplete_details.reason], ['incomplete', 'max_completion_tokens']);
  const failed = await runs.stream(thread.id, { assistant_id: (await assistantThat('breaks-down')).id }).finalRun();
  assert.deepEqual([failed.status, failed.last_error.code], ['failed', 'server_error']);
});

test('errors have their class, code and parameter', async () => {
  await assert.rejects(threads.create({ metadata: { modified: true } }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.deepEqual([error.status, error.code, error.param], [400, 'invalid_type', 'metadata.modified']);
    assert.equal(error.type, 'invalid_request_error');
    assert.match(error.requestID, /^req_/);
    return true;
  });
  await assert.rejects(new OpenAI({ apiKey: 'wrong-key' }).beta.assistants.list(), OpenAI.AuthenticationError);
  const run = await threads.createAndRunPoll({ assistant_id: (await assistantThat('calls-a-function')).id, thread: ASKED });
  await assert.rejects(messages.create(run.thread_id, { role: 'user', content: 'Too early' }), {
    message: `400 Can't add messages to ${run.thread_id} while a run ${run.id} is active.`,
  });
});

test('every event of a plain answer, and of one that is cut off', async () => {
  const begin = [
    ...['thread.run.created', 'thread.run.queued', 'thread.run.in_progress', 'thread.run.step.created', 'thread.run.step.in_progress'],
    ...['thread.message.created', 'thread.message.in_progress', 'thread.message.delta', 'thread.message.delta'],
  ];
  const thread = await newThread();
  const events = async (model) => all(await runs.create(thread.id, { assistant_id: (await assistantThat(model)).id, stream: true }));
  const ending = ['thread.message.delta', 'thread.message.completed', 'thread.run.step.completed', 'thread.run.completed'];
  assert.deepEqual((await events('answers')).map(({ event }) => event), [...begin, ...ending]);
  const cut = await events('runs-out-of-tokens');
  const incomplete = ['thread.message.incomplete', 'thread.run.step.completed', 'thread.run.incomplete'];
  assert.deepEqual(cut.map(({ event }) => event), [...begin, ...incomplete]);
  assert.deepEqual([cut.at(-3).data.status, cut.at(-3).data.incomplete_details.reason], ['incomplete', 'max_tokens']);
  assert.equal(cut.at(-1).data.incomplete_details.reason, 'max_completion_tokens');
});

test('pieces of arguments make up what is asked for', async () => {
  const helper = await assistantThat('calls-two-functions');
  const joined = [];
  const events = await all(await threads.createAndRun({ assistant_id: helper.id, thread: ASKED, stream: true }));
  for (const { event, data } of events) {
    if (event !== 'thread.run.step.delta') continue;
    for (const call of data.delta.step_details.tool_calls) joined[call.index] = (joined[call.index] ?? '') + call.function.arguments;
  }
  const calls = events.at(-1).data.required_action.submit_tool_outputs.tool_calls;
  assert.deepEqual(joined, calls.map((call) => call.function.arguments));
  assert.deepEqual(joined.map((text) => JSON.parse(text)), [{ city: 'Lisbon' }, { city: 'Porto' }]);
});

test('polling waits as long as the server says', async () => {
  const asked = [];
  const noting = async (url, init) => {
    const begun = performance.now();
    const response = await fetch(url, init);
    asked.push({ begun, answered: performance.now(), after: Number(response.headers.get('openai-poll-after-ms')) });
    return response;
  };
  const helper = await assistantThat('never-finishes');
  const run = await threads.createAndRun({ assistant_id: helper.id, thread: ASKED });
  const polling = new OpenAI({ maxRetries: 0, fetch: noting }).beta.threads.runs.poll(run.id, { thread_id: run.thread_id });
  while (asked.length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
  await runs.cancel(run.id, { thread_id: run.thread_id });
  assert.equal((await polling).status, 'cancelled');
  const [first, second] = asked;
  assert.ok(first.after > 0);
  // Left alone, the SDK waits five seconds. A timer may be a little early.
  assert.ok(second.begun - first.answered > first.after - 10);
  assert.ok(second.begun - first.answered < first.after + 2000);
});

test('after a cancel the thread takes messages', async () => {
  const run = await threads.createAndRun({ assistant_id: (await assistantThat('says-nothing')).id, thread: ASKED });
  assert.equal((await runs.cancel(run.id, { thread_id: run.thread_id })).status, 'cancelling');
  assert.equal((await runs.poll(run.id, { thread_id: run.thread_id })).status, 'cancelled');
  assert.equal((await messages.create(run.thread_id, { role: 'user', content: 'Again' })).status, 'completed');
});

test('messages as they come back', async () => {
  const thread = await newThread();
  const said = await messages.create(thread.id, { role: 'user', content: 'Hi' });
  assert.deepEqual(said.content, [{ type: 'text', text: { value: 'Hi', annotations: [] } }]);
  const content = [{ type: 'image_url', image_url: { url: 'https://example.com/street.png' } }];
  const shown = await messages.create(thread.id, { role: 'assistant', content });
  assert.equal(shown.content[0].image_url.detail, 'auto');
  assert.deepEqual([shown.role, shown.assistant_id, shown.run_id], ['assistant', null, null]);
});

test('lists by default, and an empty one', async () => {
  const { id } = await threads.create();
  const empty = await runs.list(id).asResponse();
  assert.deepEqual(await empty.json(), { object: 'list', data: [], first_id: null, last_id: null, has_more: false });
  const made = [];
  for (let number = 0; number < 21; number++) made.unshift((await messages.create(id, { role: 'user', content: `${number}` })).id);
  const { data, first_id, last_id, has_more } = await (await messages.list(id).asResponse()).json();
  assert.deepEqual(data.map((message) => message.id), made.slice(0, 20));
  assert.deepEqual([first_id, last_id, has_more], [made[0], made[19], true]);
  assert.deepEqual((await all(messages.list(id, { limit: 2 }))).map((message) => message.id), made);
});

const PAIRS = Object.fromEntries(Array.from({ length: 17 }, (_, number) => [`key${number}`, 'value']));
for (const [what, refused, code, param, text] of [
  ['metadata of seventeen pairs', () => threads.create({ metadata: PAIRS }), 'object_above_max_properties', 'metadata', /at most 16 properties/],
  ['an unknown parameter', () => threads.create({ colour: 'blue' }), 'unknown_parameter', 'colour', /Unknown parameter: 'colour'\./],
  ['a run of no assistant', () => threads.createAndRun({}), 'missing_required_parameter', 'assistant_id', /Missing required parameter/],
  ['an id of something else', () => threads.retrieve('undefined'), 'invalid_value', 'thread_id', /Expected an ID that begins with 'thread'\./],
  ['a page that is too large', () => assistants.list({ limit: 101 }), 'integer_above_max_value', 'limit', /Expected a value <= 100/],
  ['another version', () => threads.create({}, { headers: { 'OpenAI-Beta': 'assistants=v1' } }), 'invalid_beta', null, /'OpenAI-Beta' header/],
]) {
  test(`refused: ${what}`, async () => {
    await assert.rejects(refused(), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.deepEqual([error.code, error.param, error.type], [code, param, 'invalid_request_error']);
      assert.match(error.message, text);
      assert.match(error.requestID, /^req_/);
      return true;
    });
  });
}

test('the HTTP answer around what a method returns', async () => {
  const { data, response, request_id } = await threads.create().withResponse();
  assert.equal(data.object, 'thread');
  assert.equal(response.headers.get('x-request-id'), request_id);
  const streamed = await threads.createAndRun({ assistant_id: (await assistantThat('answers')).id, thread: ASKED, stream: true }).asResponse();
  assert.equal(streamed.headers.get('content-type'), 'text/event-stream; charset=utf-8');
  assert.match(await streamed.text(), /event: done\ndata: \[DONE\]\n\n$/);
});

/** The server behind a proxy that makes some trouble so many times; see unreliable_proxy.py. */
function troubled(trouble, times, options) {
  const baseURL = `${process.env.UNRELIABLE_PROXY}/${trouble}/${times}/${crypto.randomUUID()}/v1`;
  return new OpenAI({ baseURL, ...options }).beta;
}

for (const trouble of ['429', '503', '409', 'hang-up']) {
  test(`what is worth another try is tried again: ${trouble}`, async () => {
    const made = await troubled(trouble, 2, { maxRetries: 2 }).threads.create({ metadata: { after: trouble } });
    assert.deepEqual(made.metadata, { after: trouble });
  });
}

for (const [trouble, kind] of [
  ['429', OpenAI.RateLimitError],
  ['503', OpenAI.InternalServerError],
  ['hang-up', OpenAI.APIConnectionError],
  ['stall', OpenAI.APIConnectionTimeoutError],
]) {
  test(`what a client without retries raises: ${trouble}`, async () => {
    await assert.rejects(troubled(trouble, 1, { maxRetries: 0, timeout: 500 }).assistants.list(), kind);
  });
}

test('a connection cut in the middle of a stream is not taken for its end', async () => {
  const thread = await newThread();
  const helper = await assistantThat('answers');
  const stream = troubled('cut', 1, { maxRetries: 0 }).threads.runs.stream(thread.id, { assistant_id: helper.id });
  await assert.rejects(stream.finalRun());
  const [run] = (await runs.list(thread.id)).data;
  assert.equal((await runs.poll(run.id, { thread_id: thread.id })).status, 'completed');
});

after(() => {
  const forgotten = [...offered].filter((name) => !called.has(name));
  assert.deepEqual(forgotten, []);
  console.log(`${offered.size} of ${offered.size} methods called`);
});
