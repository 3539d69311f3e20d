#!/usr/bin/env node
import { main } from './cli/main.ts'
import { loadEnvFile } from './config.ts'

loadEnvFile()
process.exitCode = await main(process.argv.slice(2), process)
