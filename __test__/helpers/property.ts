/**
 * Properties that hold for whatever comes in: some random inputs in a test, or, with `DAEMONRY_FUZZ=SECONDS`, as many as there is
 * time for. Of an input that breaks one, the smallest such input is told.
 */
import * as fc from 'fast-check';

/** Seconds that each property is tried; 0 where a test is to be quick. */
export const seconds = Number(process.env['DAEMONRY_FUZZ'] ?? 0);

/** Rejects with the input for which `property` throws; else resolves with a line that counts the inputs. */
export async function holds<T>(
  name: string,
  inputs: fc.Arbitrary<T>,
  property: (input: T) => unknown,
  least = 500,
): Promise<string> {
  let runs = 0;
  const counted = fc.asyncProperty(inputs, async (input) => {
    runs += 1;
    await property(input);
  });
  const limit = { numRuns: 2 ** 31 - 1, interruptAfterTimeLimit: seconds * 1000, markInterruptAsFailure: false };
  await fc.assert(counted, { includeErrorInReport: true, ...(seconds === 0 ? { numRuns: least } : limit) });
  return `${name}: ${runs} runs`;
}
