/** A Dockerfile. */
import { commandInImage, probeInImage, stateInImage, text, type Service } from './service.js';

export function dockerfile(service: Service): string {
  const { name, env, daemonizes, image, containerUser } = service;
  const exec = (words: readonly string[]) => `[${words.map((word) => JSON.stringify(word)).join(', ')}]`;
  const [major] = process.versions.node.split('.');
  return text(
    '# Dockerfile, beside a .dockerignore that names node_modules; what it listens on is to be published (--publish).',
    `# docker build -t ${image} . && docker run --detach --name ${name} --read-only --tmpfs ${stateInImage}:mode=1777 --tmpfs /tmp \\`,
    `#   --cap-drop ALL --security-opt no-new-privileges --restart on-failure ${image}`,
    `FROM node:${major}-slim`,
    'WORKDIR /app',
    'COPY package.json package-lock.json ./',
    'RUN npm ci --omit=dev && npm cache clean --force',
    'COPY . .',
    `RUN mkdir -m 1777 ${stateInImage}`,
    ...Object.entries({ NODE_ENV: 'production', XDG_STATE_HOME: stateInImage, ...env }).map(
      ([variable, value]) => `ENV ${variable}=${JSON.stringify(value).replaceAll('$', '\\$')}`,
    ),
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
