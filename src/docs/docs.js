/* global SwaggerUIBundle */

// Swagger UI has a dark theme, but follows a class and not the system.
const dark = matchMedia('(prefers-color-scheme: dark)')
const applyTheme = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
applyTheme()
dark.addEventListener('change', applyTheme)

SwaggerUIBundle({
  url: '/openapi.json',
  domNode: document.getElementById('docs'),
  deepLinking: true,
  tryItOutEnabled: true,
  // The badge would send the address of the description to validator.swagger.io.
  validatorUrl: null,
})
