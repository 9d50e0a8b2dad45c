/**
 * What can happen to each system call: the errors that its page in section 2 of the manual lists, without those that only a wrong
 * call can have (EFAULT, EINVAL of constant arguments, EBADF of descriptors that were just made).
 */
import type { Call } from './trace.js';

const path = ['EACCES', 'EIO', 'ELOOP', 'ENOENT', 'ENOMEM', 'ENOTDIR'];
const change = [...path, 'EDQUOT', 'ENOSPC', 'EPERM', 'EROFS'];
const output = ['EAGAIN', 'EDQUOT', 'EFBIG', 'EINTR', 'EIO', 'ENOSPC', 'EPERM', 'EPIPE'];
const input = ['EAGAIN', 'EINTR', 'EIO', 'EISDIR'];
const process = ['EAGAIN', 'EINVAL', 'ENOMEM', 'ENOSPC', 'ENOSYS', 'EPERM'];
const ids = ['EAGAIN', 'ENOMEM', 'EPERM'];
const socket = ['EACCES', 'EADDRINUSE', 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM'];

const errnos: Readonly<Record<string, readonly string[]>> = {
  access: path,
  bind: [...socket, 'ELOOP', 'ENOENT', 'ENOSPC', 'ENOTDIR', 'EROFS'],
  chdir: path,
  capset: ['EPERM'],
  chmod: change,
  chown: change,
  clone: process,
  clone3: process,
  clock_nanosleep: ['EINTR'],
  close: ['EDQUOT', 'EINTR', 'EIO', 'ENOSPC'],
  close_range: ['EMFILE', 'ENOMEM', 'ENOSYS', 'EPERM'],
  connect: [...socket, 'ECONNREFUSED', 'EINTR', 'ENOENT', 'EAGAIN'],
  dup2: ['EBADF', 'EBUSY', 'EINTR', 'EMFILE'],
  epoll_ctl: ['ENOMEM', 'ENOSPC'],
  epoll_pwait: ['EINTR'],
  execve: [...path, 'E2BIG', 'EAGAIN', 'EISDIR', 'ELIBBAD', 'EMFILE', 'ENFILE', 'ENOEXEC', 'EPERM', 'ETXTBSY'],
  faccessat: path,
  faccessat2: [...path, 'ENOSYS', 'EPERM', 'EROFS'],
  fchmod: ['EIO', 'EPERM', 'EROFS'],
  fchown: ['EIO', 'EPERM', 'EROFS'],
  fchownat: change,
  fcntl: ['EACCES', 'EAGAIN', 'EBADF', 'EINTR', 'EMFILE', 'ENOLCK', 'EPERM'],
  fdatasync: ['EDQUOT', 'EINTR', 'EIO', 'ENOSPC', 'EROFS'],
  fgetxattr: ['ENODATA', 'EOPNOTSUPP', 'EIO'],
  flock: ['EAGAIN', 'EINTR', 'ENOLCK'],
  fstat: ['EIO', 'ENOMEM', 'EOVERFLOW'],
  fstatfs: ['EINTR', 'EIO', 'ENOMEM', 'ENOSYS', 'EOVERFLOW'],
  fsync: ['EDQUOT', 'EINTR', 'EIO', 'ENOSPC', 'EROFS'],
  ftruncate: ['EFBIG', 'EINTR', 'EIO', 'EPERM', 'EROFS'],
  getcwd: ['EACCES', 'ENOENT', 'ENOMEM'],
  getdents64: ['EIO', 'ENOENT'],
  getpgid: ['EPERM', 'ESRCH'],
  getrandom: ['EAGAIN', 'EINTR', 'ENOSYS'],
  getsockname: ['ENOBUFS'],
  getsockopt: ['ENOBUFS', 'ENOMEM', 'ENOPROTOOPT'],
  ioctl: ['EINTR', 'EIO', 'ENOTTY'],
  ioprio_set: ['EINVAL', 'EPERM', 'ESRCH'],
  keyctl: ['EDQUOT', 'ENOMEM', 'ENOSYS', 'EPERM'],
  kill: ['EPERM', 'ESRCH'],
  listen: ['EADDRINUSE', 'EOPNOTSUPP'],
  lseek: ['EOVERFLOW', 'ESPIPE'],
  memfd_create: ['EMFILE', 'ENFILE', 'ENOMEM', 'EPERM'],
  mkdir: [...change, 'EEXIST', 'EMLINK'],
  mkdirat: [...change, 'EEXIST', 'EMLINK'],
  mmap: ['EAGAIN', 'ENOMEM'],
  mprotect: ['EACCES', 'ENOMEM'],
  newfstatat: [...path, 'EOVERFLOW'],
  openat: [
    ...change,
    'EAGAIN',
    'EEXIST',
    'EINTR',
    'EISDIR',
    'EMFILE',
    'ENFILE',
    'ENODEV',
    'ENXIO',
    'EOVERFLOW',
    'ETXTBSY',
  ],
  pidfd_open: ['EMFILE', 'ENFILE', 'ENODEV', 'ENOMEM', 'ENOSYS', 'EPERM', 'ESRCH'],
  pidfd_send_signal: ['ENOSYS', 'EPERM', 'ESRCH'],
  pipe2: ['EMFILE', 'ENFILE', 'ENOMEM'],
  poll: ['EINTR', 'ENOMEM'],
  prctl: ['EINVAL', 'EPERM'],
  pread64: input,
  prlimit64: ['EPERM'],
  pwrite64: output,
  read: input,
  readlink: path,
  readlinkat: path,
  recvmsg: ['EAGAIN', 'ECONNREFUSED', 'EINTR', 'ENOMEM'],
  rename: change,
  renameat: change,
  rmdir: [...change, 'EBUSY', 'ENOTEMPTY'],
  sched_setscheduler: ['EINVAL', 'EPERM', 'ESRCH'],
  sendmsg: [...output, 'ECONNREFUSED', 'ENOBUFS', 'ENOENT'],
  setgroups: ids,
  setpriority: ['EACCES', 'EPERM', 'ESRCH'],
  setresgid: ids,
  setresuid: ids,
  setsid: ['EPERM'],
  setsockopt: ['ENOMEM', 'ENOPROTOOPT'],
  socket: socket,
  socketpair: socket,
  statx: [...path, 'ENOSYS', 'EOVERFLOW'],
  unlink: [...change, 'EBUSY', 'EISDIR'],
  unlinkat: [...change, 'EBUSY', 'EISDIR'],
  wait4: ['ECHILD', 'EINTR'],
  waitid: ['ECHILD', 'EINTR'],
  write: output,
  writev: output,
};

/** Calls that cannot fail, or whose failing says nothing about us: they are of the memory and the threads of V8 and the C library. */
const spared: ReadonlySet<string> = new Set(
  `brk capget exit exit_group futex getegid geteuid getgid getgroups getpgrp getpid getppid getpriority getresgid getresuid getsid getuid
  gettid ioprio_get madvise mremap munmap restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_getscheduler sched_yield set_robust_list
  sigaltstack sysinfo umask uname`.split(/\s+/),
);

/** `MAP_STACK` of mmap(2). */
export const mapStack = 0x20000;

/**
 * The errors that a call can have; nothing for one that is spared. Throws for a call that nobody has thought of.
 * @param path what the descriptor was opened by that is its first argument
 * @param isOfStack whether the memory at its first argument is a stack: all other memory is V8's
 */
export function errnosOf(
  { role, name, details }: Call,
  path: string | undefined,
  isOfStack: boolean,
): readonly string[] {
  // The kernel has nothing to write back there, and Node.js takes a failure for a bug of its own.
  if (name === 'close' && /^"\/proc["/]/.test(path ?? '')) return [];
  if (spared.has(name) || (name === 'mprotect' && !isOfStack)) return [];
  if (name === 'mmap' && (Number(details.split(' ')[3]) & mapStack) === 0) return [];
  // With GRND_INSECURE it does not wait for randomness, and so never has to say that there is none yet.
  if (name === 'getrandom' && details.split(' ')[2] === '4') return ['EINTR', 'ENOSYS'];
  // An eventfd by which libuv wakes the event loop: it takes eight bytes or none.
  if (name === 'write' && /^launcher$|-thread$/.test(role) && details.split(' ')[2] === '8') return [];
  // The same from the other side, with libuv's buffer for it.
  if (name === 'read' && details.split(' ')[2] === '1024') return [];
  const known = errnos[name];
  if (known === undefined)
    throw new Error(`what ${name}(${details}) can fail with is missing in tools/faults/errnos.ts`);
  return known;
}

/** Calls that can do less than they were asked for. */
export const canFallShort: ReadonlySet<string> = new Set(['pread64', 'pwrite64', 'read', 'write']);
