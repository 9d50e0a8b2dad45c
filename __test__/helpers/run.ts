/** Running programs as a shell would, and seeing what they tell. */
import { spawn, type SpawnOptions } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions extends SpawnOptions {
  /** Milliseconds after which the program has hung: it is killed and the run rejects. */
  readonly deadline?: number;
  /** Lets permissions count for root, too. */
  readonly unprivileged?: boolean;
}

/** The path of a file in `__test__/fixtures`. */
export function fixture(name: string): string {
  return fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
}

/** Starts a program; `done` resolves when it has exited and its output is at an end. */
export function start(command: string, args: readonly string[], options: RunOptions = {}) {
  const { deadline = 60_000, unprivileged = false, ...spawnOptions } = options;
  if (unprivileged && process.geteuid?.() === 0) {
    return start('setpriv', ['--bounding-set=-dac_override,-dac_read_search', command, ...args], {
      ...options,
      unprivileged: false,
    });
  }
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...spawnOptions });
  let [stdout, stderr] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const done = new Promise<Outcome>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${command} ${args.join(' ')} hung; stdout: ${stdout}; stderr: ${stderr}`));
    }, deadline);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr });
    });
  });
  return { child, done };
}

/** Runs a program to its end. */
export function run(command: string, args: readonly string[], options?: RunOptions): Promise<Outcome> {
  return start(command, args, options).done;
}
