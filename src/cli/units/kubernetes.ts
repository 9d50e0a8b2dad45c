/** A manifest for Kubernetes: one Deployment, as the restricted Pod Security Standard wants it. */
import { UsageError } from '../parse.js';
import { commandInImage, probeInImage, projectInImage, stateInImage } from './image.js';
import { labelOf, stopSeconds, text, type Service } from './service.js';

export function kubernetesManifest(service: Service): string {
  const { name, env, image, daemonizes, containerUser } = service;
  if (!/^[1-9]\d*$/.test(containerUser)) {
    throw new UsageError(
      `for Kubernetes --user must be the number of an ordinary user, not ${JSON.stringify(containerUser)}`,
    );
  }
  const label = labelOf(name);
  const flow = (words: readonly string[]) => `[${words.map(quote).join(', ')}]`;
  const variables = Object.entries({ XDG_STATE_HOME: stateInImage, ...env });
  const probe = (kind: string, words: readonly string[], seconds: number) => [
    `          ${kind}:`,
    '            exec:',
    `              command: ${flow(words)}`,
    `            periodSeconds: ${seconds}`,
    '            timeoutSeconds: 5',
  ];
  return text(
    `# Once the image is built (daemonry unit --for docker) and pushed: kubectl apply -f ${label}.yaml`,
    '# What it listens on wants ports here, and a Service.',
    'apiVersion: apps/v1',
    'kind: Deployment',
    'metadata:',
    `  name: ${label}`,
    '  labels:',
    `    app.kubernetes.io/name: ${label}`,
    'spec:',
    '  replicas: 1',
    '  selector:',
    '    matchLabels:',
    `      app.kubernetes.io/name: ${label}`,
    '  template:',
    '    metadata:',
    '      labels:',
    `        app.kubernetes.io/name: ${label}`,
    '    spec:',
    '      automountServiceAccountToken: false',
    `      terminationGracePeriodSeconds: ${stopSeconds(service)}`,
    '      securityContext:',
    '        runAsNonRoot: true',
    `        runAsUser: ${containerUser}`,
    `        runAsGroup: ${containerUser}`,
    `        fsGroup: ${containerUser}`,
    '        seccompProfile:',
    '          type: RuntimeDefault',
    '      containers:',
    `        - name: ${label}`,
    `          image: ${JSON.stringify(image)}`,
    `          workingDir: ${projectInImage}`,
    `          command: ${flow(commandInImage(service))}`,
    '          env:',
    ...variables.flatMap(([variable, value]) => [
      `            - name: ${variable}`,
      `              value: ${quote(value)}`,
    ]),
    ...(daemonizes
      ? [
          ...probe('readinessProbe', probeInImage(service), 5),
          ...probe(
            'livenessProbe',
            probeInImage(service).filter((word) => word !== '--ready'),
            30,
          ),
        ]
      : []),
    '          resources:',
    '            requests:',
    '              cpu: 100m',
    '              memory: 128Mi',
    '            limits:',
    '              memory: 512Mi',
    '          securityContext:',
    '            allowPrivilegeEscalation: false',
    '            readOnlyRootFilesystem: true',
    '            capabilities:',
    '              drop: ["ALL"]',
    '          volumeMounts:',
    '            - name: state',
    `              mountPath: ${stateInImage}`,
    '            - name: tmp',
    '              mountPath: /tmp',
    '      volumes:',
    '        - name: state',
    '          emptyDir:',
    '            medium: Memory',
    '            sizeLimit: 16Mi',
    '        - name: tmp',
    '          emptyDir: {}',
  );
}

/** A string of YAML, in which Kubernetes expands `$(VARIABLE)`. */
function quote(value: string): string {
  return JSON.stringify(value).replaceAll('$(', '$$$$(');
}
