/** A plugin of typedoc: a page of the site is called what its heading says, not by the name of its file. */
import { Converter, ReflectionKind } from 'typedoc';

export function load({ converter }) {
  converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const page of project.getReflectionsByKind(ReflectionKind.Document)) {
      const heading = /^# (.+)$/m.exec(page.content.map(({ text }) => text).join(''));
      if (heading !== null) page.name = heading[1];
    }
  });
}
