import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { cancelled, checkPlace, hello, model, placeSchema, startServer, weatherSchema } from './server.mjs';

const server = startServer();
const client = (options = {}) => new Anthropic({ baseURL: server.url, apiKey: 'any', ...options });
const user = (content) => [{ role: 'user', content }];
const tools = [{ name: 'get_weather', description: 'Now', input_schema: weatherSchema }];

test('a message', async () => {
  const message = await client().messages.create({ model, max_tokens: 100, messages: user('Hi') });
  assert.deepEqual(message.content, [{ type: 'text', text: hello }]);
  assert.equal(message.stop_reason, 'end_turn');
  assert.match(message._request_id, /^req_/);
});

test('a streamed message, put together by the SDK', async () => {
  const stream = client().messages.stream({ model, max_tokens: 100, messages: user('think') });
  const pieces = [];
  stream.on('text', (text) => pieces.push(text));
  const message = await stream.finalMessage();
  assert.deepEqual(message.content.map((block) => block.type), ['thinking', 'text']);
  assert.equal(message.content[0].thinking, 'hmm');
  assert.equal(pieces.join(''), 'Yes.');
  assert.ok(message.usage.input_tokens > 0);
});

test('a tool call and its result', async () => {
  for (const stream of [false, true]) {
    const request = { model, max_tokens: 100, messages: user('weather?'), tools };
    const message = stream ? await client().messages.stream(request).finalMessage() : await client().messages.create(request);
    assert.equal(message.stop_reason, 'tool_use');
    const call = message.content.find((block) => block.type === 'tool_use');
    assert.deepEqual(call.input, { city: 'Paris' });
    const messages = [...request.messages, { role: 'assistant', content: message.content }, { role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id, content: '21' }] }];
    const second = await client().messages.create({ model, max_tokens: 100, messages, tools });
    assert.equal(second.content[0].text, 'It is 21 degrees.');
  }
});

test('calls that must be made', async () => {
  const go = [{ name: 'go_to', input_schema: placeSchema }];
  for (const tool_choice of [{ type: 'any' }, { type: 'tool', name: 'go_to' }, { type: 'any', disable_parallel_tool_use: true }]) {
    const message = await client().messages.create({ model, max_tokens: 900, messages: user('improvise'), tools: go, tool_choice });
    const call = message.content.find((block) => block.type === 'tool_use');
    assert.equal(call.name, 'go_to');
    checkPlace(call.input);
  }
});

test('stop sequences and max_tokens say which', async () => {
  const stopped = await client().messages.create({ model, max_tokens: 100, messages: user('Hi'), stop_sequences: [', '] });
  assert.deepEqual([stopped.stop_reason, stopped.stop_sequence, stopped.content[0].text], ['stop_sequence', ', ', 'Hello there']);
  const cut = await client().messages.create({ model, max_tokens: 2, messages: user('Hi') });
  assert.equal(cut.stop_reason, 'max_tokens');
});

test('counted tokens are those used', async () => {
  const request = { model, system: 'Be brief.', messages: user('Hi'), tools };
  const { input_tokens } = await client().messages.countTokens(request);
  const { usage } = await client().messages.create({ ...request, max_tokens: 5 });
  assert.equal(usage.input_tokens + usage.cache_read_input_tokens, input_tokens);
});

test('models', async () => {
  const page = await client().models.list();
  assert.equal(page.data[0].id, model);
});

test('errors are the exceptions of the SDK', async () => {
  const create = (content, more = {}) => client({ maxRetries: 0 }).messages.create({ model, max_tokens: 10, messages: user(content), ...more });
  await assert.rejects(create('Hi', { temperature: 2 }), Anthropic.BadRequestError);
  await assert.rejects(create('Hi', { model: 'claude' }), Anthropic.NotFoundError);
  await assert.rejects(create('be busy'), Anthropic.RateLimitError);
  await assert.rejects(create('break'), Anthropic.InternalServerError);
  await assert.rejects(client().messages.stream({ model, max_tokens: 10, messages: user('break') }).finalMessage(), /node b is gone/);
});

test('a stream that is left is cancelled', async () => {
  const stream = await client().messages.create({ model, max_tokens: 1000, messages: user('talk forever'), stream: true });
  for await (const event of stream) if (event.type === 'content_block_delta') break;
  assert.ok(await cancelled(server, 1));
});
