/** The package managers, each in one version, and how it installs daemonry from a registry into an empty folder. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const at = fileURLToPath(new URL('../target/managers/', import.meta.url));

/** The script of a manager from the registry; fetched once. */
function fetched(name, version, script) {
  const folder = join(at, `${name.replace(/\W/g, '-')}-${version}`);
  if (!existsSync(join(folder, 'package', script))) {
    mkdirSync(folder, { recursive: true });
    const [{ filename }] = Object.values(
      JSON.parse(
        execFileSync('npm', ['pack', '--json', '--pack-destination', folder, `${name}@${version}`], {
          encoding: 'utf8',
        }),
      ),
    );
    execFileSync('tar', ['-xzf', filename], { cwd: folder });
  }
  return [process.execPath, join(folder, 'package', script)];
}

export const managers = [
  {
    name: 'npm',
    version: execFileSync('npm', ['--version'], { encoding: 'utf8' }).trim(),
    knowsLibc: true,
    command: () => ['npm', 'install', '--no-audit', '--no-fund', 'daemonry'],
    files: (registry) => ({ '.npmrc': `registry=${registry}\n` }),
  },
  {
    name: 'pnpm',
    version: '10.34.9',
    knowsLibc: true,
    command: () => [...fetched('pnpm', '10.34.9', 'bin/pnpm.cjs'), 'add', 'daemonry'],
    files: (registry) => ({ '.npmrc': `registry=${registry}\n` }),
  },
  {
    name: 'yarn',
    version: '1.22.22',
    knowsLibc: false,
    command: () => [...fetched('yarn', '1.22.22', 'bin/yarn.js'), 'add', 'daemonry'],
    files: (registry) => ({ '.npmrc': `registry=${registry}\n`, '.yarnrc': `registry "${registry}"\n` }),
  },
  {
    name: 'yarn berry',
    version: '4.18.1',
    knowsLibc: true,
    command: () => [...fetched('@yarnpkg/cli-dist', '4.18.1', 'bin/yarn.js'), 'add', 'daemonry'],
    files: (registry) => ({
      'yarn.lock': '',
      '.yarnrc.yml': `npmRegistryServer: "${registry}"\nunsafeHttpWhitelist: ["127.0.0.1"]\nnodeLinker: node-modules\nenableTelemetry: false\nenableGlobalCache: false\nnpmMinimalAgeGate: 0\n`,
    }),
  },
];

/** Installs it; a failure is thrown with all that was printed. */
export async function install(user, { command, files }, registry, ...options) {
  user.write({ 'package.json': '{ "private": true }\n', ...files(registry) });
  const [program, ...args] = command();
  const { code, stdout, stderr } = await user.run(program, ...args, ...options);
  if (code !== 0) throw new Error(`${args.join(' ')}: ${stdout}${stderr}`);
}
