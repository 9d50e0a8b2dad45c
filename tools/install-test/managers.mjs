/** The package managers, each in one version: how it installs daemonry from a registry into an empty folder, and runs what it installed. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const at = fileURLToPath(new URL('../../target/managers/', import.meta.url));

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

const npmrc = (registry) => ({ '.npmrc': `registry=${registry}\n` });

/** With its packages in node_modules, where node and npx find them. */
const inModules = {
  node: [process.execPath],
  npx: ['npx'],
  platforms({ folder }) {
    const resolved = createRequire(join(folder, 'package.json')).resolve('daemonry');
    const modules = dirname(dirname(dirname(realpathSync(resolved))));
    const names = readdirSync(modules).filter((name) => name.startsWith('daemonry-'));
    return new Map(names.map((name) => [name, join(modules, name)]));
  },
};

const berry = '4.18.1';
const yarn = fetched('@yarnpkg/cli-dist', berry, 'bin/yarn.js');
const yarnrc = (registry, linker) => ({
  'yarn.lock': '',
  '.yarnrc.yml': `npmRegistryServer: "${registry}"\nunsafeHttpWhitelist: ["127.0.0.1"]\nnodeLinker: ${linker}\nenableTelemetry: false\nenableGlobalCache: false\nnpmMinimalAgeGate: 0\n`,
});

export const managers = [
  {
    name: 'npm',
    version: execFileSync('npm', ['--version'], { encoding: 'utf8' }).trim(),
    add: ['npm', 'install', '--no-audit', '--no-fund', 'daemonry'],
    files: npmrc,
    ...inModules,
  },
  {
    name: 'pnpm',
    version: '10.34.9',
    add: [...fetched('pnpm', '10.34.9', 'bin/pnpm.cjs'), 'add', 'daemonry'],
    files: npmrc,
    ...inModules,
  },
  {
    name: 'yarn',
    version: '1.22.22',
    // It knows nothing of C libraries, and installs the binaries for both.
    ignoresLibc: true,
    add: [...fetched('yarn', '1.22.22', 'bin/yarn.js'), 'add', 'daemonry'],
    files: (registry) => ({ ...npmrc(registry), '.yarnrc': `registry "${registry}"\n` }),
    ...inModules,
  },
  {
    name: 'yarn with node_modules',
    version: berry,
    add: [...yarn, 'add', 'daemonry'],
    files: (registry) => yarnrc(registry, 'node-modules'),
    ...inModules,
  },
  {
    name: "yarn with plug'n'play",
    version: berry,
    add: [...yarn, 'add', 'daemonry'],
    files: (registry) => yarnrc(registry, 'pnp'),
    node: [...yarn, 'node'],
    npx: yarn,
    // What can be loaded from an archive stays in one.
    platforms({ folder }) {
      const unplugged = join(folder, '.yarn/unplugged');
      const names = readdirSync(unplugged).map((entry) => [entry.replace(/-npm-.*/, ''), entry]);
      return new Map(names.map(([name, entry]) => [name, join(unplugged, entry, 'node_modules', name)]));
    },
  },
];

/** Installs it; a failure is thrown with all that was printed. */
export async function install(user, { add, files }, registry, ...options) {
  user.write({ 'package.json': '{ "private": true }\n', ...files(registry) });
  const [program, ...args] = add;
  const { code, stdout, stderr } = await user.run(program, ...args, ...options);
  if (code !== 0) throw new Error(`${args.join(' ')}: ${stdout}${stderr}`);
}
