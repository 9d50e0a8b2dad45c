/** A property list for launchd: launchd.plist(5). */
import { commandOf, stopSeconds, text, type Service } from './service.js';

export function launchdPlist(service: Service): string {
  const { name, cwd, env, user } = service;
  const string = (value: string) => `<string>${escape(value)}</string>`;
  const variables = Object.entries(env);
  return text(
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">',
    '<!-- A file in /Library/LaunchDaemons, by the name of its label and .plist, then: launchctl bootstrap system FILE -->',
    '<plist version="1.0">',
    '  <dict>',
    '    <key>Label</key>',
    `    ${string(name)}`,
    '    <key>ProgramArguments</key>',
    '    <array>',
    ...commandOf(service).map((word) => `      ${string(word)}`),
    '    </array>',
    '    <key>WorkingDirectory</key>',
    `    ${string(cwd)}`,
    ...(user === undefined ? [] : ['    <key>UserName</key>', `    ${string(user)}`]),
    ...(variables.length === 0
      ? []
      : [
          '    <key>EnvironmentVariables</key>',
          '    <dict>',
          ...variables.flatMap(([variable, value]) => [
            `      <key>${escape(variable)}</key>`,
            `      ${string(value)}`,
          ]),
          '    </dict>',
        ]),
    '    <key>RunAtLoad</key>',
    '    <true/>',
    '    <key>KeepAlive</key>',
    '    <dict>',
    '      <key>SuccessfulExit</key>',
    '      <false/>',
    '    </dict>',
    '    <key>ExitTimeOut</key>',
    `    <integer>${stopSeconds(service)}</integer>`,
    '    <key>Umask</key>',
    `    <integer>${0o022}</integer>`,
    '    <key>StandardOutPath</key>',
    `    ${string(`/var/log/${name}.log`)}`,
    '    <key>StandardErrorPath</key>',
    `    ${string(`/var/log/${name}.log`)}`,
    '  </dict>',
    '</plist>',
  );
}

function escape(value: string): string {
  return value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
