/** The native core without the library around it. */
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type * as Binding from '../../index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const file = readdirSync(root).find((name) => name.endsWith('.node'));
if (file === undefined) throw new Error(`no binary was built in ${root}`);

export const binding = createRequire(import.meta.url)(`${root}/${file}`) as typeof Binding;
