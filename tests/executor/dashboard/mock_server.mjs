// A server for the dashboard's tests: the page as the binary gives it, with its headers; the state of a fixture (fixture.cc);
// a chat that says what a test tells it to. Everything it was asked is kept for assertions.
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function fileOf(program, path, acceptEncoding) {
  const { status, stdout } = spawnSync(program, ['--file', path, acceptEncoding], { maxBuffer: 1 << 24 });
  if (status !== 0) return null;
  const end = stdout.indexOf('\n');
  return { headers: JSON.parse(stdout.subarray(0, end)), body: stdout.subarray(end + 1) };
}

async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

/** Options: program (dashboard_fixture), fixture, eventMs between events, key that it wants, chat: text or error to answer with. */
export async function startMock({ program, fixture, eventMs = 300, key = null }) {
  const files = new Map();
  const mock = { asked: [], cancelled: [], chats: [], gone: 0, chat: { text: 'Hello.' }, streams: new Set() };

  function json(response, status, body) {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(body));
  }

  async function events(request, response) {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    mock.streams.add(response);
    const send = (id, data) => response.write(`id: ${id}\ndata: ${JSON.stringify(data)}\n\n`);
    mock.lastEventId = request.headers['last-event-id'] ?? null;
    send(`${fixture.state.instance}-${fixture.state.number}`, fixture.state);
    for (let i = 0; !response.destroyed && mock.streams.has(response); i = (i + 1) % fixture.events.length) {
      await sleep(eventMs);
      response.write(': keep-alive\n\n');
      send(fixture.events[i].id, fixture.events[i].data);
    }
    response.end();
  }

  async function chat(request, response) {
    const asked = JSON.parse(await bodyOf(request));
    mock.chats.push(asked);
    if (mock.chat.error) return json(response, mock.chat.error.status, { error: { message: mock.chat.error.message, type: 'invalid_request_error', param: null, code: null } });
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.on('close', () => (mock.gone += response.writableFinished ? 0 : 1));
    const chunk = (delta, finish = null, logprobs = null) =>
      response.write(`data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: asked.model, choices: [{ index: 0, delta, finish_reason: finish, logprobs }] })}\n\n`);
    chunk({ role: 'assistant', content: '' });
    if (mock.chat.reasoning) chunk({ reasoning_content: mock.chat.reasoning });
    const tokens = mock.chat.text.match(/[\s\S]{1,4}/g) ?? [];
    for (const [i, token] of tokens.entries()) {
      if (response.destroyed) return;
      const logprob = -0.05 - (i % 5) * 0.7;
      const top = [{ token, logprob }, { token: ' other', logprob: logprob - 1.5 }];
      chunk({ content: token }, null, asked.logprobs ? { content: [{ token, logprob, bytes: null, top_logprobs: top }], refusal: null } : null);
      await sleep(mock.chat.tokenMs ?? 1);
    }
    chunk({}, mock.chat.finish ?? 'stop');
    response.write(`data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 9, completion_tokens: tokens.length, total_tokens: 9 + tokens.length } })}\n\n`);
    response.end('data: [DONE]\n\n');
  }

  async function handle(request, response) {
    const { pathname } = new URL(request.url, 'http://mock');
    mock.asked.push(`${request.method} ${request.url}`);
    if (pathname.startsWith('/v1/') && key && request.headers.authorization !== `Bearer ${key}`) return json(response, 401, { error: { message: 'a key is needed', type: 'authentication_error' } });
    if (pathname === '/v1/cluster/state') return json(response, 200, fixture.state);
    if (pathname === '/v1/cluster/series') return json(response, 200, fixture.series);
    if (pathname === '/v1/cluster/events') return events(request, response);
    if (pathname === '/v1/models') return json(response, 200, { object: 'list', data: [{ id: fixture.state.model.name, object: 'model', created: 1, owned_by: 'exo', context_length: 4096 }, { id: 'demo', object: 'model', created: 1, owned_by: 'exo', context_length: 512 }] });
    if (pathname === '/v1/chat/completions' && request.method === 'POST') return chat(request, response);
    const cancel = pathname.match(/^\/v1\/cluster\/requests\/(\d+)\/cancel$/);
    if (cancel && request.method === 'POST') {
      mock.cancelled.push(Number(cancel[1]));
      response.writeHead(204);
      return response.end();
    }
    const encoding = request.headers['accept-encoding'] ?? '';
    if (!files.has(pathname)) files.set(pathname, fileOf(program, pathname, encoding));
    const file = files.get(pathname);
    if (!file) return json(response, 404, { error: { message: `nothing at ${pathname}` } });
    response.writeHead(200, file.headers);
    response.end(file.body);
  }

  const server = createServer((request, response) => void handle(request, response).catch((error) => response.destroy(error)));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  mock.url = `http://127.0.0.1:${server.address().port}`;
  mock.dropStreams = () => {
    for (const stream of mock.streams) stream.destroy();
    mock.streams.clear();
  };
  mock.close = () => {
    mock.dropStreams();
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return mock;
}
