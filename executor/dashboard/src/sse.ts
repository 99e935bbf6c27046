// Server-sent events over fetch: unlike EventSource it can send a key, and it tells a refusal from a broken line.

export interface ServerEvent {
  id: string | null;
  event: string;
  data: string;
}

/** Events of a text/event-stream, as they come. Ends with the stream. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = '';
  let next: ServerEvent = { id: null, event: 'message', data: '' };
  let hasData = false;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line === '') {
          if (hasData) yield next;
          next = { id: null, event: 'message', data: '' };
          hasData = false;
          continue;
        }
        const colon = line.indexOf(':');
        if (colon === 0) continue; // a comment keeps the line alive
        const field = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
        if (field === 'id') next.id = text;
        if (field === 'event') next.event = text;
        if (field === 'data') {
          next.data = hasData ? `${next.data}\n${text}` : text;
          hasData = true;
        }
      }
    }
  } finally {
    reader.cancel().catch(() => undefined); // the other side may have gone already
  }
}
