/** What this machine lets a test do. A test that cannot run says so in its name. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { release, tmpdir } from 'node:os';
import anyTest, { type Implementation } from 'ava';

/** An ordinary user without files or processes: nobody. */
export const nobody = { uid: 65534, gid: 65534 };

export const isRoot = process.geteuid?.() === 0;

/** Why this process cannot run our programs as another user; `undefined` where it can. */
export const noOtherUser: string | undefined = (() => {
  if (!isRoot) return 'only root can run a program as another user';
  const dist = fileURLToPath(new URL('../../dist/index.js', import.meta.url));
  const { status } = spawnSync(process.execPath, ['--check', dist], { ...nobody, cwd: '/' });
  return status === 0 ? undefined : 'other users cannot read this repository or run this node';
})();

/** Why there can be no namespace of the kind that `unshare` is told by `flags`; `undefined` where there can. */
function noNamespace(flags: readonly string[], probe: string): string | undefined {
  const { status } = spawnSync('unshare', [...flags, 'sh', '-c', probe, tmpdir()], { stdio: 'ignore' });
  return status === 0 ? undefined : `this machine does not allow unshare ${flags.join(' ')}`;
}

const asRoot = isRoot ? [] : ['--user', '--map-root-user'];

/** Runs what follows with mounts of its own, which go when it ends. */
export const ownMounts = ['unshare', ...asRoot, '--mount'];
export const noOwnMounts = noNamespace(ownMounts.slice(1), 'mount -t tmpfs tmpfs "$0"');

/** Runs what follows in a PID namespace of its own, which ends with it. */
export const ownPids = ['unshare', ...asRoot, '--pid', '--fork', '--mount-proc', '--kill-child'];
export const noOwnPids = noNamespace(ownPids.slice(1), 'true');

/** Why pids cannot be made to wrap soon in such a namespace. Before Linux 6.14 its limit is the whole machine's: hands off. */
export const noSmallPids: string | undefined = (() => {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (major < 6 || (major === 6 && minor < 14))
    return 'PID namespaces have a pid_max of their own since Linux 6.14 only';
  return noNamespace(ownPids.slice(1), 'cd /proc/sys/kernel && echo 400 >pid_max && echo 310 >ns_last_pid');
})();

/** `test.serial`, or a skipped test that says why. */
export function testUnless(obstacle: string | undefined) {
  return (title: string, implementation: Implementation<[]>) => {
    if (obstacle === undefined) anyTest.serial(title, implementation);
    else anyTest.skip(`${title} (skipped: ${obstacle})`, implementation);
  };
}

/** Why a test cannot run that looks into /proc, or has strace(1), setpriv(1), prlimit(1) or util-linux's script(1) run something. */
export const noLinux = process.platform === 'linux' ? undefined : 'it looks with what only Linux has';

/** `test`, or a skipped test that says why it needs Linux. */
export function testOnLinux(title: string, implementation: Implementation<[]>) {
  if (noLinux === undefined) anyTest(title, implementation);
  else testUnless(noLinux)(title, implementation);
}
