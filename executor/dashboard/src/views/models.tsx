// Models that the server offers, and how programs reach them.
import { signal, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { call } from '../api';
import * as format from '../format';
import { model, plan } from '../store';

interface Listed {
  id: string;
  created?: number;
  owned_by?: string;
  context_length?: number;
}

const listed = signal<Listed[] | null>(null);
const problem = signal<string | null>(null);

async function load(): Promise<void> {
  try {
    listed.value = (await (await call('/v1/models')).json()).data;
    problem.value = null;
  } catch (error) {
    problem.value = (error as Error).message;
  }
}

export function ModelsView() {
  useEffect(() => void load(), []);
  const name = model.value?.name ?? '';
  return (
    <>
      <h1>Models</h1>
      <section class="card" aria-labelledby="models-title">
        <header>
          <h2 id="models-title">On this server</h2>
        </header>
        {problem.value && (
          <p class="problem" role="alert">
            {problem.value}
          </p>
        )}
        {listed.value && (
          <div class="scroll" tabIndex={0} role="group" aria-label="Models, table">
            <table data-testid="models">
              <thead>
                <tr>
                  <th scope="col">Name</th>
                  <th scope="col" class="num">
                    Context
                  </th>
                  <th scope="col">State</th>
                </tr>
              </thead>
              <tbody>
                {listed.value.map((one) => (
                  <tr key={one.id}>
                    <th scope="row">
                      <code>{one.id}</code>
                    </th>
                    <td class="num">{one.context_length ? format.number(one.context_length) : ''}</td>
                    <td>{one.id === name ? <span class="pill serving">running, {plan.value?.quantization}</span> : ''}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
      <section class="card" aria-labelledby="use-title">
        <header>
          <h2 id="use-title">Use it from your programs</h2>
        </header>
        <Snippets name={name} />
      </section>
    </>
  );
}

function snippets(name: string): { title: string; text: string }[] {
  const origin = location.origin;
  const question = JSON.stringify({ model: name, messages: [{ role: 'user', content: 'Hello' }] });
  return [
    { title: 'curl', text: `curl ${origin}/v1/chat/completions \\\n  -d '${question}'` },
    { title: 'OpenAI SDK', text: `from openai import OpenAI\nclient = OpenAI(base_url="${origin}/v1", api_key="any")\nclient.chat.completions.create(model="${name}",\n    messages=[{"role": "user", "content": "Hello"}])` },
    { title: 'Claude clients', text: `export ANTHROPIC_BASE_URL=${origin}\nexport ANTHROPIC_AUTH_TOKEN=any` },
    { title: 'Ollama clients', text: `export OLLAMA_HOST=${origin}` },
  ];
}

function Snippets({ name }: { name: string }) {
  const copied = useSignal<string | null>(null);
  const copy = async (title: string, text: string) => {
    await navigator.clipboard.writeText(text);
    copied.value = title;
  };
  return (
    <ul class="snippets">
      {snippets(name).map(({ title, text }) => (
        <li key={title}>
          <header>
            <h3>{title}</h3>
            <button type="button" class="quiet" aria-label={`Copy ${title}`} onClick={() => void copy(title, text)}>
              {copied.value === title ? 'Copied' : 'Copy'}
            </button>
          </header>
          <pre tabIndex={0} aria-label={title}>
            <code>{text}</code>
          </pre>
        </li>
      ))}
    </ul>
  );
}
