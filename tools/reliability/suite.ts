/** A suite that runs for an hour or more: its parts, its shards, and the results that are kept so that a run can be continued. */
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** What every suite depends on. */
const common = ['Cargo.toml', 'Cargo.lock', 'crates', 'index.d.ts', 'package-lock.json', 'src', 'tools/reliability'];

/** What one part came to. */
export interface Result {
  /** Everything that was not as it should be; nothing, if all was right. */
  readonly wrong: readonly string[];
}

/** The smallest piece of work that can be repeated alone. */
export interface Part<R> {
  /** Unique within the suite, and the same in every run. */
  readonly name: string;
  /** The part belongs to shard `key` modulo the number of shards. Default: a hash of the name, because a list can differ from run to run. */
  readonly key?: number;
  run(): Promise<R>;
}

export interface Suite<R extends Result> {
  readonly name: string;
  /** Files and folders, beside the library's own, that change what the results mean. */
  readonly sources: readonly string[];
  /** How many parts run at the same time. */
  readonly atOnce: number;
  /** The parts in their order; a group is listed when the one before it is done. */
  groups(): AsyncIterable<readonly Part<R>[]> | Iterable<readonly Part<R>[]>;
  /** The counts, in one line. */
  summary(results: readonly R[]): string;
  /** The tables for docs/reliability.md: Markdown by the name of the part. */
  tables(results: readonly R[]): Readonly<Record<string, string>>;
}

export interface Shard {
  /** From 1. */
  readonly number: number;
  readonly of: number;
}

/** Which parts run. */
export interface Choice {
  readonly shard: Shard;
  /** Only parts whose name contains this text. */
  readonly only: string;
  /** Only one part in this many. */
  readonly every: number;
  /** Whether the results are kept, and those that are kept already count. */
  readonly keeps: boolean;
  /** Discards what earlier runs of this shard have kept. */
  readonly isFresh: boolean;
}

/** Runs a shard of a suite, or continues it; prints what is wrong, and the counts. Returns every result of the shard. */
export async function runShard<R extends Result>(
  suite: Suite<R>,
  { shard, only, every, keeps, isFresh }: Choice,
): Promise<readonly R[]> {
  const kept = keeps ? new Kept<R>(suite, shard) : undefined;
  if (isFresh) kept?.discard();
  const results = kept?.read() ?? new Map<string, R>();
  const isComplete = kept?.isComplete() ?? false;
  const title = shard.of === 1 ? suite.name : `${suite.name}, shard ${shard.number}/${shard.of}`;
  if (results.size > 0) {
    const what = isComplete ? 'and nothing is left to run; --fresh repeats them' : 'and the run continues';
    console.log(`${title}: ${results.size} results of the same sources are kept, ${what}`);
  }
  if (!isComplete) {
    for await (const group of suite.groups()) {
      const parts = group
        .filter(({ name, key = hash(name) }) => key % shard.of === shard.number - 1 && name.includes(only))
        .filter((_, index) => index % every === 0)
        .filter(({ name }) => !results.has(name));
      await inParallel(parts, suite.atOnce, async (part) => {
        const result = await part.run();
        results.set(part.name, result);
        kept?.add(part.name, result);
        if (result.wrong.length > 0) console.log(`WRONG ${part.name}: ${result.wrong.join('; ')}`);
      });
    }
    if (results.size === 0) throw new Error(`${title} has no such part`);
    kept?.complete();
  }
  const all = [...results.values()];
  console.log(`${title}: ${suite.summary(all)}; ${wrongsIn(all)} wrong`);
  return all;
}

/** The results of all shards of a suite, or a sentence that says why they make no table. */
export function wholeSuite<R extends Result>(suite: Suite<R>, of: number): readonly R[] | string {
  const shards = Array.from({ length: of }, (_, index) => new Kept<R>(suite, { number: index + 1, of }));
  const missing = shards.flatMap((kept, index) => (kept.isComplete() ? [] : [index + 1]));
  if (missing.length > 0) {
    return missing.length === 1
      ? `shard ${missing[0]}/${of} is missing`
      : `the shards ${missing.join(', ')} of ${of} are missing`;
  }
  const results = shards.flatMap((kept) => [...kept.read().values()]);
  const wrong = wrongsIn(results);
  return wrong === 0 ? results : `${wrong} of ${results.length} results ${wrong === 1 ? 'is' : 'are'} wrong`;
}

function wrongsIn(results: readonly Result[]): number {
  return results.filter(({ wrong }) => wrong.length > 0).length;
}

/** The results of one shard for one state of the sources: a file with a line for each part, and a last line when all are done. */
class Kept<R> {
  readonly #file: string;
  readonly #last = JSON.stringify({ complete: true });

  constructor({ name, sources }: Pick<Suite<never>, 'name' | 'sources'>, { number, of }: Shard) {
    const folder = join(root, 'target', 'reliability', name);
    const build = fingerprint([...common, ...sources]);
    mkdirSync(join(folder, build), { recursive: true });
    // What other sources have come to says nothing about these.
    for (const other of readdirSync(folder)) {
      if (other !== build) rmSync(join(folder, other), { recursive: true });
    }
    this.#file = join(folder, build, `${number}-of-${of}.jsonl`);
  }

  #lines(): string[] {
    // What follows the last newline was being written when the run was interrupted.
    return existsSync(this.#file) ? readFileSync(this.#file, 'utf8').split('\n').slice(0, -1) : [];
  }

  read(): Map<string, R> {
    const lines = this.#lines();
    writeFileSync(this.#file, lines.map((line) => `${line}\n`).join(''));
    return new Map(
      lines
        .filter((line) => line !== this.#last)
        .map((line) => JSON.parse(line) as { part: string; result: R })
        .map(({ part, result }) => [part, result]),
    );
  }

  add(part: string, result: R): void {
    appendFileSync(this.#file, `${JSON.stringify({ part, result })}\n`);
  }

  complete(): void {
    appendFileSync(this.#file, `${this.#last}\n`);
  }

  isComplete(): boolean {
    return this.#lines().at(-1) === this.#last;
  }

  discard(): void {
    rmSync(this.#file, { force: true });
  }
}

/** A hash of the contents of files, and of the Node.js that runs them. Builds are made of these, and differ by nothing else. */
function fingerprint(sources: readonly string[]): string {
  const sum = createHash('sha256').update(process.version);
  for (const file of sources.flatMap((source) => filesBelow(source)).sort()) {
    sum.update(`\0${file}\0`).update(readFileSync(join(root, file)));
  }
  return sum.digest('hex').slice(0, 16);
}

function filesBelow(path: string): string[] {
  if (!statSync(join(root, path)).isDirectory()) return [path];
  return readdirSync(join(root, path)).flatMap((name) => filesBelow(join(path, name)));
}

function hash(text: string): number {
  return createHash('sha256').update(text).digest().readUInt32BE();
}

async function inParallel<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const rest = [...items];
  const worker = async () => {
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
