// Every relative link in the documentation leads to a file, and every anchor to a heading.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { dirname, join, normalize } from 'node:path';

const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.md', 'llms.txt'], { encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && existsSync(file));

/** A heading's anchor as GitHub makes it. */
const anchorOf = (heading) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\- _]/gu, '')
    .trim()
    .replaceAll(' ', '-');

const withoutCode = (text) =>
  text.replaceAll(/^```[\s\S]*?^```/gm, '').replaceAll(/`[^`\n]*`/g, (code) => code.slice(1, -1));
const anchorsOf = (file) =>
  new Set([...withoutCode(readFileSync(file, 'utf8')).matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchorOf(heading)));

const broken = [];
let checked = 0;
for (const file of files) {
  const text = readFileSync(file, 'utf8').replaceAll(/^```[\s\S]*?^```/gm, '');
  for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue;
    checked += 1;
    const [path, anchor] = target.split('#');
    const place = path === '' ? file : normalize(join(dirname(file), path));
    if (!existsSync(place)) broken.push(`${file}: ${target}: there is no ${place}`);
    else if (anchor !== undefined && !statSync(place).isDirectory() && !anchorsOf(place).has(anchor)) {
      broken.push(`${file}: ${target}: ${place} has no heading "${anchor}"`);
    }
  }
}
for (const line of broken) console.error(line);
console.log(`${checked} links in ${files.length} files, ${broken.length} broken`);
process.exitCode = broken.length > 0 ? 1 : 0;
