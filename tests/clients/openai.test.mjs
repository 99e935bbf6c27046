import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { cancelled, checkPlace, hello, model, placeSchema, startServer, weatherSchema } from './server.mjs';

const server = startServer();
const client = (options = {}) => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', ...options });
const user = (content) => [{ role: 'user', content }];
const tools = [{ type: 'function', function: { name: 'get_weather', description: 'Now', parameters: weatherSchema } }];

test('a chat completion', async () => {
  const answer = await client().chat.completions.create({ model, messages: user('Hi') });
  assert.equal(answer.choices[0].message.content, hello);
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.equal(answer.usage.completion_tokens, 6);
  assert.match(answer._request_id, /^req_/);
});

test('a streamed chat completion, put together by the SDK', async () => {
  const stream = client().chat.completions.stream({ model, messages: user('Hi'), stream_options: { include_usage: true } });
  const pieces = [];
  stream.on('content', (delta) => pieces.push(delta));
  const answer = await stream.finalChatCompletion();
  assert.equal(answer.choices[0].message.content, hello);
  assert.equal(pieces.length, 6);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + 6);
});

test('reasoning is apart from content', async () => {
  const answer = await client().chat.completions.create({ model, messages: user('think') });
  assert.equal(answer.choices[0].message.reasoning_content, 'hmm');
  assert.equal(answer.choices[0].message.content, 'Yes.');
  assert.ok(answer.usage.completion_tokens_details.reasoning_tokens > 0);
});

test('a tool call and its result', async () => {
  for (const stream of [false, true]) {
    const request = { model, messages: user('weather?'), tools };
    const answer = stream ? await client().chat.completions.stream(request).finalChatCompletion() : await client().chat.completions.create(request);
    const { message, finish_reason } = answer.choices[0];
    assert.equal(finish_reason, 'tool_calls');
    assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'Paris' });
    const messages = [...request.messages, message, { role: 'tool', tool_call_id: message.tool_calls[0].id, content: '21' }];
    const second = await client().chat.completions.create({ model, messages, tools });
    assert.equal(second.choices[0].message.content, 'It is 21 degrees.');
  }
});

test('the tool runner of the SDK', async () => {
  let asked;
  const runner = client().chat.completions.runTools({
    model,
    messages: user('weather?'),
    tools: [{ type: 'function', function: { name: 'get_weather', parameters: weatherSchema, parse: JSON.parse, function: ({ city }) => ((asked = city), '21') } }],
  });
  assert.equal(await runner.finalContent(), 'It is 21 degrees.');
  assert.equal(asked, 'Paris');
});

test('log-probabilities spell the content', async () => {
  const answer = await client().chat.completions.create({ model, messages: user('Hi'), logprobs: true, top_logprobs: 2 });
  const entries = answer.choices[0].logprobs.content;
  assert.equal(Buffer.from(entries.flatMap((entry) => entry.bytes)).toString(), hello);
  assert.equal(entries[0].top_logprobs.length, 2);
});

test('stop, max_tokens and n', async () => {
  const stopped = await client().chat.completions.create({ model, messages: user('Hi'), stop: ' there', n: 2 });
  assert.deepEqual(stopped.choices.map((choice) => choice.message.content), ['Hello', 'Hello']);
  const cut = await client().chat.completions.create({ model, messages: user('Hi'), max_tokens: 2 });
  assert.deepEqual([cut.choices[0].message.content, cut.choices[0].finish_reason], ['Hello there', 'length']);
});

test('completions and models', async () => {
  const answer = await client().completions.create({ model, prompt: 'Hi' });
  assert.equal(answer.choices[0].text, hello);
  let text = '';
  for await (const chunk of await client().completions.create({ model, prompt: 'Hi', stream: true })) text += chunk.choices[0].text;
  assert.equal(text, hello);
  const models = await client().models.list();
  assert.equal(models.data[0].id, model);
  assert.equal((await client().models.retrieve(model)).id, model);
});

test('responses, whole and streamed', async () => {
  const answer = await client().responses.create({ model, input: 'Hi', store: false });
  assert.equal(answer.output_text, hello);
  assert.equal(answer.status, 'completed');
  const stream = client().responses.stream({ model, input: 'think' });
  const final = await stream.finalResponse();
  assert.deepEqual(final.output.map((item) => item.type), ['reasoning', 'message']);
  assert.equal(final.output_text, 'Yes.');
  const cut = await client().responses.create({ model, input: 'Hi', max_output_tokens: 2 });
  assert.equal(cut.status, 'incomplete');
});

test('responses call tools', async () => {
  const tool = { type: 'function', name: 'get_weather', parameters: weatherSchema, strict: false };
  const answer = await client().responses.stream({ model, input: 'weather?', tools: [tool] }).finalResponse();
  const call = answer.output.find((item) => item.type === 'function_call');
  assert.deepEqual(JSON.parse(call.arguments), { city: 'Paris' });
  const input = [{ role: 'user', content: 'weather?' }, call, { type: 'function_call_output', call_id: call.call_id, output: '21' }];
  assert.equal((await client().responses.create({ model, input, tools: [tool] })).output_text, 'It is 21 degrees.');
});

test('answers of a form, by a model that improvises', async () => {
  for (let seed = 0; seed < 10; ++seed) {
    const response_format = { type: 'json_schema', json_schema: { name: 'place', strict: true, schema: placeSchema } };
    const answer = await client().chat.completions.create({ model, seed, messages: user('improvise'), response_format });
    checkPlace(JSON.parse(answer.choices[0].message.content));
    const parsed = await client().chat.completions.parse({ model, seed, messages: user('improvise'), response_format });
    checkPlace(JSON.parse(parsed.choices[0].message.content));
    const { output_text } = await client().responses.create({ model, input: 'improvise', text: { format: { type: 'json_schema', name: 'place', strict: true, schema: placeSchema } } });
    checkPlace(JSON.parse(output_text));
  }
});

test('calls that must be made, with strict arguments', async () => {
  const strict = [{ type: 'function', function: { name: 'go_to', strict: true, parameters: placeSchema } }];
  for (const tool_choice of ['required', { type: 'function', function: { name: 'go_to' } }]) {
    const request = { model, messages: user('improvise'), tools: strict, tool_choice, parallel_tool_calls: false };
    for (const answer of [await client().chat.completions.create(request), await client().chat.completions.stream(request).finalChatCompletion()]) {
      const [call] = answer.choices[0].message.tool_calls;
      assert.equal(call.function.name, 'go_to');
      checkPlace(JSON.parse(call.function.arguments));
    }
  }
  const tools = [{ type: 'function', name: 'go_to', strict: true, parameters: placeSchema }];
  const { output } = await client().responses.create({ model, input: 'improvise', tools, tool_choice: 'required' });
  checkPlace(JSON.parse(output.find((item) => item.type === 'function_call').arguments));
});

test('errors are the exceptions of the SDK', async () => {
  const chat = (content, more = {}) => client({ maxRetries: 0 }).chat.completions.create({ model, messages: user(content), ...more });
  await assert.rejects(chat('Hi', { temperature: 7 }), (error) => error instanceof OpenAI.BadRequestError && error.param === 'temperature');
  await assert.rejects(chat('Hi', { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'hiccup' } } } }), OpenAI.BadRequestError);
  await assert.rejects(chat('Hi', { model: 'gpt-5' }), (error) => error instanceof OpenAI.NotFoundError && error.code === 'model_not_found');
  await assert.rejects(chat('be busy', { stream: true }), OpenAI.RateLimitError);
  await assert.rejects(chat('be too long'), (error) => error.code === 'context_length_exceeded');
  await assert.rejects(chat('break'), OpenAI.InternalServerError);
  await assert.rejects(client().embeddings.create({ model, input: 'x' }), OpenAI.BadRequestError);
  const stream = await chat('break', { stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, /node b is gone/);
});

test('a stream that is left is cancelled', async () => {
  const stream = await client().chat.completions.create({ model, messages: user('talk forever'), stream: true });
  for await (const _ of stream) break;
  const abort = new AbortController();
  const whole = client().chat.completions.create({ model, messages: user('talk forever') }, { signal: abort.signal });
  setTimeout(() => abort.abort(), 100);
  await assert.rejects(whole);
  assert.ok(await cancelled(server, 2));
});
