/** The package has no types. */
declare module 'fs-native-extensions' {
  /** Locks an open file exclusively. Returns false if another process has locked it. */
  export function tryLock(fileDescriptor: number): boolean
}
