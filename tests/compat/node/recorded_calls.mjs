// Notes which of the SDK's methods the programs of this folder call themselves, as against those that the SDK calls on their behalf.

import OpenAI from 'openai';
import { AssistantStream } from 'openai/lib/AssistantStream';

export const called = new Set();

const { beta } = new OpenAI({ apiKey: 'unused' });
const kinds = {
  Assistants: beta.assistants,
  Threads: beta.threads,
  Messages: beta.threads.messages,
  Runs: beta.threads.runs,
  Steps: beta.threads.runs.steps,
};
const prototypes = Object.entries(kinds).map(([kind, resource]) => [kind, Object.getPrototypeOf(resource)]);
// What a stream can be asked, its own methods and those that all streams of the SDK have. Names with an underscore are the SDK's own affair,
// and what makes a stream is called by the helpers of Runs and Threads.
prototypes.push(['AssistantStream', AssistantStream.prototype], ['AssistantStream', Object.getPrototypeOf(AssistantStream.prototype)]);

function methodsOf(prototype) {
  return Object.getOwnPropertyNames(prototype).filter(
    (name) => name !== 'constructor' && !name.startsWith('_') && typeof Object.getOwnPropertyDescriptor(prototype, name).value === 'function',
  );
}

export const offered = new Set(prototypes.flatMap(([kind, prototype]) => methodsOf(prototype).map((name) => `${kind}.${name}`)));

for (const [kind, prototype] of prototypes) {
  for (const name of methodsOf(prototype)) {
    const method = prototype[name];
    prototype[name] = function (...parameters) {
      const caller = new Error().stack.split('\n')[2];
      if (caller.includes('.test.mjs')) {
        called.add(`${kind}.${name}`);
      }
      return method.apply(this, parameters);
    };
  }
}
