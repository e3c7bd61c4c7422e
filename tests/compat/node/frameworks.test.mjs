// What speaks this API on top of openai for Node: AssistantResponse of the AI SDK, which feeds useAssistant in a browser, and Experts.js, which
// brings an openai of 2025 along.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';

import { AssistantResponse } from 'ai';
import OpenAI from 'openai';

// Its form for `import` does not load in Node.
const { Assistant, Thread, Tool } = createRequire(import.meta.url)('experts');

const { assistants, threads } = new OpenAI().beta;
const WEATHER = {
  name: 'get_weather',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};

/** The lines that a browser gets for a question, as [code, value]. */
async function answered(assistantId, threadId) {
  const { id: messageId } = await threads.messages.create(threadId, { role: 'user', content: 'How warm is it?' });
  const response = AssistantResponse({ threadId, messageId }, async ({ forwardStream }) => {
    let run = await forwardStream(threads.runs.stream(threadId, { assistant_id: assistantId }));
    while (run?.status === 'requires_action') {
      const calls = run.required_action.submit_tool_outputs.tool_calls;
      const tool_outputs = calls.map((call) => ({ tool_call_id: call.id, output: `21 C in ${JSON.parse(call.function.arguments).city}` }));
      run = await forwardStream(threads.runs.submitToolOutputsStream(run.id, { thread_id: threadId, tool_outputs }));
    }
  });
  const lines = (await response.text()).split('\n').filter(Boolean);
  return lines.map((line) => [line.slice(0, 1), JSON.parse(line.slice(2))]);
}

const textIn = (lines) => lines.filter(([code]) => code === '0').map(([, text]) => text).join('');

test('the AI SDK: plain answers, turn by turn', async () => {
  const helper = await assistants.create({ model: 'counts-messages' });
  const thread = await threads.create();
  const lines = await answered(helper.id, thread.id);
  assert.equal(textIn(lines), '1 asked, the last: How warm is it?');
  assert.equal(lines.find(([code]) => code === '4')[1].role, 'assistant');
  assert.equal(textIn(await answered(helper.id, thread.id)), '2 asked, the last: How warm is it?');
});

for (const [model, answer] of [
  ['calls-a-function', 'I was told: 21 C in Lisbon'],
  ['calls-two-functions', 'I was told: 21 C in Lisbon and 21 C in Porto'],
]) {
  test(`the AI SDK: functions are called: ${model}`, async () => {
    const helper = await assistants.create({ model, tools: [{ type: 'function', function: WEATHER }] });
    assert.equal(textIn(await answered(helper.id, (await threads.create()).id)), answer);
  });
}

test('Experts.js: plain answers, turn by turn', async () => {
  const helper = await Assistant.create({ name: 'Weather', model: 'counts-messages', instructions: 'Be brief.' });
  const thread = await Thread.create();
  assert.equal(await helper.ask('How warm is it?', thread.id), '1 asked, the last: How warm is it?');
  assert.equal(await helper.ask('And tomorrow?', thread.id), '2 asked, the last: And tomorrow?');
});

test('Experts.js: a tool is asked', async () => {
  class WeatherTool extends Tool {
    constructor() {
      super({ name: 'Weather', llm: false, parentsTools: [{ type: 'function', function: { ...WEATHER, name: WeatherTool.toolName } }] });
    }

    async ask(message) {
      return `21 C in ${JSON.parse(message).city}`;
    }
  }

  class Travel extends Assistant {
    constructor() {
      super({ name: 'Travel', model: 'calls-a-function', instructions: 'Be brief.' });
      this.addAssistantTool(WeatherTool);
    }
  }

  const helper = await Travel.create();
  assert.equal(await helper.ask('How warm is it?', (await Thread.create()).id), 'I was told: 21 C in Lisbon');
});
