// Requests that wait or run, with a button that ends each.
import { signal } from '@preact/signals';
import { call } from '../api';
import type { RequestStatus } from '../contract';
import * as format from '../format';
import { requests, totals } from '../store';

const failed = signal<string | null>(null);

async function cancel(id: number): Promise<void> {
  try {
    await call(`/v1/cluster/requests/${id}/cancel`, { method: 'POST' });
    failed.value = null;
  } catch (error) {
    failed.value = `Request ${id} was not cancelled: ${(error as Error).message}`;
  }
}

export function Requests() {
  const list = requests.value ?? [];
  const sums = totals.value;
  return (
    <section class="card" aria-labelledby="requests-title">
      <header>
        <h2 id="requests-title">Requests</h2>
        {sums && (
          <span class="dim small">
            {format.number(sums.finished)} finished · {format.number(sums.cancelled)} cancelled · {format.number(sums.failed)} failed · {format.number(sums.refused)} refused
          </span>
        )}
      </header>
      {failed.value && (
        <p class="problem" role="alert">
          {failed.value}
        </p>
      )}
      {list.length === 0 ? (
        <p class="dim empty">None at the moment.</p>
      ) : (
        <div class="scroll" tabIndex={0} role="group" aria-label="Requests, table">
          <table data-testid="requests">
            <thead>
              <tr>
                <th scope="col">Request</th>
                <th scope="col">State</th>
                <th scope="col" class="num">
                  Prompt
                </th>
                <th scope="col" class="num">
                  Cached
                </th>
                <th scope="col" class="num">
                  Generated
                </th>
                <th scope="col" class="num">
                  Age
                </th>
                <th scope="col">
                  <span class="unseen">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {list.map((request) => (
                <Row key={request.id} request={request} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Row({ request }: { request: RequestStatus }) {
  const done = request.prompt_tokens ? request.processed_tokens / request.prompt_tokens : 1;
  return (
    <tr data-testid="request">
      <th scope="row">
        <code>{request.label}</code>
      </th>
      <td>
        <span class={`pill ${request.state}`}>{request.state === 'prefilling' ? `prefilling ${format.percent(done)}` : request.state}</span>
      </td>
      <td class="num">{request.prompt_tokens}</td>
      <td class="num">{request.cached_tokens}</td>
      <td class="num">{request.generated_tokens}</td>
      <td class="num">{format.seconds(request.age_s)}</td>
      <td class="num">
        <button type="button" class="quiet" aria-label={`Cancel ${request.label}`} onClick={() => cancel(request.id)}>
          Cancel
        </button>
      </td>
    </tr>
  );
}
