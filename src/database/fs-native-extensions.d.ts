/** The package brings no types; this is what we use of it. */
declare module 'fs-native-extensions' {
  /** Takes an exclusive lock on an open file, or answers false when another process holds it. */
  export function tryLock(fileDescriptor: number): boolean
}
