// What the planner predicts of the plan, beside what it decided against.
import { useSignal } from '@preact/signals';
import type { Report } from '../contract';
import * as format from '../format';
import { arrangement, inWords } from '../placement_name';
import { rankByName } from '../ranks';

interface Candidate {
  name: string;
  fits: boolean;
  tokens: number; // per second
  first: number;
  reason: string;
  chosen: boolean;
}

const kBeside = 3;

export function Placement({ report }: { report: Report }) {
  const all = useSignal(false);
  const { predicted } = report;
  const chosen: Candidate = { name: report.plan, fits: true, tokens: predicted.tokens_per_second, first: predicted.seconds_to_first_token, reason: '', chosen: true };
  // An alternative is told by its step; a batch makes as many tokens in each.
  const others = report.alternatives.map((one) => ({ name: one.name, fits: one.fits, tokens: report.request.batch / one.seconds_per_token, first: one.seconds_to_first_token, reason: one.reason, chosen: false }));
  const candidates = [chosen, ...others];
  const most = Math.max(...candidates.filter((one) => one.fits).map((one) => one.tokens));
  const shown = all.value ? candidates : candidates.slice(0, 1 + kBeside);
  const memory = report.ranks.reduce((sum, rank) => sum + rank.memory_bytes.total, 0);
  return (
    <section class="card" aria-labelledby="placement-title" data-testid="placement">
      <header>
        <h2 id="placement-title">Predicted, and what else was considered</h2>
        <span class="dim small">
          at a context of {format.number(report.request.max_context)} tokens{report.request.batch > 1 && `, ${report.request.batch} sequences together`}; first token of a prompt of {format.number(predicted.prompt_tokens)}
        </span>
      </header>
      <ul class="candidates">
        {shown.map((candidate) => (
          <li key={candidate.name} class={`candidate ${candidate.chosen ? 'chosen' : ''} ${candidate.fits ? '' : 'unfit'}`}>
            <Stages name={candidate.name} />
            <p class="rate">
              <strong>{format.number(candidate.tokens)}</strong> tok/s {!candidate.fits && <span class="dim">if it fitted</span>}
            </p>
            <span class="track">
              <i style={{ width: `${Math.min(100, (100 * candidate.tokens) / most)}%` }} />
            </span>
            <dl>
              <div>
                <dt>First token</dt>
                <dd>{format.seconds(candidate.first)}</dd>
              </div>
              {candidate.chosen && (
                <>
                  <div>
                    <dt>On the wire</dt>
                    <dd>{format.percent(predicted.communication_seconds_per_token / predicted.seconds_per_token)} of a token</dd>
                  </div>
                  <div>
                    <dt>Memory</dt>
                    <dd>{format.bytes(memory)} in all</dd>
                  </div>
                </>
              )}
            </dl>
            <p class="small dim">{candidate.chosen ? 'the running plan' : candidate.reason}</p>
          </li>
        ))}
      </ul>
      {candidates.length > 1 + kBeside && (
        <button type="button" class="quiet" aria-expanded={all.value} onClick={() => (all.value = !all.value)}>
          {all.value ? 'Show fewer' : `Show all ${candidates.length}`}
        </button>
      )}
      <Notes title="Not split, and why" lines={report.not_split} />
      <Notes title="Assumed and decided" lines={report.notes} />
    </section>
  );
}

function Stages({ name }: { name: string }) {
  const parts = arrangement(name);
  const crowded = parts.stages.flat().length > 6;
  return (
    <>
      <h3>
        {parts.how} <span class="dim">{inWords(parts)}</span>
      </h3>
      <div class={`stages ${crowded ? 'crowded' : ''}`} aria-label={name} role="img">
        {parts.stages.map((stage, index) => (
          <span class="stage" key={index}>
            {stage.map((node) => (
              <i key={node} title={node} style={{ background: rankByName.value.get(node)?.color ?? 'var(--track)' }}>
                {crowded ? '' : node}
              </i>
            ))}
          </span>
        ))}
      </div>
    </>
  );
}

function Notes({ title, lines }: { title: string; lines: string[] }) {
  if (lines.length === 0) return null;
  return (
    <details class="notes">
      <summary>
        {title} ({lines.length})
      </summary>
      <ul>
        {lines.map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
    </details>
  );
}
