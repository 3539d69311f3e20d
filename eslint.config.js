import tseslint from 'typescript-eslint'

export default tseslint.config(
  { ignores: ['dist/', 'data/', '.tap/', 'eslint.config.js'] },
  ...tseslint.configs.strictTypeChecked,
  { languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } } },
  {
    rules: {
      // Fastify's plugins are async by type, with or without an await.
      '@typescript-eslint/require-await': 'off',
      // app.register and app.decorate are chained, not awaited: Fastify loads them in order.
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
)
