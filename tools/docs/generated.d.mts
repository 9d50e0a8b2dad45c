export declare const today: () => string;
export declare const machine: string;
export declare function table(headings: readonly string[], rows: readonly (readonly string[])[]): string;
export declare function writeParts(page: string, parts: Readonly<Record<string, string>>): Promise<void>;
