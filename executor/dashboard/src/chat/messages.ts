// A conversation and the request it becomes.

export interface TokenChoice {
  token: string;
  logprob: number;
  others: { token: string; logprob: number }[];
}

export interface Timing {
  firstToken: number | null; // seconds from the request
  tokens: number;
  perSecond: number | null;
}

export interface Message {
  role: 'user' | 'assistant';
  content: string;
  reasoning?: string;
  tokens?: TokenChoice[];
  timing?: Timing;
  finish?: string;
  error?: string;
}

export interface Sampling {
  system: string;
  temperature: number;
  top_p: number;
  top_k: number;
  min_p: number;
  repetition_penalty: number;
  max_tokens: number | null;
  seed: number | null;
  probabilities: boolean;
}

export const kDefaults: Sampling = { system: '', temperature: 0.7, top_p: 0.95, top_k: 0, min_p: 0, repetition_penalty: 1, max_tokens: 1024, seed: null, probabilities: false };

/** Body of POST /v1/chat/completions. What stands at its neutral value is not sent. */
export function requestBody(model: string, messages: Message[], sampling: Sampling): Record<string, unknown> {
  const body: Record<string, unknown> = {
    model,
    messages: [...(sampling.system.trim() ? [{ role: 'system', content: sampling.system }] : []), ...messages.map(({ role, content }) => ({ role, content }))],
    stream: true,
    stream_options: { include_usage: true },
    temperature: sampling.temperature,
    top_p: sampling.top_p,
  };
  if (sampling.top_k > 0) body.top_k = sampling.top_k;
  if (sampling.min_p > 0) body.min_p = sampling.min_p;
  if (sampling.repetition_penalty !== 1) body.repetition_penalty = sampling.repetition_penalty;
  if (sampling.max_tokens !== null) body.max_tokens = sampling.max_tokens;
  if (sampling.seed !== null) body.seed = sampling.seed;
  if (sampling.probabilities) Object.assign(body, { logprobs: true, top_logprobs: 5 });
  return body;
}

/** A conversation as Markdown. */
export function exported(messages: Message[]): string {
  return messages.map((message) => `## ${message.role === 'user' ? 'You' : 'Assistant'}\n\n${message.content}\n`).join('\n');
}
