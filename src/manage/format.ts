export function formatNumber(count: number): string {
  return count.toLocaleString('en')
}

/** `key.updated`: `Key updated`; `panel.logged_in`: `Logged in` */
export function formatAction(action: string): string {
  const text = action.replace(/^panel\./, '').replace(/[._]/g, ' ')
  return text.charAt(0).toUpperCase() + text.slice(1)
}
