// Light, dark, or as the system has it.
import { effect, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';
const kTheme = 'exo.theme';
const stored = localStorage.getItem(kTheme);

export const theme = signal<Theme>(stored === 'light' || stored === 'dark' ? stored : 'system');

const systemDark = matchMedia('(prefers-color-scheme: dark)');
const systemIsDark = signal(systemDark.matches);
systemDark.addEventListener('change', () => (systemIsDark.value = systemDark.matches));

export const isDark = signal(false);

effect(() => {
  isDark.value = theme.value === 'dark' || (theme.value === 'system' && systemIsDark.value);
  document.documentElement.dataset.theme = isDark.value ? 'dark' : 'light';
  localStorage.setItem(kTheme, theme.value);
});

export function toggleTheme(): void {
  theme.value = isDark.value ? 'light' : 'dark';
}

/** A custom property of the style sheet, as it is now: for canvases. */
export function styleValue(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
