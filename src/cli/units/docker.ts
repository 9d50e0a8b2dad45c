/** A Dockerfile. */
import { printableLine } from '../../printable.js';
import {
  commandInImage,
  filesOutside,
  isNode,
  nodeVersion,
  probeInImage,
  projectInImage,
  projectOf,
  stateInImage,
} from './image.js';
import { stopSeconds, text, type Service } from './service.js';

export function dockerfile(service: Service): string {
  const { name, env, daemonizes, image, containerUser } = service;
  const exec = (words: readonly string[]) => `[${words.map((word) => JSON.stringify(word)).join(', ')}]`;
  return text(
    `# Dockerfile${isNode(service) ? ', beside a .dockerignore that names node_modules' : ''}; what it listens on is to be published (--publish).`,
    `# docker build ${isNode(service) ? '' : '--build-arg BASE=IMAGE '}-t ${image} . && docker run --detach --name ${name} --read-only --tmpfs ${stateInImage}:mode=1777 --tmpfs /tmp \\`,
    `#   --cap-drop ALL --security-opt no-new-privileges --restart on-failure --stop-timeout ${stopSeconds(service)} ${image}`,
    ...filesOutside(service).map((file) => `# Not in the project, so to be copied or mounted: ${printableLine(file)}`),
    ...imageOf(service),
    `RUN mkdir -m 1777 ${stateInImage}`,
    ...Object.entries({
      ...(isNode(service) ? { NODE_ENV: 'production' } : {}),
      XDG_STATE_HOME: stateInImage,
      ...env,
    }).map(([variable, value]) => `ENV ${variable}=${JSON.stringify(value).replaceAll('$', '\\$')}`),
    // By number 1000, that is node: what looks at images from outside does not know names.
    `USER ${containerUser}`,
    ...(daemonizes
      ? [`HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ${exec(probeInImage(service))}`]
      : []),
    'STOPSIGNAL SIGTERM',
    '# As a list, so that it is the first process itself and gets the signals.',
    `CMD ${exec(commandInImage(service))}`,
  );
}

/** What it begins with: the interpreter, what the project needs, and the project. */
function imageOf(service: Service): readonly string[] {
  const copy = [`WORKDIR ${projectInImage}`, ...(projectOf(service) === undefined ? [] : ['COPY . .'])];
  if (!isNode(service)) {
    return [
      `# BASE is an image that can run ${printableLine(service.program)}; what the project needs is to be installed here.`,
      'ARG BASE',
      'FROM ${BASE}',
      ...copy,
    ];
  }
  const [workdir, ...all] = copy;
  return [
    `FROM node:${nodeVersion(service)}-slim`,
    workdir!,
    'COPY package.json package-lock.json ./',
    'RUN npm ci --omit=dev && npm cache clean --force',
    ...all,
  ];
}
