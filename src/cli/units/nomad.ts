/** A job for Nomad, run by its Docker driver. */
import { commandInImage, projectInImage, stateInImage } from './image.js';
import { stopSeconds, text, type Service } from './service.js';

export function nomadJob(service: Service): string {
  const { name, env, image, containerUser } = service;
  const [command, ...args] = commandInImage(service).map(quote);
  return text(
    `# Once the image is built (daemonry unit --for docker) and pushed: nomad job run ${name}.nomad.hcl`,
    `job ${quote(name)} {`,
    '  type = "service"',
    '',
    `  group ${quote(name)} {`,
    '    count = 1',
    '',
    '    restart {',
    '      attempts = 3',
    '      interval = "5m"',
    '      delay    = "5s"',
    '      mode     = "delay"',
    '    }',
    '',
    `    task ${quote(name)} {`,
    '      driver       = "docker"',
    `      user         = ${quote(containerUser)}`,
    '      kill_signal  = "SIGTERM"',
    `      kill_timeout = "${stopSeconds(service)}s"`,
    '',
    '      config {',
    `        image           = ${quote(image)}`,
    `        command         = ${command}`,
    `        args            = [${args.join(', ')}]`,
    `        work_dir        = ${quote(projectInImage)}`,
    '        readonly_rootfs = true',
    '        cap_drop        = ["all"]',
    '        security_opt    = ["no-new-privileges"]',
    '',
    '        mount {',
    '          type   = "tmpfs"',
    `          target = ${quote(stateInImage)}`,
    '          tmpfs_options {',
    '            mode = 1023 # 01777',
    '            size = 16000000',
    '          }',
    '        }',
    '      }',
    '',
    '      env {',
    ...Object.entries({ XDG_STATE_HOME: stateInImage, ...env }).map(
      ([variable, value]) => `        ${variable} = ${quote(value)}`,
    ),
    '      }',
    '',
    '      resources {',
    '        cpu    = 100',
    '        memory = 512',
    '      }',
    '    }',
    '  }',
    '}',
  );
}

/** A string of HCL, in which `${` and `%{` begin templates. */
function quote(value: string): string {
  return JSON.stringify(value).replaceAll(/[$%](?=\{)/g, '$&$&');
}
