// Markdown of a model, which is hostile until shown otherwise. HTML and images in it are shown as the text they are; what marked
// makes of the rest goes through DOMPurify, which leaves a short list of elements without styles, forms or frames; links
// say where they lead and tell nobody where they came from.
import DOMPurify from 'dompurify';
import { Marked } from 'marked';

const kEscapes: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escaped = (text: string) => text.replace(/[&<>"']/g, (character) => kEscapes[character]!);
const kLineBreak = /^<br\s*\/?>$/i; // models write it inside tables

const marked = new Marked({
  gfm: true,
  breaks: true,
  async: false,
  renderer: {
    html: ({ text }) => (kLineBreak.test(text.trim()) ? '<br>' : escaped(text)),
    image: ({ raw }) => escaped(raw),
  },
});

const purifier = DOMPurify(window);
purifier.addHook('afterSanitizeAttributes', (element) => {
  if (element.tagName !== 'A') return;
  const href = element.getAttribute('href') ?? '';
  if (!/^(https?:|mailto:)/i.test(href)) {
    element.removeAttribute('href');
    return;
  }
  element.setAttribute('target', '_blank');
  element.setAttribute('rel', 'noopener noreferrer nofollow');
  element.setAttribute('title', href);
});

const kConfig = {
  ALLOWED_TAGS: ['a', 'b', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'li', 'ol', 'p', 'pre', 's', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul'],
  ALLOWED_ATTR: ['href', 'start', 'align'],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_TRUSTED_TYPE: true,
} as const;

/** Safe to assign to innerHTML: a TrustedHTML where the browser has them. */
export function safeHtml(markdown: string): string {
  const html = marked.parse(markdown) as string;
  return purifier.sanitize(html, { ...kConfig, ALLOWED_TAGS: [...kConfig.ALLOWED_TAGS], ALLOWED_ATTR: [...kConfig.ALLOWED_ATTR] }) as unknown as string;
}

export function Markdown({ text }: { text: string }) {
  return <div class="markdown" dangerouslySetInnerHTML={{ __html: safeHtml(text) }} />;
}
