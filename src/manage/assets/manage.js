// Progressive enhancement: every page also works without this script.

// Replaces the URL of the page that shows a new key, so that a reload opens the key's own page.
const { reloadPath } = document.body.dataset
if (reloadPath) history.replaceState(null, '', reloadPath)

// On a phone, the navigation scrolls sideways.
document.querySelector('.top nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' })

for (const button of document.querySelectorAll('button[data-copies]')) {
  const source = document.getElementById(button.dataset.copies)
  const label = button.getAttribute('aria-label')
  const show = (text, name) => {
    button.textContent = text
    if (label) button.setAttribute('aria-label', name)
  }
  button.hidden = false
  button.setAttribute('aria-live', 'polite')
  button.addEventListener('click', async () => {
    const result = (await copy(source)) ? 'Copied' : 'Press Ctrl+C'
    show(result, result)
    setTimeout(() => show('Copy', label), 3000)
  })
}

// Shows and hides a key.
for (const button of document.querySelectorAll('button[data-shows]')) {
  const input = document.getElementById(button.dataset.shows)
  const show = (isShown) => {
    input.type = isShown ? 'text' : 'password'
    button.textContent = isShown ? 'Hide key' : 'Show key'
  }
  button.hidden = false
  button.addEventListener('click', () => {
    show(input.type === 'password')
    input.focus()
  })
  // Otherwise the browser may remember the key like other text.
  input.form.addEventListener('submit', () => show(false))
}

for (const text of document.querySelectorAll('.copyable textarea')) {
  text.addEventListener('focus', () => text.select())
}

async function copy(source) {
  if (source.select) source.select()
  else getSelection().selectAllChildren(source)
  // navigator.clipboard only exists on HTTPS and localhost; execCommand also works elsewhere.
  if (!navigator.clipboard) return document.execCommand('copy')
  return navigator.clipboard.writeText(source.value ?? source.textContent).then(
    () => true,
    () => document.execCommand('copy'),
  )
}

// Shows times in the time zone of the browser, and the time in UTC as the title.
const { timeZone } = Intl.DateTimeFormat().resolvedOptions()
const local = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  timeZoneName: 'short',
})
for (const time of document.querySelectorAll('time')) {
  const text = local.format(new Date(time.dateTime))
  // A relative time has the time in UTC as its title.
  if (time.title) time.title = `${text}, ${time.title}`
  else [time.title, time.textContent] = [time.textContent, text]
}

// Fields for times are in UTC. Adds the same time in the time zone of the browser.
for (const input of timeZone === 'UTC' ? [] : document.querySelectorAll('input[data-utc]')) {
  const hint = document.createElement('p')
  hint.className = 'hint'
  input.after(hint)
  const update = () => {
    const time = new Date(`${input.value}Z`)
    hint.hidden = Number.isNaN(time.getTime())
    if (!hint.hidden) hint.textContent = `Your time: ${local.format(time)}`
  }
  input.addEventListener('input', update)
  update()
}

// Prevents that a double click sends a form twice.
for (const form of document.querySelectorAll('form[method="post"]')) {
  let isSent = false
  form.addEventListener('submit', (event) => {
    if (isSent) event.preventDefault()
    isSent = true
    setTimeout(() => (isSent = false), 3000)
  })
}

// Filters a list that is complete. Enter does not send the form that contains the list.
for (const filter of document.querySelectorAll('[data-filters-list]')) {
  const input = filter.querySelector('input')
  const items = document.getElementById(filter.dataset.filtersList).children
  filter.hidden = false
  input.addEventListener('input', () => {
    const text = input.value.trim().toLowerCase()
    for (const item of items) {
      const label = item.querySelector('label')
      item.hidden = !label.textContent.toLowerCase().includes(text)
    }
  })
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') event.preventDefault()
  })
}

// Shows a field only while the select that it depends on has one of the given values.
for (const control of document.querySelectorAll('[data-shown-if]')) {
  const [name, values] = control.dataset.shownIf.split('=')
  const select = control.form.elements[name]
  const update = () => (control.closest('.field').hidden = !values.split(',').includes(select.value))
  select.addEventListener('change', update)
  update()
}

// Shows a field only while the select that it depends on has the given value.
for (const control of document.querySelectorAll('[data-shown-with]')) {
  const [name, value] = control.dataset.shownWith.split('=')
  const select = control.form.elements[name]
  const field = control.closest('.field')
  const update = () => {
    field.hidden = select.value !== value && control.value === ''
    control.required = select.value === value
  }
  select.addEventListener('change', () => {
    if (select.value !== value) control.value = ''
    update()
    if (select.value === value) control.focus()
  })
  update()
}

// Selects all rows that are shown.
for (const all of document.querySelectorAll('[data-checks-all]')) {
  const boxes = [...all.form.querySelectorAll(`input[name="${all.dataset.checksAll}"]`)]
  const shown = () => boxes.filter((box) => !box.closest('tr').hidden)
  all.hidden = boxes.length === 0
  all.addEventListener('change', () => shown().forEach((box) => (box.checked = all.checked)))
  all.form.addEventListener('change', () => {
    const checked = shown().filter((box) => box.checked).length
    all.checked = checked > 0 && checked === shown().length
    all.indeterminate = checked > 0 && !all.checked
  })
}

// Filters a complete list on input. A list with several pages is filtered by the server when the form is sent.
const filter = document.querySelector('form[data-filters="keys"]')
const table = document.getElementById('keys')
if (filter && table) {
  const { q } = filter.elements
  const noMatches = document.getElementById('no-matches')
  const end = document.querySelector('.list-end')
  const served = q.value.trim().toLowerCase()
  const apply = () => {
    const text = q.value.trim()
    let matchCount = 0
    for (const row of table.tBodies[0].rows) {
      const matches = row.dataset.text.includes(text.toLowerCase()) || row.dataset.id.includes(text)
      row.hidden = !matches
      // A key that is not shown must not be revoked.
      if (matches) matchCount++
      else for (const box of row.querySelectorAll('input')) box.checked = false
    }
    table.hidden = end.hidden = matchCount === 0
    noMatches.hidden = matchCount > 0
    noMatches.textContent = matchCount > 0 ? '' : 'No keys match these filters.'
  }
  // The page lacks the rows that the server has filtered out, so a wider filter needs a request.
  const isNarrower = () => q.value.trim().toLowerCase().includes(served)
  q.addEventListener('input', () => (isNarrower() ? apply() : filter.requestSubmit()))
}
