// How answers are drawn. Everything goes with the next request.
import type { Sampling } from './messages';
import { kDefaults } from './messages';
import { sampling, setSampling } from './session';

interface Range {
  key: 'temperature' | 'top_p' | 'top_k' | 'min_p' | 'repetition_penalty';
  label: string;
  min: number;
  max: number;
  step: number;
}

const kRanges: Range[] = [
  { key: 'temperature', label: 'Temperature', min: 0, max: 2, step: 0.05 },
  { key: 'top_p', label: 'Top p', min: 0.05, max: 1, step: 0.05 },
  { key: 'top_k', label: 'Top k (0: all)', min: 0, max: 200, step: 1 },
  { key: 'min_p', label: 'Min p', min: 0, max: 0.5, step: 0.01 },
  { key: 'repetition_penalty', label: 'Repetition penalty', min: 0.8, max: 2, step: 0.05 },
];

const wholeOrNone = (text: string) => (text.trim() === '' || !Number.isFinite(Number(text)) ? null : Math.max(0, Math.round(Number(text))));

export function SamplingPanel() {
  const now = sampling.value;
  return (
    <form class="sampling" aria-label="Sampling" onSubmit={(event) => event.preventDefault()}>
      <label class="field">
        System prompt
        <textarea rows={3} value={now.system} onInput={(event) => setSampling({ system: event.currentTarget.value })} />
      </label>
      {kRanges.map((range) => (
        <label class="field range" key={range.key}>
          <span>
            {range.label} <strong>{now[range.key]}</strong>
          </span>
          <input type="range" min={range.min} max={range.max} step={range.step} value={now[range.key]} onInput={(event) => setSampling({ [range.key]: Number(event.currentTarget.value) } as Partial<Sampling>)} />
        </label>
      ))}
      <div class="pair">
        <label class="field">
          Most tokens
          <input inputMode="numeric" value={now.max_tokens ?? ''} placeholder="no limit" onInput={(event) => setSampling({ max_tokens: wholeOrNone(event.currentTarget.value) || null })} />
        </label>
        <label class="field">
          Seed
          <input inputMode="numeric" value={now.seed ?? ''} placeholder="random" onInput={(event) => setSampling({ seed: wholeOrNone(event.currentTarget.value) })} />
        </label>
      </div>
      <label class="check">
        <input type="checkbox" checked={now.probabilities} onInput={(event) => setSampling({ probabilities: event.currentTarget.checked })} /> Token probabilities
      </label>
      <button type="button" class="quiet" onClick={() => setSampling(kDefaults)}>
        Defaults
      </button>
    </form>
  );
}
