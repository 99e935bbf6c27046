// Builds dist/: index.html and files named by their content, each compressed twice. The result is committed, so that the C++
// build needs no Node. esbuild alone: it bundles, compiles TSX and minifies, in a tenth of a second and one package; Vite
// would add a development server and some hundred packages of others.
//   node build.mjs [--out DIR]
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
const flag = process.argv.indexOf('--out');
const out = flag > 0 ? process.argv[flag + 1] : join(here, 'dist');

await import('./contract.mjs');
const result = await build({
  absWorkingDir: here,
  entryPoints: { app: 'src/main.tsx', style: 'src/style.css' },
  outdir: '/',
  bundle: true,
  minify: true,
  write: false,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'none',
  define: { 'process.env.NODE_ENV': '"production"' },
});

const files = new Map();
function addHashed(stem, extension, bytes) {
  const hash = createHash('sha256').update(bytes).digest('hex').slice(0, 10);
  const name = `${stem}-${hash}.${extension}`;
  files.set(name, bytes);
  return `/${name}`;
}
const output = (extension) => Buffer.from(result.outputFiles.find((file) => file.path.endsWith(extension)).contents);
const icon = addHashed('icon', 'svg', readFileSync(join(here, 'src/icon.svg')));
const style = addHashed('style', 'css', output('.css'));
const script = addHashed('app', 'js', output('.js'));
const html = readFileSync(join(here, 'index.html'), 'utf8').replace('ICON', icon).replace('STYLE', style).replace('SCRIPT', script);
files.set('index.html', Buffer.from(html));

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
let total = 0;
for (const [name, bytes] of files) {
  const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } });
  const gzip = gzipSync(bytes, { level: 9 });
  writeFileSync(join(out, `${name}.br`), brotli);
  writeFileSync(join(out, `${name}.gz`), gzip);
  total += brotli.length + gzip.length;
  console.log(`${name.padEnd(22)} ${String(bytes.length).padStart(7)} B, brotli ${brotli.length}, gzip ${gzip.length}`);
}
// For CMake, and for whoever asks what was built: names and the hash of what they hold, before compression (which differs
// from one version of Node to the next).
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const entries = [...files.keys()].sort().map((name) => `  ${name} ${sha256(files.get(name))}`);
writeFileSync(join(out, 'files.cmake'), `# Made by build.mjs: name and SHA-256 of every file.\nset(EXO_DASHBOARD_FILES\n${entries.join('\n')})\n`);
console.log(`${files.size} files, ${total} B compressed`);
