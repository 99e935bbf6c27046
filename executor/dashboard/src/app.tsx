// The frame of the page: header, navigation, the view that the address names.
import { signal, useSignalEffect } from '@preact/signals';
import type { ComponentType } from 'preact';
import { useEffect } from 'preact/hooks';
import { needsKey } from './api';
import * as format from './format';
import { hideTip, Tooltip } from './parts/tooltip';
import { engine, line, model, plan } from './store';
import { isDark, toggleTheme } from './theme';
import { ChatView } from './views/chat';
import { ClusterView } from './views/cluster';
import { KeyDialog } from './views/key_dialog';
import { ModelsView } from './views/models';
import { PerformanceView } from './views/performance';
import { PlanView } from './views/plan';

interface View {
  id: string;
  title: string;
  component: ComponentType;
}

const kViews: View[] = [
  { id: 'cluster', title: 'Cluster', component: ClusterView },
  { id: 'plan', title: 'Plan', component: PlanView },
  { id: 'performance', title: 'Performance', component: PerformanceView },
  { id: 'chat', title: 'Chat', component: ChatView },
  { id: 'models', title: 'Models', component: ModelsView },
];

const address = signal(location.hash.slice(2));
addEventListener('hashchange', () => {
  address.value = location.hash.slice(2);
  hideTip();
});

function onShortcut(event: KeyboardEvent): void {
  const typing = event.target instanceof HTMLElement && event.target.closest('input, textarea, dialog');
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const view = kViews[Number(event.key) - 1];
  if (view) location.hash = `#/${view.id}`;
  if (event.key === 't') toggleTheme();
  if (event.key === '/') {
    event.preventDefault();
    location.hash = '#/chat';
    setTimeout(() => document.getElementById('composer')?.focus());
  }
}

export function App() {
  const view = kViews.find((one) => one.id === address.value) ?? kViews[0]!;
  useEffect(() => {
    addEventListener('keydown', onShortcut);
    return () => removeEventListener('keydown', onShortcut);
  }, []);
  useSignalEffect(() => {
    document.title = model.value ? `${model.value.name} · exo` : 'exo';
  });
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => {
        event.preventDefault();
        document.getElementById('main')?.focus();
      }}>
        To the content
      </a>
      <Header view={view} />
      {engine.value?.error && (
        <p class="problem banner" role="alert">
          The engine has ended: {engine.value.error}
        </p>
      )}
      <main id="main" tabIndex={-1} class={view.id}>
        {plan.value ? <view.component /> : <Waiting />}
      </main>
      <Tooltip />
      {needsKey.value && <KeyDialog />}
    </>
  );
}

function Header({ view }: { view: View }) {
  return (
    <header class="page-header">
      <a class="brand" href="#/cluster" aria-label="exo, start">
        <svg viewBox="0 0 18 18" aria-hidden="true">
          <rect width="18" height="4" rx="1.4" />
          <rect y="7" width="11" height="4" rx="1.4" />
          <rect x="13" y="7" width="5" height="4" rx="1.4" opacity=".55" />
          <rect y="14" width="6" height="4" rx="1.4" opacity=".55" />
          <rect x="8" y="14" width="10" height="4" rx="1.4" />
        </svg>
        exo
      </a>
      <nav aria-label="Views">
        {kViews.map((one, index) => (
          <a key={one.id} href={`#/${one.id}`} aria-current={one.id === view.id ? 'page' : undefined} title={`${one.title} (key ${index + 1})`}>
            {one.title}
          </a>
        ))}
      </nav>
      <div class="status">
        {model.value && <span class="model-name">{model.value.name}</span>}
        <StatePill />
        <button type="button" class="quiet icon" aria-label={isDark.value ? 'Light theme' : 'Dark theme'} title="Theme (key t)" onClick={toggleTheme}>
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 1.6v10.8A5.4 5.4 0 0 1 8 2.6Z" />
          </svg>
        </button>
      </div>
    </header>
  );
}

function StatePill() {
  const now = engine.value;
  if (line.value === 'lost') return <span class="pill lost" role="status">not reached</span>;
  if (!now) return <span class="pill" role="status">connecting</span>;
  const since = `version ${now.version}, started ${format.duration(Date.now() / 1000 - now.started)} ago`;
  return (
    <span class={`pill ${now.state}`} role="status" title={now.error ?? since}>
      {now.state}
    </span>
  );
}

function Waiting() {
  return <p class="dim empty">{line.value === 'lost' ? 'The server does not answer. Trying again…' : 'Connecting…'}</p>;
}
