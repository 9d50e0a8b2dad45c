/** Text that comes from others, such as a daemon's last words or a path, in a form in which no terminal obeys it. */

/**
 * Control sequences, such as colours, and operating system commands, such as titles and links (ECMA-48, 5.4 and 5.6). Not Node's
 * own list, which takes other text along, and another one in each version.
 */
// eslint-disable-next-line no-control-regex
const sequences = /(?:\x1B\[|\x9B)[ -?]*[@-~]|(?:\x1B\]|\x9D)[^\x07\n\x1B\x9C]*(?:\x07|\x1B\\|\x9C)/g;

/** Control characters, and those that change the direction or the lines of what stands around them. */
const unprintable = /[\p{Cc}\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069\uFEFF]/gu;

/** One line: escape sequences are left out, every other control character is shown as its escape, such as `\n` or `\x1b`. */
export function printableLine(text: string): string {
  return withoutSequences(text).replace(unprintable, escaped);
}

/** The same for text of several lines, whose newlines and tabs stay. */
export function printable(text: string): string {
  const lines = withoutSequences(text).replaceAll('\r\n', '\n');
  return lines.replace(unprintable, (character) => (/[\n\t]/.test(character) ? character : escaped(character)));
}

/** Without colours and the like; single control characters are left for a caller that shows them by itself. */
export function withoutSequences(text: string): string {
  return text.replace(sequences, '');
}

/** JSON that is the same value and the same text to a parser, without what a terminal could obey. */
export function printableJson(json: string): string {
  // JSON itself has escaped the rest; the newlines are those between its members.
  return json.replace(unprintable, (character) => (character === '\n' ? character : `\\u${hex(character, 4)}`));
}

const short: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function escaped(character: string): string {
  return short[character] ?? (character < '\u0100' ? `\\x${hex(character, 2)}` : `\\u${hex(character, 4)}`);
}

function hex(character: string, digits: number): string {
  return character.charCodeAt(0).toString(16).padStart(digits, '0');
}
