// One tooltip for the page: what the pointer or the keyboard is on. Its content is shown beside as text elsewhere, or on focus.
import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';

interface Tip {
  x: number;
  y: number;
  content: ComponentChildren;
}
const tip = signal<Tip | null>(null);

export function showTip(event: MouseEvent, content: ComponentChildren): void {
  tip.value = { x: event.clientX, y: event.clientY, content };
}
export function hideTip(): void {
  tip.value = null;
}

export function Tooltip() {
  const at = tip.value;
  if (!at) return null;
  const right = at.x > innerWidth - 300;
  const below = at.y < innerHeight - 220;
  return (
    <div
      class="tooltip"
      role="tooltip"
      style={{ left: right ? 'auto' : `${at.x + 14}px`, right: right ? `${innerWidth - at.x + 14}px` : 'auto', top: below ? `${at.y + 14}px` : 'auto', bottom: below ? 'auto' : `${innerHeight - at.y + 14}px` }}
    >
      {at.content}
    </div>
  );
}
