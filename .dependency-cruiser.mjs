/** The rooms of src/: a file imports from its own room and from those below it, types included, and in no circle. */

/** From the top to the bottom. */
const rooms = [
  ['the command line', '^src/cli/'],
  ['the public interface', '^src/(?!errors\\.|printable\\.)[^/]+$'],
  ['daemon/', '^src/daemon/'],
  ['launch/', '^src/launch/'],
  ['options/', '^src/options/'],
  ['store/', '^src/store/'],
  ['files/', '^src/files/'],
  ['native/', '^src/native/'],
  ['errors', '^src/(errors|printable)\\.ts$'],
];
const paths = rooms.map(([, path]) => path);

/** The configuration of dependency-cruiser. */
export default {
  forbidden: [
    { name: 'circle', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-room', severity: 'error', from: { path: '^src/', pathNot: paths }, to: {} },
    ...rooms.slice(1).map(([room, path], index) => ({
      name: `upwards from ${room}`,
      severity: 'error',
      from: { path },
      to: { path: paths.slice(0, index + 1) },
    })),
  ],
  options: {
    // Imports of types alone are imports.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
  },
};
