// What stands above the clients: the AI SDK and LangChain, which check more of what they get.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { ChatOpenAI } from '@langchain/openai';
import { generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';
import { checkPlace, hello, model, placeSchema, startServer, weatherSchema } from './server.mjs';

const server = startServer();
const models = () => ({
  'chat completions': createOpenAICompatible({ name: 'exo', baseURL: `${server.url}/v1`, apiKey: 'any', supportsStructuredOutputs: true })(model),
  responses: createOpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any' }).responses(model),
});

test('the AI SDK, whole and streamed', async () => {
  for (const [name, language_model] of Object.entries(models())) {
    assert.equal((await generateText({ model: language_model, prompt: 'Hi', maxRetries: 0 })).text, hello, name);
    let text = '';
    for await (const piece of streamText({ model: language_model, prompt: 'Hi', maxRetries: 0 }).textStream) text += piece;
    assert.equal(text, hello, name);
  }
});

test('the AI SDK runs tools', async () => {
  const get_weather = tool({ description: 'Now', inputSchema: jsonSchema(weatherSchema), execute: async ({ city }) => `${city}: 21` });
  for (const [name, language_model] of Object.entries(models())) {
    const { text, steps } = await generateText({ model: language_model, prompt: 'weather?', tools: { get_weather }, stopWhen: stepCountIs(3), maxRetries: 0 });
    assert.equal(text, 'It is 21 degrees.', name);
    assert.deepEqual(steps[0].toolCalls[0].input, { city: 'Paris' }, name);
  }
});

test('LangChain, whole and streamed', async () => {
  const chat = new ChatOpenAI({ model, apiKey: 'any', configuration: { baseURL: `${server.url}/v1` }, maxRetries: 0 });
  assert.equal((await chat.invoke('Hi')).content, hello);
  let text = '';
  for await (const chunk of await chat.stream('Hi')) text += chunk.content;
  assert.equal(text, hello);
  const tools = [{ type: 'function', function: { name: 'get_weather', parameters: weatherSchema } }];
  assert.deepEqual((await chat.bindTools(tools).invoke('weather?')).tool_calls[0].args, { city: 'Paris' });
});

test('objects of a schema, by a model that improvises', async () => {
  for (const [name, language_model] of Object.entries(models())) {
    const { object } = await generateObject({ model: language_model, prompt: 'improvise', schema: jsonSchema(placeSchema), maxRetries: 0 });
    checkPlace(object);
  }
  const chat = new ChatOpenAI({ model, apiKey: 'any', configuration: { baseURL: `${server.url}/v1` }, maxRetries: 0 });
  for (const method of ['jsonSchema', 'functionCalling']) checkPlace(await chat.withStructuredOutput(placeSchema, { method, name: 'place' }).invoke('improvise'));
});
