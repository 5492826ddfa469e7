// All that an acknowledging service needs: it works with `limit` of config.json. See ../README.md.
'use strict'
process.on('SIGHUP', () => reload()) // first of all: until then the signal kills the process

const fs = require('node:fs')
const path = require('node:path')
const { LOCKSTEP_CONFIG: volume, LOCKSTEP_STATUS_FILE: file, LOCKSTEP_INSTANCE: instance } = process.env
const status = { protocol: 1, instance, switch: null, revision: null, digest: null }
let limit, seen

const current = () => fs.readlinkSync(path.join(volume, 'current'))
const read = (link, name) => JSON.parse(fs.readFileSync(path.join(volume, link, name), 'utf8'))

function reload () {
  for (let link; (link = current()) !== seen;) {
    seen = link
    let release = {}; let next; let error = null
    try { // everything is parsed and validated, below the one directory, before anything is assigned
      release = read(link, '.lockstep/release.json')
      next = read(link, 'config.json').limit
      if (!Number.isInteger(next) || next <= 0) throw new Error('`limit` must be a whole number above 0')
    } catch (problem) {
      error = { message: problem.message, path: 'config.json' }
    }
    if (current() !== link) continue // what was loaded is of the past
    const attempted = { switch: Number(path.basename(link)), revision: release.revision ?? null }
    if (!error) {
      limit = next
      Object.assign(status, attempted, { digest: release.digest })
      console.log(`limit is ${limit}`)
    }
    Object.assign(status, { attempted, error, state: error ? 'rejected' : 'applied', at: new Date().toISOString() })
    fs.writeFileSync(`${file}.new`, JSON.stringify(status))
    fs.renameSync(`${file}.new`, file)
  }
}

reload()
setInterval(() => {}, 60_000) // the service's own work; with none, node ends
