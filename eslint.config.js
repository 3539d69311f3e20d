import { defineConfig } from 'eslint/config'
import { importX } from 'eslint-plugin-import-x'
import tseslint from 'typescript-eslint'

const frontEnds = ['api', 'kener', 'manage', 'public', 'cli']
const domains = ['audit', 'keys', 'monitors', 'status', 'reports', 'incidents', 'maintenances', 'idempotency']
const vocabulary = [
  'config',
  'enums',
  'errors',
  'limits',
  'log',
  'networks',
  'operator-error',
  'permissions',
  'terminal',
]

/** Rejects imports from folders of src/. @param more further patterns */
const restrict = (files, folders, message, more = []) => ({
  files,
  rules: {
    'no-restricted-imports': [
      'error',
      { patterns: [{ regex: `^(\\.{1,2}/)+(${folders.join('|')})/`, message }, ...more] },
    ],
  },
})

/** SQL belongs to the repositories. */
const noSql = {
  regex: '^kysely$',
  importNames: ['sql'],
  message: 'Put SQL into the repository of a domain folder, and call that.',
}

const namedErrors = {
  selector: 'NewExpression[callee.name="ApiError"]',
  message: 'Name the error in src/errors.ts, and throw that.',
}

const auditedChanges = {
  selector: 'CallExpression[callee.property.name=/^(transaction|startTransaction)$/]',
  message: 'Call auditedTransaction, so that the change has an audit event.',
}

/** Front ends over http/ and wire/ over domain folders over database/: no import points upwards. */
const layers = [
  ...['api', 'kener', 'manage', 'public'].map((frontEnd) =>
    restrict(
      [`src/${frontEnd}/**`],
      frontEnds.filter((other) => other !== frontEnd),
      'Front ends do not import one another: move what they share to a domain folder, or to wire/.',
      ['api', 'public'].includes(frontEnd) ? [noSql] : [],
    ),
  ),
  restrict(
    ['src/cli.ts', 'src/cli/**'],
    ['api', 'manage', 'public', 'http', 'kener(?!/import/)'],
    'The command line imports domain folders, wire/ and kener/import/: move what it shares with a front end there.',
    [noSql],
  ),
  restrict(
    ['src/http/**'],
    [...frontEnds, 'html'],
    'http/ serves every front end: move what it needs to a domain folder, or pass it in as an option.',
    [noSql],
  ),
  restrict(
    domains.map((domain) => `src/${domain}/**`),
    [...frontEnds, 'http', 'html', 'wire(?=/(?!time\\.ts|pagination\\.ts))'],
    'Domain folders know neither front ends nor HTTP nor the wire format: return plain data, throw errors of errors.ts.',
    [
      {
        regex: '^(@?fastify(/|-|$))',
        message: 'Domain folders do not know Fastify: take what is needed as a parameter.',
      },
    ],
  ),
  restrict(
    ['src/wire/**'],
    [...frontEnds, 'http', 'html', ...domains, 'database'],
    'wire/ holds what all front ends share of the wire: move rules and SQL to a domain folder.',
  ),
  restrict(
    ['src/html/**'],
    [...frontEnds, 'http', 'database'],
    'html/ renders what the public page and the panel share: pass in what it shows.',
    [noSql],
  ),
  restrict(
    ['src/database/**'],
    [...frontEnds, 'http', 'html', 'wire', ...domains],
    'database/ is below the domain folders: move SQL about one resource to its repository.',
  ),
  restrict(
    vocabulary.map((name) => `src/${name}.ts`),
    [...frontEnds, 'http', 'html', 'wire', ...domains, 'database'],
    'The vocabulary imports no folder: move what needs one into that folder.',
  ),
  {
    files: ['src/**'],
    plugins: { 'import-x': importX },
    settings: {
      'import-x/extensions': ['.ts', '.tsx'],
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts', '.tsx'] },
    },
    rules: { 'import-x/no-cycle': 'error' },
  },
]

export default defineConfig(
  { ignores: ['dist/', 'data/', '.tap/', 'bench/', 'eslint.config.js', 'src/client/openapi.ts'] },
  ...tseslint.configs.strictTypeChecked,
  { languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } } },
  {
    rules: {
      // Fastify's plugin types require async functions, even without an await.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // These return thenables for chaining. Fastify keeps their order itself.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            { from: 'package', package: 'fastify', name: ['register', 'code', 'send', 'headers', 'header'] },
          ],
        },
      ],
    },
  },
  {
    // JavaScript outside tsconfig.json: browser code, and the build script that copies it.
    files: ['src/manage/assets/**', 'src/public/assets/**', 'src/docs/**', 'scripts/**'],
    ...tseslint.configs.disableTypeChecked,
  },
  ...layers,
  // A later block replaces the rule of an earlier one.
  { files: ['src/**'], rules: { 'no-restricted-syntax': ['error', namedErrors, auditedChanges] } },
  {
    files: ['src/errors.ts'],
    rules: { 'no-restricted-syntax': ['error', auditedChanges] },
  },
  {
    // These write no audited data, or are the one place that does.
    files: [
      'src/audit/transaction.ts',
      'src/reports/**',
      'src/maintenances/event-generation.ts',
      'src/database/**',
    ],
    rules: { 'no-restricted-syntax': ['error', namedErrors] },
  },
  {
    files: ['test/**'],
    rules: {
      // Tests read JSON responses, which are typed as any.
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
    },
  },
)
