// One version everywhere: package.json, the lock files, the crates, and the tag that is given, if any.
import { readFileSync } from 'node:fs';

const read = (file) => readFileSync(file, 'utf8');
const [tag] = process.argv.slice(2);
const { version } = JSON.parse(read('package.json'));
const versions = {
  'package-lock.json': JSON.parse(read('package-lock.json')).version,
  'Cargo.toml, [workspace.package]': /^\[workspace\.package\]\nversion = "(.*)"$/m.exec(read('Cargo.toml'))?.[1],
  'Cargo.toml, daemonry of the dependencies': /^daemonry = .*version = "(.*)"/m.exec(read('Cargo.toml'))?.[1],
  ...Object.fromEntries(
    [...read('Cargo.lock').matchAll(/^name = "(daemonry.*)"\nversion = "(.*)"$/gm)].map(([, crate, locked]) => [
      `Cargo.lock, ${crate}`,
      locked,
    ]),
  ),
  ...(tag === undefined ? {} : { [`the tag ${tag}`]: tag.replace(/^v/, '') }),
};
const others = Object.entries(versions).filter(([, other]) => other !== version);
for (const [where, other] of others) console.error(`package.json is at ${version}, but ${where} at ${other}`);
if (tag !== undefined && !read('CHANGELOG.md').includes(`## [${version}]`)) {
  console.error(`CHANGELOG.md has no section for ${version}`);
  process.exitCode = 1;
}
if (others.length > 0) process.exitCode = 1;
else console.log(`version ${version}`);
