/** How messages spell the options of the library that the command has by other names. */
import { spellOptions } from '../options/check.js';

const others: Readonly<Record<string, string>> = {
  killSignal: 'signal',
  limits: 'limit',
  startTimeout: 'timeout',
};

/** From now on `startTimeout` is `--timeout`, and `listen.http.port` is the port of `--listen http`. */
export function spellAsHere(): void {
  spellOptions((option) => {
    const [name = '', key, part] = option.split('.');
    const plain = others[name] ?? name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const spelled = key === undefined ? `--${plain}` : `--${plain} ${key}`;
    return part === undefined ? spelled : `the ${part} of ${spelled}`;
  });
}
