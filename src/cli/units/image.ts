/** What a container's image has, and what is called how in it. */
import { existsSync, statSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import type { Service } from './service.js';

/** Where the project is. */
export const projectInImage = '/app';

/** Where containers have room for the pidfile, also with a read-only root file system. */
export const stateInImage = '/run/state';

/** The command line in a container. */
export function commandInImage(service: Service): readonly string[] {
  const { program, isOnPath, args, cwd } = service;
  const project = projectOf(service);
  // A relative path is right as it is, unless it leads from another directory than the project's.
  const isMoved = project !== undefined && project !== cwd;
  const inside = (word: string) => {
    const path = isMoved && isFile(resolve(cwd, word)) ? resolve(cwd, word) : word;
    return isAbsolute(path) && isWithin(project, path) ? join(projectInImage, relative(project, path)) : path;
  };
  const command = isNode(service) ? 'node' : isOnPath ? basename(program) : inside(program);
  return [command, ...args.map(inside)];
}

/** How a probe asks whether the service is up, in such a container. */
export function probeInImage({ name }: Service): readonly string[] {
  return [join(projectInImage, 'node_modules/.bin/daemonry'), 'status', '--ready', name];
}

/** The files on its command line that are not of the project, by their absolute paths. */
export function filesOutside(service: Service): readonly string[] {
  const project = projectOf(service);
  return service.args.filter((word) => isAbsolute(word) && !isWithin(project, word) && existsSync(word));
}

/** Whether Node.js runs it. */
export function isNode({ program }: Service): boolean {
  return program === process.execPath || /^node(js)?$/.test(basename(program));
}

/** The major version of the Node.js that runs it: by the path of a version manager, else that of this command. */
export function nodeVersion({ program }: Service): string {
  const [, major] = /\/v?(\d+)\.\d+\.\d+\//.exec(program === process.execPath ? '' : program) ?? [];
  return major ?? process.versions.node.split('.')[0]!;
}

/**
 * The directory that goes into the image: the one that the service runs in, if its program is there; else that of the program's
 * package, or of the program. `undefined` where all of it is installed.
 */
export function projectOf({ program, isOnPath, args, cwd }: Service): string | undefined {
  const own = isOnPath || program === process.execPath ? [] : [program];
  const files = args.filter((word) => !word.startsWith('-')).map((word) => resolve(cwd, word));
  const main = [...own, ...files].find(isFile);
  if (main === undefined) return cwd === '/' ? undefined : cwd;
  if (cwd !== '/' && isWithin(cwd, main)) return cwd;
  for (let directory = dirname(main); directory !== dirname(directory); directory = dirname(directory)) {
    if (existsSync(join(directory, 'package.json'))) return directory;
  }
  return dirname(main);
}

function isWithin(directory: string | undefined, path: string): directory is string {
  return directory !== undefined && !relative(directory, path).startsWith('..');
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
