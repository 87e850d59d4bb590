// jobs.mjs: what jobs.sh needs of Node.js. The place of the server is in PGHOST, PGUSER, PGDATABASE.
//
//     jobs.mjs NAME init                creates what the peer needs
//     jobs.mjs NAME publish FILE        one job for each line
//     jobs.mjs NAME consume             jobs that do nothing, until there are none left
//     jobs.mjs worker                   a worker of consume that does nothing
//
// publish and consume print when they began and ended, in milliseconds, and how many jobs that was.
// Beginning is when all is loaded, connected and read; the end is the answer to the last statement.
import { createRequire } from 'node:module'
import { readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const BATCH = 1000
const [name, action, file] = process.argv.slice(2)
const required = createRequire(join(process.cwd(), 'x.js'))
const load = async (module) => import(pathToFileURL(required.resolve(module)))

const peers = {
  // Fetched and completed in batches.
  'pg-boss': async () => {
    const { PgBoss } = await load('pg-boss')
    const { PGHOST: host, PGUSER: user, PGDATABASE: database } = process.env
    const boss = new PgBoss({ host, user, database, max: 8, supervise: false, schedule: false })
    await boss.start()
    return {
      init: () => boss.createQueue('jobs'),
      publish: (batch) => boss.insert('jobs', batch.map((data) => ({ data }))),
      consume: async () => {
        let n = 0
        await parallel(2, async () => {
          const jobs = await boss.fetch('jobs', { batchSize: BATCH })
          if (jobs.length > 0) await boss.complete('jobs', jobs.map((job) => job.id))
          n += jobs.length
          return jobs.length > 0
        })
        return n
      },
      end: () => boss.stop({ graceful: false }),
    }
  },

  // With the settings of its own page on performance.
  'graphile-worker': async () => {
    const { makeWorkerUtils, runOnce, Logger } = await load('graphile-worker')
    const { Pool } = (await load('pg')).default
    const pgPool = new Pool({ max: 25 })
    const fail = (error) => { throw error }
    pgPool.on('error', fail).on('connect', (client) => client.on('error', fail))
    const logger = new Logger(() => () => {})
    const utils = await makeWorkerUtils({ pgPool, logger })
    return {
      init: () => utils.migrate(),
      publish: (batch) => utils.addJobs(batch.map((payload) => ({ identifier: 'job', payload }))),
      consume: async () => {
        let n = 0
        const worker = { concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }
        await runOnce({ pgPool, logger, noHandleSignals: true, preset: { worker }, taskList: { job: async () => { n++ } } })
        return n
      },
      end: async () => {
        await utils.release()
        await pgPool.end()
      },
    }
  },
}

// parallel: step again and again until it says false, as often at the same time as width says.
async function parallel(width, step) {
  const loop = async () => { while (await step()); }
  await Promise.all(Array.from({ length: width }, loop))
}

async function publish(peer) {
  const jobs = readFileSync(file, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line))
  const begun = Date.now()
  let at = 0
  await parallel(2, async () => {
    const batch = jobs.slice(at, (at += BATCH))
    if (batch.length > 0) await peer.publish(batch)
    return batch.length > 0
  })
  return [begun, Date.now(), jobs.length]
}

async function consume(peer) {
  const begun = Date.now()
  const n = await peer.consume()
  return [begun, Date.now(), n]
}

function work() {
  let rest = ''
  process.stdin.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()
    const answers = lines.map((line) => `{"id":${JSON.stringify(JSON.parse(line).id)}}\n`).join('')
    if (answers !== '') writeSync(1, answers)
  })
}

if (name === 'worker') {
  work()
} else {
  const peer = await peers[name]()
  if (action === 'init') await peer.init()
  else console.log((await { publish, consume }[action](peer)).join(' '))
  await peer.end()
}
