/** The generated parts of the documentation, each between the marks `<!-- generated: NAME -->` and `<!-- end -->`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** When and where the figures of a part were measured. */
export const today = () => new Date().toISOString().slice(0, 10);
export const machine = `Node.js ${process.version}, Linux ${release().split('-')[0]}, ${cpus().length} × ${cpus()[0].model}`;

/** A table in Markdown. A column whose heading ends with a colon is aligned to the right. */
export function table(headings, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const names = headings.map((heading) => heading.replace(/:$/, ''));
  const alignments = headings.map((heading) => (heading.endsWith(':') ? '---:' : '---'));
  return [names, alignments, ...rows].map(line).join('\n');
}

/** The text of a page with new parts, by their names; a function gets what the part was before. */
export async function withParts(page, parts) {
  let text = readFileSync(join(root, page), 'utf8');
  for (const [name, part] of Object.entries(parts)) {
    const between = new RegExp(`(?<=<!-- generated: ${name} -->\n)[^]*?(?=<!-- end -->)`);
    if (!between.test(text)) throw new Error(`${page} has no mark for the part "${name}"`);
    text = text.replace(between, (before) => `\n${typeof part === 'function' ? part(before) : part}\n\n`);
  }
  return format(text, { ...(await resolveConfig(join(root, page))), parser: 'markdown' });
}

/** Writes parts of a page, such as docs/platforms.md, and leaves the others as they are. */
export async function writeParts(page, parts) {
  writeFileSync(join(root, page), await withParts(page, parts));
}
