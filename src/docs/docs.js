/* global SwaggerUIBundle */

// Swagger UI's dark theme depends on a class, not on the system's setting.
const dark = matchMedia('(prefers-color-scheme: dark)')
const applyTheme = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
applyTheme()
dark.addEventListener('change', applyTheme)

SwaggerUIBundle({
  url: '/openapi.json',
  domNode: document.getElementById('docs'),
  deepLinking: true,
  tryItOutEnabled: true,
  // Disables the badge, which would send the URL of the description to validator.swagger.io.
  validatorUrl: null,
})
