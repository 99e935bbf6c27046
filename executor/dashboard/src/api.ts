// Requests to the server this page came from, with the key if it wants one. The key lives as long as the tab.
import { signal } from '@preact/signals';

const kKey = 'exo.key';

/** True when the server refused for want of a key. */
export const needsKey = signal(false);

export function setKey(key: string): void {
  sessionStorage.setItem(kKey, key);
  needsKey.value = false;
}

export class ApiError extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

/** Rejects with ApiError and the server's own words for any status but 2xx. */
export async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const key = sessionStorage.getItem(kKey);
  if (key) headers.set('Authorization', `Bearer ${key}`);
  const response = await fetch(path, { ...init, headers });
  if (response.ok) return response;
  if (response.status === 401) needsKey.value = true;
  throw new ApiError(response.status, await reason(response));
}

async function reason(response: Response): Promise<string> {
  const text = await response.text();
  try {
    const body = JSON.parse(text);
    return body.error?.message ?? (typeof body.error === 'string' ? body.error : text);
  } catch {
    return text.slice(0, 300) || `${response.status} ${response.statusText}`;
  }
}
