/** Removes the characters that XML 1.0 does not allow, not even escaped. Titles and comments may contain them. */
export function toXmlText(text: string): string {
  return text.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, '')
}
