import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ollama } from 'ollama';
import { cancelled, checkPlace, hello, model, placeSchema, startServer, weatherSchema } from './server.mjs';

const server = startServer();
const clients = () => [new Ollama({ host: server.url }), new Ollama({ host: `${server.url}/ollama` })];
const user = (content) => [{ role: 'user', content }];

test('chat, whole and streamed, at both places', async () => {
  for (const client of clients()) {
    const answer = await client.chat({ model, messages: user('Hi') });
    assert.equal(answer.message.content, hello);
    assert.equal(answer.done_reason, 'stop');
    assert.ok(Number.isInteger(answer.eval_duration));
    let text = '';
    for await (const part of await client.chat({ model, messages: user('Hi'), stream: true })) text += part.message.content;
    assert.equal(text, hello);
  }
});

test('generate and thinking', async () => {
  const [client] = clients();
  assert.equal((await client.generate({ model, prompt: 'Hi' })).response, hello);
  const answer = await client.generate({ model, prompt: 'think', options: { num_predict: -1 } });
  assert.deepEqual([answer.thinking, answer.response], ['hmm', 'Yes.']);
});

test('a tool call and its result', async () => {
  const [client] = clients();
  const tools = [{ type: 'function', function: { name: 'get_weather', description: 'Now', parameters: weatherSchema } }];
  const { message } = await client.chat({ model, messages: user('weather?'), tools });
  assert.deepEqual(message.tool_calls[0].function, { name: 'get_weather', arguments: { city: 'Paris' } });
  const messages = [...user('weather?'), message, { role: 'tool', tool_name: 'get_weather', content: '21' }];
  assert.equal((await client.chat({ model, messages, tools })).message.content, 'It is 21 degrees.');
});

test('models', async () => {
  const [client] = clients();
  assert.equal((await client.list()).models[0].name, model);
  assert.equal((await client.ps()).models[0].model, model);
  assert.deepEqual((await client.show({ model })).capabilities, ['completion', 'tools', 'thinking']);
  assert.match((await client.version()).version, /^\d+\.\d+\.\d+$/);
  assert.equal((await client.pull({ model })).status, 'success');
});

test('answers of a form', async () => {
  const [client] = clients();
  for (const format of [placeSchema, 'json']) {
    const { message } = await client.chat({ model, messages: user('improvise'), format });
    const value = JSON.parse(message.content);
    if (format === placeSchema) checkPlace(value);
    const { response } = await client.generate({ model, prompt: 'improvise', format });
    assert.equal(typeof JSON.parse(response), 'object');
  }
});

test('errors', async () => {
  const [client] = clients();
  await assert.rejects(client.chat({ model: 'llama3', messages: user('Hi') }), (error) => error.status_code === 404 && /not found/.test(error.message));
  await assert.rejects(client.chat({ model, messages: user('Hi'), format: { type: 'hiccup' } }), (error) => error.status_code === 400);
  await assert.rejects(async () => {
    for await (const _ of await client.chat({ model, messages: user('break'), stream: true }));
  }, /node b is gone/);
  await assert.rejects(client.embed({ model, input: 'x' }), (error) => error.status_code === 400);
});

test('a stream that is aborted is cancelled', async () => {
  const [client] = clients();
  const stream = await client.chat({ model, messages: user('talk forever'), stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream) stream.abort();
  });
  assert.ok(await cancelled(server, 1));
});
