import { defineConfig } from 'vite';

// The page is served by the test from wherever it builds it to, so nothing in it may depend on the path.
export default defineConfig({ root: import.meta.dirname, base: './', logLevel: 'warn' });
