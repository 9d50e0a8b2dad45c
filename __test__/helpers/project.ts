/** Small programs written for one test, in a folder of their own where daemonry is installed. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { stop } from '../../dist/index.js';
import { fixture, run, type Outcome, type RunOptions } from './run.js';
import { workspace, type Workspace } from './workspace.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What `fixtures/tell.cjs` writes. */
export interface Told {
  readonly argv: readonly string[];
  readonly argv0: string;
  readonly execArgv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly pid: number;
  readonly cwd: string;
  readonly umask: number;
  readonly [more: string]: unknown;
}

export interface Project extends Workspace {
  /** Runs node in the folder. */
  node(args: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Runs a shell there, in which `$NODE` is this node. */
  shell(script: string, options?: RunOptions): Promise<Outcome>;
  /** What the daemon told; `undefined` if none did. */
  told(): Told | undefined;
}

/** Writes `files` beside `tell.cjs`; stops the daemons of the pidfiles `a.pid` and `b.pid` there after the test. */
export function project(t: ExecutionContext, files: Readonly<Record<string, string>> = {}): Project {
  const folder = workspace(t);
  const { path, at } = folder;
  mkdirSync(at('node_modules'));
  symlinkSync(root, at('node_modules', 'daemonry'));
  symlinkSync(`${root}/node_modules/tsx`, at('node_modules', 'tsx'));
  copyFileSync(fixture('tell.cjs'), at('tell.cjs'));
  for (const [name, source] of Object.entries(files)) {
    mkdirSync(dirname(at(name)), { recursive: true });
    writeFileSync(at(name), source);
  }
  for (const name of ['a.pid', 'b.pid']) t.teardown(() => stop({ pidFile: at(name) }));
  return {
    ...folder,
    node: (args, options) => run(process.execPath, args, { cwd: path, ...options }),
    shell: (script, options) =>
      run('sh', ['-c', script], {
        cwd: path,
        ...options,
        env: { ...process.env, ...options?.env, NODE: process.execPath },
      }),
    told: () => (existsSync(at('told.json')) ? (JSON.parse(readFileSync(at('told.json'), 'utf8')) as Told) : undefined),
  };
}
