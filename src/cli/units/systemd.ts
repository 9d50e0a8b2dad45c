/** A unit for systemd: systemd.service(5), systemd.exec(5). */
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { commandOf, stopSeconds, text, type Service } from './service.js';

export function systemdUnit(service: Service): string {
  const { name, cwd, env, daemonizes, killMode } = service;
  const isIn = (directories: string) =>
    [service.program, cwd, ...service.args].some((path) => new RegExp(`^/(${directories})(/|$)`).test(path));
  return text(
    `# /etc/systemd/system/${name}.service, then: systemctl daemon-reload && systemctl enable --now ${name}`,
    '[Unit]',
    `Description=${escape(name)}`,
    'Wants=network-online.target',
    'After=network-online.target',
    '# It is started again as long as an outage lasts: RestartSec= stays below this limit.',
    'StartLimitIntervalSec=60',
    'StartLimitBurst=40',
    '',
    '[Service]',
    ...(daemonizes
      ? [
          '# From systemd 253 on also notify-reload, without ExecReload=.',
          'Type=notify',
          'ExecReload=/bin/kill -HUP $MAINPID',
          '# Keeps the sockets of the option `listen` open while it is restarted.',
          'FileDescriptorStoreMax=16',
          '# From systemd 254 on: closes them when it is stopped; yes keeps them open.',
          'FileDescriptorStorePreserve=restart',
          '# Ends it when its event loop is blocked for so long.',
          '#WatchdogSec=30',
        ]
      : [
          '# Up as soon as it is executed. Of a script that calls daemonize(), systemd could hear more: name that script here.',
          'Type=exec',
        ]),
    `ExecStart=${commandOf(service).map(argument).join(' ')}`,
    `WorkingDirectory=${escape(cwd)}`,
    ...Object.entries(env).map(([variable, value]) => `Environment=${word(`${variable}=${value}`)}`),
    'Restart=on-failure',
    'RestartSec=2',
    ...killModeOf(killMode, daemonizes),
    `TimeoutStopSec=${stopSeconds(service)}`,
    '',
    '# It owns /run, /var/lib and /var/cache of its name; everything else is read-only.',
    ...userOf(service),
    `RuntimeDirectory=${name}`,
    `StateDirectory=${name}`,
    `CacheDirectory=${name}`,
    'ProtectSystem=strict',
    `ProtectHome=${isIn('home|root|run/user') ? 'read-only' : 'yes'}`,
    `PrivateTmp=${isIn('tmp|var/tmp') ? 'no' : 'yes'}`,
    'PrivateDevices=yes',
    '',
    '# Ports below 1024, and no other right.',
    'AmbientCapabilities=CAP_NET_BIND_SERVICE',
    'CapabilityBoundingSet=CAP_NET_BIND_SERVICE',
    'NoNewPrivileges=yes',
    'ProtectKernelTunables=yes',
    'ProtectKernelModules=yes',
    'ProtectKernelLogs=yes',
    'ProtectControlGroups=yes',
    'ProtectClock=yes',
    'ProtectHostname=yes',
    'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK',
    'RestrictNamespaces=yes',
    'RestrictRealtime=yes',
    'RestrictSUIDSGID=yes',
    'LockPersonality=yes',
    'SystemCallArchitectures=native',
    '# V8 protects the code that it compiles by memory protection keys; MemoryDenyWriteExecute= would forbid that code.',
    'SystemCallFilter=@system-service @pkey',
    'SystemCallErrorNumber=EPERM',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
  );
}

/** What gets SIGTERM: what calls `daemonize()` stops its own children, and a shell would leave them to SIGKILL. */
function killModeOf(killMode: Service['killMode'], daemonizes: boolean): readonly string[] {
  if (killMode === 'process') return ['KillMode=process'];
  return daemonizes
    ? ['# SIGTERM goes to the main process, which stops its own children; SIGKILL to what is left.', 'KillMode=mixed']
    : ['KillMode=control-group'];
}

/** A user of its own, made by systemd, unless a user is given or other users cannot read the program. */
function userOf({ user, program, args, cwd }: Service): readonly string[] {
  if (user !== undefined) return [`User=${escape(user)}`];
  const owner = [program, cwd, ...args.filter((word) => word.startsWith('/'))]
    .map(ownerOfPrivate)
    .find((uid) => uid !== undefined);
  return owner === undefined ? ['DynamicUser=yes'] : ['# Others may not read the program.', `User=${owner}`];
}

/** Whose a file is that others cannot read; `undefined` where they can, and where there is none. */
function ownerOfPrivate(path: string): number | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  const needed = stat.isDirectory() ? 0o005 : 0o004;
  if ((stat.mode & needed) !== needed) return stat.uid;
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    const { mode, uid } = statSync(directory);
    if ((mode & 0o001) === 0) return uid;
    if (directory === dirname(directory)) return undefined;
  }
}

/** `%` begins a specifier. */
function escape(value: string): string {
  return value.replaceAll('%', '%%');
}

/** One word of a list. */
function word(value: string): string {
  const escaped = escape(value);
  if (/^[\w@%+=:,./$-]+$/.test(escaped)) return escaped;
  return `"${escaped.replaceAll(/["\\]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('\r', '\\r')}"`;
}

/** One word of a command line: `$` begins a variable. */
function argument(value: string): string {
  return word(value.replaceAll('$', '$$$$'));
}
