// An answer token by token: the less likely a token was, the warmer its ground; the alternatives on hover and on focus.
import { useSignal } from '@preact/signals';
import * as format from '../format';
import type { TokenChoice } from './messages';

/** 0: certain … 4: below 10 %. */
function heat(logprob: number): number {
  const probability = Math.exp(logprob);
  return probability > 0.9 ? 0 : probability > 0.6 ? 1 : probability > 0.3 ? 2 : probability > 0.1 ? 3 : 4;
}

const visible = (token: string) => token.replaceAll('\n', '⏎').replaceAll(' ', '␣') || '∅';

export function Tokens({ tokens }: { tokens: TokenChoice[] }) {
  const open = useSignal<number | null>(null);
  const chosen = open.value === null ? null : tokens[open.value];
  return (
    <div class="tokens" data-testid="tokens">
      <p class="token-text">
        {tokens.map((token, index) => (
          <button type="button" key={index} class={`token heat-${heat(token.logprob)}`} aria-pressed={open.value === index} onClick={() => (open.value = index)} onFocus={() => (open.value = index)} onMouseEnter={() => (open.value = index)}>
            {token.token}
          </button>
        ))}
      </p>
      <div class="alternatives" aria-live="polite">
        {chosen ? (
          <table>
            <tbody>
              {(chosen.others.length ? chosen.others : [chosen]).map((other) => (
                <tr key={other.token} class={other.token === chosen.token ? 'chosen' : ''}>
                  <td>
                    <code>{visible(other.token)}</code>
                  </td>
                  <td>
                    <span class="track">
                      <i style={{ width: `${100 * Math.exp(other.logprob)}%` }} />
                    </span>
                  </td>
                  <td class="num">{format.percent(Math.exp(other.logprob))}</td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : (
          <p class="dim small">Point at a token to see what else it might have been.</p>
        )}
      </div>
    </div>
  );
}
