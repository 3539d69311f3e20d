// Everything here is comfort: the panel works without it.

// A reload of the page that shows a key leads to the key's own page, which does not.
const { address } = document.body.dataset
if (address) history.replaceState(null, '', address)

for (const button of document.querySelectorAll('button[data-copies]')) {
  const source = document.getElementById(button.dataset.copies)
  button.hidden = false
  button.setAttribute('aria-live', 'polite')
  button.addEventListener('click', async () => {
    button.textContent = (await copy(source)) ? 'Copied' : 'Press Ctrl+C'
    setTimeout(() => (button.textContent = 'Copy'), 3000)
  })
}

for (const text of document.querySelectorAll('.copyable textarea')) {
  text.addEventListener('focus', () => text.select())
}

async function copy(source) {
  source.select()
  // The clipboard is there on https and localhost alone; elsewhere the old way still works.
  if (!navigator.clipboard) return document.execCommand('copy')
  return navigator.clipboard.writeText(source.value).then(
    () => true,
    () => document.execCommand('copy'),
  )
}

// A field that belongs to one choice of a list shows with that choice.
for (const control of document.querySelectorAll('[data-shown-with]')) {
  const [name, value] = control.dataset.shownWith.split('=')
  const list = control.form.elements[name]
  const field = control.closest('.field')
  const show = () => {
    field.hidden = list.value !== value && control.value === ''
    control.required = list.value === value
  }
  list.addEventListener('change', () => {
    if (list.value !== value) control.value = ''
    show()
    if (list.value === value) control.focus()
  })
  show()
}

// A list that the page holds whole is filtered while one types; a longer one by the server, on Enter.
const filter = document.querySelector('form[data-filters="keys"]')
const table = document.getElementById('keys')
if (filter && table) {
  const { q, status } = filter.elements
  const none = document.getElementById('none-left')
  // What the server left out already cannot be brought back here.
  const served = { q: q.value.trim().toLowerCase(), status: status.value }
  const apply = () => {
    const text = q.value.trim()
    let shown = 0
    for (const row of table.tBodies[0].rows) {
      const { name, id } = row.dataset
      const matches =
        (name.includes(text.toLowerCase()) || id.includes(text)) &&
        (status.value === '' || status.value === row.dataset.status)
      row.hidden = !matches
      if (matches) shown++
    }
    table.hidden = shown === 0
    none.hidden = shown > 0
    none.textContent = shown > 0 ? '' : 'No key is like that. Change the filter, or generate a new key.'
  }
  const narrows = () =>
    q.value.trim().toLowerCase().includes(served.q) &&
    (served.status === '' || status.value === served.status)
  filter.addEventListener('input', () => (narrows() ? apply() : filter.requestSubmit()))
}
