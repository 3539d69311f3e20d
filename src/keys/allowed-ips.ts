import QuickLRU from 'quick-lru'
import { createNetworkCheck } from '../networks.ts'

/** Checks by the list that they were made of, because making one takes longer than the rest of a request. */
const checks = new QuickLRU<string, (address: string) => boolean>({ maxSize: 1_000 })

/**
 * True if a key may be used from this address.
 * @param allowed addresses and CIDRs; null: any address
 * @param address in its canonical form
 */
export function isAddressAllowed(allowed: readonly string[] | null, address: string): boolean {
  if (allowed === null) return true
  const name = allowed.join()
  const check = checks.get(name) ?? createNetworkCheck(allowed)
  checks.set(name, check)
  return check(address)
}
