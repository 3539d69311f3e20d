import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import { canonicalAddress, createNetworkCheck } from '../networks.ts'

/**
 * Listener of `connection`. Node reads the address of the peer on first use and then keeps it, but a connection that the
 * client has reset has none. So it is read here, and a connection without an address is closed before a request of it
 * is handled.
 */
export function requireAddress(socket: Socket): void {
  if (socket.remoteAddress === undefined) socket.destroy()
}

/**
 * Returns the address of the client, without port, zone and brackets: that of the socket, or with TRUST_PROXY the one
 * that a trusted proxy received. If that is not an address, the nearest hop with an address counts as the client.
 */
export function clientAddress({ ips, socket }: Pick<FastifyRequest, 'ips' | 'socket'>): string {
  const hops = (ips ?? [socket.remoteAddress ?? '']).map(parseAddress)
  return hops.findLast((address) => address !== undefined) ?? 'unknown'
}

/** Converts TRUST_PROXY to Fastify's trustProxy, which compares addresses as proxies write them, and treats 1 as 0. */
export function toTrustProxy(trustProxy: Config['trustProxy']) {
  if (typeof trustProxy === 'boolean') return trustProxy
  if (typeof trustProxy === 'number') return (_address: string, hop: number) => hop < trustProxy
  const isTrusted = createNetworkCheck(trustProxy)
  return (text: string) => {
    const address = parseAddress(text)
    return address !== undefined && isTrusted(address)
  }
}

/**
 * Parses an address as proxies write it: also with a port (5.6.7.8:1234, [2001:db8::1]:443), a zone, or in quotes.
 * @returns its canonical form, in which an IPv4-mapped address is IPv4; undefined if the text contains no address.
 */
export function parseAddress(text: string): string | undefined {
  const unquoted = text.trim().replace(/^"(.*)"$/, '$1')
  const [, bracketed, ipv4] = /^\[([^\]]*)\](?::\d+)?$|^([\d.]+):\d+$/.exec(unquoted) ?? []
  return canonicalAddress((bracketed ?? ipv4 ?? unquoted).replace(/%.*$/, ''))
}

/** Returns what is counted as one client: an IPv4 address, or the /64 of an IPv6 address, which one customer gets. */
export function clientNetwork(address: string): string {
  if (!address.includes(':')) return address
  const [start = [], end = []] = address
    .split('::')
    .map((part) => part.split(':').filter((group) => group !== ''))
  const zeros = Array<string>(8 - start.length - end.length).fill('0')
  return [...start, ...zeros, ...end].slice(0, 4).join(':')
}
