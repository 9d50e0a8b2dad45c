/** Every command. */
import type { Command } from '../command.js';
import { events } from './events.js';
import { forget } from './forget.js';
import { list } from './list.js';
import { logs } from './logs.js';
import { reload } from './reload.js';
import { restart } from './restart.js';
import { signal } from './signal.js';
import { start } from './start.js';
import { status } from './status.js';
import { stop } from './stop.js';
import { unit } from './unit.js';

export const commands: readonly Command[] = [
  start,
  stop,
  restart,
  reload,
  signal,
  status,
  logs,
  events,
  list,
  forget,
  unit,
];
