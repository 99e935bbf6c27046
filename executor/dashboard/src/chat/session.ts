// The conversation on the page: what was said, what is being said, and how it is stopped. It lives as long as the tab.
import { signal } from '@preact/signals';
import { call } from '../api';
import { events } from '../sse';
import { model } from '../store';
import { kDefaults, type Message, requestBody, type Sampling, type TokenChoice } from './messages';

const kMessages = 'exo.chat', kSampling = 'exo.sampling';

function stored<T>(key: string, otherwise: T): T {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? 'null') ?? otherwise;
  } catch {
    return otherwise;
  }
}

export const messages = signal<Message[]>(stored<Message[]>(kMessages, []));
export const sampling = signal<Sampling>({ ...kDefaults, ...stored<Partial<Sampling>>(kSampling, {}) });
export const running = signal(false);

let abort: AbortController | null = null;

function keep(): void {
  try {
    sessionStorage.setItem(kMessages, JSON.stringify(messages.value));
  } catch {
    // A tab's storage is full: the conversation is on the page still, and not after a reload.
  }
}

export function setSampling(change: Partial<Sampling>): void {
  sampling.value = { ...sampling.value, ...change };
  sessionStorage.setItem(kSampling, JSON.stringify(sampling.value));
}

export function stop(): void {
  abort?.abort();
}

export function clear(): void {
  stop();
  messages.value = [];
  keep();
}

export function say(text: string): Promise<void> {
  return answer([...messages.value, { role: 'user', content: text }]);
}

/** Says the message at `index` anew; what followed is gone. */
export function edit(index: number, text: string): Promise<void> {
  return answer([...messages.value.slice(0, index), { role: 'user', content: text }]);
}

/** Another answer in the place of the one at `index`. */
export function regenerate(index: number): Promise<void> {
  return answer(messages.value.slice(0, index));
}

interface Logprob {
  token: string;
  logprob: number;
  top_logprobs?: { token: string; logprob: number }[];
}

interface Chunk {
  choices?: { delta?: { content?: string | null; reasoning_content?: string | null }; finish_reason?: string | null; logprobs?: { content?: Logprob[] | null } | null }[];
  usage?: { completion_tokens: number } | null;
  error?: { message: string };
}

/** Changes on their way to the page: at most one drawing per frame, however fast tokens come. */
class Draft {
  readonly message: Message = { role: 'assistant', content: '' };
  private readonly started = performance.now();
  private first: number | null = null;
  private count = 0;
  private frame = 0;

  constructor(private readonly before: Message[]) {
    this.show();
  }

  take(chunk: Chunk): void {
    if (chunk.error) throw new Error(chunk.error.message);
    const choice = chunk.choices?.[0];
    const delta = choice?.delta ?? {};
    if (delta.content || delta.reasoning_content) {
      this.first ??= performance.now();
      this.count += choice?.logprobs?.content?.length ?? 1;
    }
    if (delta.content) this.message.content += delta.content;
    if (delta.reasoning_content) this.message.reasoning = (this.message.reasoning ?? '') + delta.reasoning_content;
    if (choice?.finish_reason) this.message.finish = choice.finish_reason;
    for (const entry of choice?.logprobs?.content ?? []) (this.message.tokens ??= []).push(choiceOf(entry));
    if (chunk.usage) this.count = chunk.usage.completion_tokens;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.show();
    });
  }

  end(error?: string): void {
    cancelAnimationFrame(this.frame);
    if (error) this.message.error = error;
    this.show();
  }

  private show(): void {
    const now = performance.now();
    const generating = this.first === null ? 0 : (now - this.first) / 1000;
    this.message.timing = {
      firstToken: this.first === null ? null : (this.first - this.started) / 1000,
      tokens: this.count,
      perSecond: this.count > 1 && generating > 0 ? (this.count - 1) / generating : null,
    };
    messages.value = [...this.before, { ...this.message }];
  }
}

function choiceOf(entry: Logprob): TokenChoice {
  return { token: entry.token, logprob: entry.logprob, others: (entry.top_logprobs ?? []).map(({ token, logprob }) => ({ token, logprob })) };
}

async function answer(before: Message[]): Promise<void> {
  stop();
  const own = new AbortController();
  abort = own;
  running.value = true;
  const draft = new Draft(before);
  try {
    const response = await call('/v1/chat/completions', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(requestBody(model.value?.name ?? '', before, sampling.value)),
      signal: own.signal,
    });
    for await (const event of events(response.body!)) {
      if (event.data === '[DONE]') break;
      draft.take(JSON.parse(event.data));
    }
    draft.end(draft.message.finish ? undefined : 'The server ended the answer without saying why.');
  } catch (error) {
    if (own.signal.aborted) draft.message.finish = 'stopped';
    draft.end(own.signal.aborted ? undefined : (error as Error).message);
  } finally {
    if (abort === own) {
      abort = null;
      running.value = false;
    }
    keep();
  }
}
