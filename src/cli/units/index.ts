/** Every supervisor that a service can be written for. */
import { dockerfile } from './docker.js';
import { kubernetesManifest } from './kubernetes.js';
import { launchdPlist } from './launchd.js';
import { nomadJob } from './nomad.js';
import { openrcScript } from './openrc.js';
import { runitScript } from './runit.js';
import { s6Script } from './s6.js';
import type { Service } from './service.js';
import { supervisordProgram } from './supervisord.js';
import { systemdUnit } from './systemd.js';
import { sysvScript } from './sysv.js';

export const units: Readonly<Record<string, (service: Service) => string>> = {
  systemd: systemdUnit,
  openrc: openrcScript,
  sysv: sysvScript,
  launchd: launchdPlist,
  runit: runitScript,
  s6: s6Script,
  supervisord: supervisordProgram,
  docker: dockerfile,
  kubernetes: kubernetesManifest,
  nomad: nomadJob,
};
