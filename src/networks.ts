import { BlockList, isIP, isIPv6, SocketAddress } from 'node:net'

/** True for an IPv4 or IPv6 address, or a CIDR such as 10.0.0.0/8. Not for a zone, and not for IPv4-mapped IPv6. */
export function isNetwork(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0 || address.includes('%') || isMapped(address)) return false
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128))
}

/**
 * Returns a function that checks whether an address, in its canonical form, is in one of the networks. False for a text
 * that is no address.
 */
export function createNetworkCheck(networks: readonly string[]): (address: string) => boolean {
  // One list would find IPv4 addresses in ::/0, because BlockList maps them to IPv6.
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() }
  for (const network of networks) {
    const [address = '', bits] = network.split('/')
    const family = familyOf(address)
    if (bits === undefined) lists[family].addAddress(address, family)
    else lists[family].addSubnet(address, Number(bits), family)
  }
  return (address) => isIP(address) !== 0 && lists[familyOf(address)].check(address, familyOf(address))
}

/** Returns the canonical form of an address, in which an IPv4-mapped address is IPv4. Undefined if it is no address. */
export function canonicalAddress(address: string): string | undefined {
  const version = isIP(address)
  if (version === 0) return undefined
  if (version === 4) return address
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address
  return /^::ffff:([\d.]+)$/.exec(canonical)?.[1] ?? canonical
}

function isMapped(address: string): boolean {
  return isIPv6(address) && !canonicalAddress(address)?.includes(':')
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4'
}
