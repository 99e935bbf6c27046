import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { Markdown } from '../chat/markdown';
import { exported, type Message } from '../chat/messages';
import { SamplingPanel } from '../chat/sampling_panel';
import { clear, edit, messages, regenerate, running, say, stop } from '../chat/session';
import { Tokens } from '../chat/tokens';
import * as format from '../format';
import { model } from '../store';

export function ChatView() {
  const settings = useSignal(false);
  const log = useRef<HTMLDivElement>(null);
  const follows = useRef(true); // the reader has not scrolled up
  useLayoutEffect(() => {
    if (follows.current && log.current) log.current.scrollTop = log.current.scrollHeight;
  });
  const said = messages.value;
  const last = said.length - 1;
  return (
    <div class="chat">
      <div class="title-row">
        <h1>Chat</h1>
        <div class="actions">
          {said.length > 0 && (
            <>
              <button type="button" class="quiet" onClick={download}>
                Export
              </button>
              <button type="button" class="quiet" onClick={clear}>
                New chat
              </button>
            </>
          )}
          <button type="button" class="quiet" aria-expanded={settings.value} onClick={() => (settings.value = !settings.value)}>
            Sampling
          </button>
        </div>
      </div>
      <div class={`chat-body ${settings.value ? 'with-settings' : ''}`}>
        <div class="conversation">
          <div
            ref={log}
            class="log"
            role="log"
            aria-label="Conversation"
            aria-busy={running.value}
            tabIndex={0}
            onScroll={(event) => {
              const box = event.currentTarget;
              follows.current = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
            }}
          >
            {said.length === 0 && (
              <div class="greeting">
                <p>
                  Ask <strong>{model.value?.name}</strong>.
                </p>
                <p class="dim small">What is said here stays in this tab. Esc stops an answer.</p>
              </div>
            )}
            {said.map((message, index) => (
              <Said key={index} message={message} index={index} streams={running.value && index === last} />
            ))}
          </div>
          <Composer />
        </div>
        {settings.value && (
          <aside class="card" aria-label="Settings">
            <SamplingPanel />
          </aside>
        )}
      </div>
    </div>
  );
}

function download(): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([exported(messages.value)], { type: 'text/markdown' }));
  link.download = 'chat.md';
  link.click();
  URL.revokeObjectURL(link.href);
}

function Said({ message, index, streams }: { message: Message; index: number; streams: boolean }) {
  return message.role === 'user' ? <Question message={message} index={index} /> : <Answer message={message} index={index} streams={streams} />;
}

function Question({ message, index }: { message: Message; index: number }) {
  const draft = useSignal<string | null>(null);
  if (draft.value !== null)
    return (
      <form
        class="message user editing"
        onSubmit={(event) => {
          event.preventDefault();
          void edit(index, draft.value ?? '');
          draft.value = null;
        }}
      >
        <textarea aria-label="Your message" rows={3} value={draft.value} onInput={(event) => (draft.value = event.currentTarget.value)} />
        <div class="actions">
          <button type="submit" disabled={draft.value.trim() === ''}>
            Ask again
          </button>
          <button type="button" class="quiet" onClick={() => (draft.value = null)}>
            Leave it
          </button>
        </div>
      </form>
    );
  return (
    <article class="message user" aria-label="You">
      <p>{message.content}</p>
      <div class="actions">
        <button type="button" class="quiet" onClick={() => (draft.value = message.content)}>
          Edit
        </button>
      </div>
    </article>
  );
}

const kFinish: Record<string, string> = { length: 'stopped at the token limit', stopped: 'stopped', content_filter: 'filtered' };

function Answer({ message, index, streams }: { message: Message; index: number; streams: boolean }) {
  const probabilities = useSignal(false);
  const { timing } = message;
  return (
    <article class="message assistant" aria-label="Answer" data-testid="answer">
      {message.reasoning && (
        <details class="reasoning" open={streams && message.content === ''}>
          <summary>Reasoning</summary>
          <Markdown text={message.reasoning} />
        </details>
      )}
      {probabilities.value && message.tokens ? <Tokens tokens={message.tokens} /> : <Markdown text={message.content} />}
      {streams && <span class="caret" aria-hidden="true" />}
      {message.error && (
        <p class="problem" role="alert">
          {message.error}
        </p>
      )}
      <footer class="actions">
        {timing && timing.tokens > 0 && (
          <span class="dim small">
            {timing.tokens} tokens
            {timing.firstToken !== null && ` · first after ${format.seconds(timing.firstToken)}`}
            {timing.perSecond !== null && ` · ${format.number(timing.perSecond)} tok/s`}
            {message.finish && kFinish[message.finish] && ` · ${kFinish[message.finish]}`}
          </span>
        )}
        {!streams && (
          <>
            {message.tokens && (
              <button type="button" class="quiet" aria-pressed={probabilities.value} onClick={() => (probabilities.value = !probabilities.value)}>
                Probabilities
              </button>
            )}
            <button type="button" class="quiet" onClick={() => void navigator.clipboard.writeText(message.content)}>
              Copy
            </button>
            <button type="button" class="quiet" onClick={() => void regenerate(index)}>
              Regenerate
            </button>
          </>
        )}
      </footer>
    </article>
  );
}

function Composer() {
  const text = useSignal('');
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === 'Escape') stop();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  const send = () => {
    const asked = text.value.trim();
    if (asked === '' || running.value) return;
    text.value = '';
    void say(asked);
    box.current?.focus();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={box}
        id="composer"
        aria-label="Message"
        placeholder="Message"
        rows={2}
        value={text.value}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          send();
        }}
      />
      {running.value ? (
        <button type="button" class="stop" onClick={stop}>
          Stop
        </button>
      ) : (
        <button type="submit" disabled={text.value.trim() === ''}>
          Send
        </button>
      )}
    </form>
  );
}
