/**
 * Runs the code blocks of the documentation, page by page, each page in a folder of its own in which daemonry is installed, as an ordinary
 * user. `scripts/test-documentation` makes the surroundings and gives the folder for all of that.
 *
 * A block of JavaScript whose first line is `// NAME` is written to that file, and run at the end of its page unless another block that is run
 * names it; any other is run where it stands. JavaScript is type-checked as well. Of a `console` block each command is run and what it prints
 * compared, to the letter but for what differs from run to run: `4242` and its like stand for a pid, the same throughout the block; a date for
 * any date; `you` for the user, `/home/you` for the home directory, `/srv/app` for the page's folder and `/usr/bin` for the commands installed in it. How wide the columns of a table are is not compared.
 *
 * Comments above a block: `<!-- not run: REASON -->` and `<!-- run first: COMMAND -->`; at the top of a page
 * `<!-- not run on this page: REASON -->` and `<!-- run as root -->`. What is not run is listed; a block that nobody knows how to run is an error.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [scratch] = process.argv.slice(2);
const root = join(scratch, 'daemonry');
const nobody = 65534;
const names = Object.keys(await import('../../dist/index.js'));
const only = process.env['DAEMONRY_PAGE'] ?? '';

const pages = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.md'], { encoding: 'utf8' })
  .split('\n')
  .filter((page) => page !== '' && page.includes(only));
/** How a reason ends where a block is not run, but checked. */
const typed = 'its types are checked';
let run = 0;
const left = [];
const problems = [];

/** The blocks of a page, each with the comments right above it. */
function blocksOf(page) {
  const blocks = [];
  let comments = [];
  let open;
  for (const [index, line] of readFileSync(page, 'utf8').split('\n').entries()) {
    const [, fence, language] = /^\s*(`{3,}|~{3,})\s*(\S*)/.exec(line) ?? [];
    const comment = /^<!-- (.*) -->$/.exec(line);
    if (open !== undefined && line.trim() === open.fence) {
      blocks.push(open);
      open = undefined;
      comments = [];
    } else if (open !== undefined) open.lines.push(line);
    else if (fence !== undefined) open = { fence, language, place: `${page}:${index + 1}`, comments, lines: [] };
    else if (comment !== null) comments.push(comment[1]);
    else if (line.trim() !== '') comments = [];
  }
  if (open !== undefined) problems.push(`${open.place}: the block has no end`);
  return blocks;
}

/** A folder for the blocks of a page, and how to run a shell in it. */
function placeFor(page, isRoot) {
  const folder = join(scratch, page.replaceAll('/', '-'));
  for (const path of [folder, join(folder, 'home'), join(folder, 'node_modules'), join(folder, 'node_modules/.bin')]) {
    mkdirSync(path);
    if (!isRoot) chownSync(path, nobody, nobody);
  }
  symlinkSync(root, join(folder, 'node_modules/daemonry'));
  symlinkSync('../daemonry/dist/cli.js', join(folder, 'node_modules/.bin/daemonry'));
  symlinkSync(join(root, 'node_modules/@types'), join(folder, 'node_modules/@types'));
  const PATH = `${join(folder, 'node_modules/.bin')}:${join(scratch, 'bin')}:${process.env.PATH}`;
  const env = { PATH, HOME: join(folder, 'home'), NO_COLOR: '1', TZ: 'UTC', npm_config_update_notifier: 'false' };
  const user = isRoot ? [] : ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'];
  return {
    folder,
    write: (name, text) => writeFileSync(join(folder, name), text),
    shell(command) {
      const [program, ...args] = [...user, 'sh', '-c', command];
      // To a file: a pipe would be waited for as long as a background process of the block holds it.
      const options = { cwd: folder, env, encoding: 'utf8', timeout: 60_000 };
      const { status, signal } = spawnSync(
        'sh',
        ['-c', '"$@" >"$0" 2>&1 </dev/null', join(scratch, 'output'), program, ...args],
        options,
      );
      return { code: status ?? signal, output: readFileSync(join(scratch, 'output'), 'utf8') };
    },
  };
}

const evenly = (text) => text.replaceAll(/[ \t]+/g, ' ').trim();
const dateless = (text) => text.replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{3}Z)?/g, 'DATE');

/** Whether `found` is what the page says, and its pids are those that it has told before. */
function isAsSaid(said, found, pids) {
  const pattern = evenly(dateless(said))
    .replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
    .replaceAll(/\b42\d\d\b/g, '(\\d+)');
  const numbers = new RegExp(`^${pattern}$`).exec(evenly(dateless(found)))?.slice(1);
  if (numbers === undefined) return false;
  for (const [index, [pid]] of [...said.matchAll(/\b42\d\d\b/g)].entries()) {
    const known = pids.get(pid);
    if (known === undefined && [...pids.values()].includes(numbers[index])) return false;
    if (known !== undefined && known !== numbers[index]) return false;
    pids.set(pid, numbers[index]);
  }
  return true;
}

/** The commands of a console block, each with what it prints. */
function commandsOf(lines) {
  const commands = [];
  for (const line of lines) {
    if (line.startsWith('$ ')) commands.push({ command: line.slice(2), expected: [] });
    else if (commands.length > 0) commands.at(-1).expected.push(line);
    else throw new Error(`a session begins with a command, not with ${line}`);
  }
  return commands;
}

/** A block as a module: one that imports nothing gets the names of daemonry that it uses. */
function moduleOf(lines) {
  const text = lines.join('\n');
  if (/\bfrom 'daemonry'|require\(/.test(text)) return text;
  const used = names.filter((name) => new RegExp(`\\b${name}\\(`).test(text));
  return used.length === 0 ? text : `import { ${used.join(', ')} } from 'daemonry';\n${text}`;
}

function check({ place }, what, isRight, problem) {
  run += 1;
  if (!isRight) problems.push(`${place}: ${what}: ${problem}`);
}

function runPage(page) {
  const blocks = blocksOf(page);
  const top = readFileSync(page, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('<!-- '))
    .slice(0, 2)
    .join('\n');
  const wholePage = /^<!-- not run on this page: (.*) -->$/m.exec(top)?.[1];
  const at = placeFor(page, top.includes('<!-- run as root -->'));
  const written = new Map();
  const scripts = [];
  for (const block of blocks) {
    const { language, comments, lines } = block;
    const isProgram = ['js', 'ts'].includes(language);
    const name = isProgram ? /^\/\/ ([\w-]+\.\w+)/.exec(lines[0])?.[1] : undefined;
    const file = name ?? `block-${block.place.split(':')[1]}.mjs`;
    const told = comments.find((comment) => comment.startsWith('not run: '))?.slice('not run: '.length);
    const reason = wholePage ?? told ?? (language === 'text' ? 'not a program' : undefined);
    if (isProgram) at.write(file, moduleOf(lines));
    if (isProgram && (reason ?? typed).endsWith(typed)) scripts.push(file);
    block.isRun = reason === undefined;
    if (reason !== undefined) {
      left.push(`${block.place} (${language}): ${reason}`);
      continue;
    }
    for (const comment of comments) {
      const command = /^run first: (.*)$/.exec(comment)?.[1];
      if (command === undefined) continue;
      const { code, output } = at.shell(command);
      check(block, command, code === 0, output);
    }
    if (name !== undefined) written.set(name, block);
    else if (isProgram) runProgram(at, block, file);
    else if (language === 'console') runSession(at, block);
    else if (language === 'sh') {
      const { code, output } = at.shell(`set -e\n${lines.join('\n')}`);
      check(block, 'the commands', code === 0, output);
    } else
      problems.push(
        `${block.place}: nobody knows how to run ${language || 'a block without a language'}: mark it as not run, with the reason`,
      );
  }
  for (const [name, block] of written) {
    const isNamed = blocks.some((other) => other !== block && other.isRun && other.lines.join('\n').includes(name));
    if (!isNamed) runProgram(at, block, name);
  }
  checkTypes(at, page, scripts);
  // The next page may use the same names. Daemons that were started elsewhere are none of this.
  for (const { name, record } of JSON.parse(at.shell('daemonry list --json').output)) {
    if (!record?.cwd.startsWith(at.folder)) continue;
    at.shell(`daemonry stop ${name}`);
    if (process.geteuid() !== 0) continue;
    for (const place of ['/run', '/var/log']) rmSync(join(place, name), { recursive: true, force: true });
    for (const end of ['json', 'jsonl']) rmSync(`/var/lib/daemonry/${name}.${end}`, { force: true });
  }
}

function runProgram(at, block, file) {
  const { code, output } = at.shell(`node ${file}`);
  check(block, `node ${file}`, code === 0, `exit code ${code}: ${output}`);
}

function runSession(at, block) {
  const pids = new Map();
  for (const { command, expected } of commandsOf(block.lines)) {
    const found = at
      .shell(command)
      .output.replaceAll(join(at.folder, 'home'), '/home/you')
      .replaceAll(join(at.folder, 'node_modules/.bin'), '/usr/bin')
      .replaceAll(at.folder, '/srv/app')
      .replaceAll(/\bby (nobody|root)( \(login uid \d+\))?/g, 'by you');
    const said = expected.join('\n');
    check(block, command, isAsSaid(said, found, pids), `prints\n${found}instead of\n${said}`);
  }
}

function checkTypes(at, page, files) {
  if (files.length === 0) return;
  const compilerOptions = {
    allowJs: true,
    checkJs: true,
    noEmit: true,
    strict: true,
    noImplicitAny: false,
    target: 'es2023',
    module: 'node20',
    skipLibCheck: true,
    types: ['node'],
  };
  at.write('tsconfig.json', JSON.stringify({ compilerOptions, files }));
  const { code, output } = at.shell(`node ${join(root, 'node_modules/typescript/bin/tsc')} -p .`);
  check({ place: page }, 'types', code === 0, output);
}

for (const page of pages) runPage(page);
for (const reason of left) console.log(`not run: ${reason}`);
for (const problem of problems) console.error(`FAIL  ${problem}`);
console.log(`${pages.length} pages, ${run} checks, ${problems.length} wrong, ${left.length} blocks not run`);
process.exitCode = problems.length === 0 ? 0 : 1;
