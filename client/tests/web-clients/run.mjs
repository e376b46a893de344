// Clients of others against a real ferryd: each uploads, is cut off in the middle and goes on, by a network that cuts and by
// a ferryd that is killed. curl, which cannot go on with what it puts, begins anew. Then two hundred uploads at once.
//
//   node run.mjs FERRYD PYTHON
import { spawn, execFile, execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import assert from 'node:assert/strict'

// Its certificate is its own; who is at the other end is tested elsewhere.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
process.removeAllListeners('warning')
process.on('warning', () => {})

const [ferryd, python] = process.argv.slice(2)
const MIB = 1024 * 1024
const folder = mkdtempSync(join(tmpdir(), 'ferry-web-'))
const inbox = join(folder, 'inbox')
const digest = bytes => createHash('sha256').update(bytes).digest('hex')

let server = null
let port = 0

async function start() {
  server = spawn(ferryd, ['serve', '--root', inbox, '--listen', '127.0.0.1:0', `--web=127.0.0.1:${port}`], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  for await (const line of createInterface({ input: server.stdout })) {
    const found = line.match(/^listening on https:\/\/127\.0\.0\.1:(\d+)$/)
    if (found) {
      port = Number(found[1])
      server.stdout.resume()
      return
    }
  }
  throw new Error('ferryd does not come to listen')
}

async function kill() {
  const ended = new Promise(resolve => server.once('exit', resolve))
  server.kill('SIGKILL')
  await ended
}

function token() {
  const link = execFileSync(ferryd, ['invite', '--web', '--root', inbox], { stdio: ['ignore', 'pipe', 'ignore'] })
  return link.toString().trim().split('#invite=')[1]
}

// A network that passes so many bytes to the server, closes that connection, and does so again with the next ones, until it
// has cut often enough.
async function proxy(bytes, times) {
  const state = { cuts: 0, passed: 0, sinceCut: 0, onPassed: () => {} }
  const listener = net.createServer(near => {
    const far = net.connect(port, '127.0.0.1')
    const end = () => (near.destroy(), far.destroy())
    let passed = 0
    for (const socket of [near, far]) socket.on('error', end).on('close', end)
    near.on('data', data => {
      passed += data.length
      state.passed += data.length
      state.sinceCut += data.length
      state.onPassed()
      if (passed > bytes && state.cuts < times) {
        state.cuts += 1
        state.sinceCut = 0
        end()
      } else if (!far.write(data)) {
        near.pause()
        far.once('drain', () => near.resume())
      }
    })
    far.on('data', data => near.write(data))
  })
  await new Promise(resolve => listener.listen(0, '127.0.0.1', resolve))
  state.origin = `https://127.0.0.1:${listener.address().port}`
  state.url = `${state.origin}/uploads`
  state.close = () => listener.close()
  return state
}

const tus = await import('tus-js-client')
const delays = Array(100).fill(100)

function byTus(url, auth, name, bytes, chunkSize = 8 * MIB, onProgress = null) {
  return new Promise((resolve, reject) => {
    const upload = new tus.Upload(bytes, {
      onProgress,
      endpoint: url,
      headers: { Authorization: `Bearer ${auth}` },
      metadata: { filename: name },
      chunkSize,
      retryDelays: delays,
      onError: reject,
      onSuccess: resolve,
    })
    upload.start()
  })
}

// Uppy wants to set something of the XMLHttpRequest behind each request. Without a browser there is none.
class Stack extends tus.DefaultHttpStack {
  createRequest(method, url) {
    const request = super.createRequest(method, url)
    const own = request.getUnderlyingObject.bind(request)
    request.getUnderlyingObject = () => own() ?? {}
    return request
  }
}

async function byUppy(url, auth, name, bytes) {
  const { default: Uppy } = await import('@uppy/core')
  const { default: Tus } = await import('@uppy/tus')
  const uppy = new Uppy({ autoProceed: false })
  const headers = { Authorization: `Bearer ${auth}` }
  uppy.use(Tus, { endpoint: url, headers, retryDelays: delays, chunkSize: 8 * MIB, httpStack: new Stack({}) })
  uppy.addFile({ name, type: 'application/octet-stream', data: new Blob([bytes]) })
  // Without a browser nothing reads a Blob for it.
  for (const file of uppy.getFiles()) uppy.setFileState(file.id, { data: bytes })
  const { successful, failed } = await uppy.upload()
  assert.equal(failed.length, 0, JSON.stringify(failed.map(file => file.error)))
  assert.equal(successful.length, 1)
}

function byTuspy(url, auth, name, bytes) {
  const file = join(folder, 'source')
  writeFileSync(file, bytes)
  return new Promise((resolve, reject) => {
    const run = spawn(python, [join(import.meta.dirname ?? '.', 'tuspy_client.py'), url, auth, file, name], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    run.on('exit', code => (code === 0 ? resolve() : reject(new Error(`tuspy ended with ${code}`))))
  })
}

function byCurl(origin, auth, name, bytes) {
  const file = join(folder, 'source')
  writeFileSync(file, bytes)
  const words = ['--silent', '--show-error', '--insecure', '--retry', '20', '--retry-all-errors', '--retry-delay', '1']
  words.push('-H', `Authorization: Bearer ${auth}`, '-T', file, `${origin}/files/${encodeURIComponent(name)}`)
  return new Promise((resolve, reject) => {
    execFile('curl', words, (error, stdout) => (error ? reject(error) : resolve(JSON.parse(stdout))))
  })
}

function check(name, bytes) {
  assert.equal(digest(readFileSync(join(inbox, name))), digest(bytes), name)
}

try {
  await start()
  const auth = token()
  for (const [client, send] of Object.entries({ 'tus-js-client': byTus, '@uppy/tus': byUppy, tuspy: byTuspy })) {
    const name = client.replaceAll('/', ' ')
    const bytes = randomBytes(48 * MIB)
    const cutting = await proxy(3 * MIB, 3)
    await send(cutting.url, auth, `${name} cut.bin`, bytes)
    assert.equal(cutting.cuts, 3, 'the network was not cut')
    assert.ok(cutting.sinceCut < bytes.length, `${cutting.sinceCut} bytes were sent after the last cut: all of them`)
    check(`${name} cut.bin`, bytes)
    cutting.close()

    // More than a checkpoint, so that something is left to go on with.
    const more = randomBytes(80 * MIB)
    const passing = await proxy(Infinity, 0)
    let killed = null
    passing.onPassed = () => {
      if (killed !== null || passing.passed <= 50 * MIB) return
      passing.sinceCut = 0
      killed = kill().then(start)
    }
    await send(passing.url, auth, `${name} killed.bin`, more)
    assert.notEqual(killed, null, 'ferryd was never killed')
    await killed
    check(`${name} killed.bin`, more)
    assert.ok(passing.sinceCut < more.length, `${passing.sinceCut} bytes were sent after the kill: all of them`)
    passing.close()
    const mib = bytes => (bytes / MIB).toFixed(1)
    console.log(
      `${client}: all is there; of 48 MiB ${mib(cutting.sinceCut)} went after the third cut of the network, ` +
        `of 80 MiB ${mib(passing.sinceCut)} after ferryd was killed`,
    )
  }

  const photo = randomBytes(20 * MIB)
  const cutting = await proxy(3 * MIB, 3)
  const receipt = await byCurl(cutting.origin, auth, 'curl cut.bin', photo)
  assert.equal(cutting.cuts, 3, 'the network was not cut')
  assert.deepEqual(receipt, {
    status: 'sent',
    name: 'curl cut.bin',
    location: '/files/curl%20cut.bin',
    digest: `sha256:${digest(photo)}`,
  })
  check('curl cut.bin', photo)
  cutting.close()
  const passing = await proxy(Infinity, 0)
  let killed = null
  passing.onPassed = () => {
    if (killed === null && passing.passed > 10 * MIB) killed = kill().then(start)
  }
  await byCurl(passing.origin, auth, 'curl killed.bin', photo)
  assert.notEqual(killed, null, 'ferryd was never killed')
  check('curl killed.bin', photo)
  passing.close()
  console.log('curl: all is there, from its beginning each time')

  const files = Array.from({ length: 200 }, (_, number) => randomBytes(100_000 + 1000 * number))
  const since = Date.now()
  const heard = files.map(() => since)
  let longest = 0
  const sign = number => {
    longest = Math.max(longest, Date.now() - heard[number])
    heard[number] = Date.now()
  }
  const uploads = files.map((bytes, number) =>
    byTus(`https://127.0.0.1:${port}/uploads`, auth, `many/${number}`, bytes, 64_000, () => sign(number)).then(() => {
      sign(number)
      heard[number] = Infinity
    }),
  )
  // Whoever waits so long waits for nothing.
  const looking = setInterval(() => {
    const stalled = heard.findIndex(time => Date.now() - time > 120_000)
    if (stalled === -1) return
    console.error(`upload ${stalled} of 200 stalls`)
    server.kill('SIGKILL')
    process.exit(1)
  }, 1000)
  await Promise.all(uploads)
  clearInterval(looking)
  files.forEach((bytes, number) => check(`many/${number}`, bytes))
  const seconds = milliseconds => (milliseconds / 1000).toFixed(1)
  console.log(
    `200 uploads at once: all are there, in ${seconds(Date.now() - since)} s; ` +
      `the longest pause of any of them was ${seconds(longest)} s`,
  )
  assert.deepEqual(readdirSync(join(inbox, '.ferry', 'staging')), [])
  assert.equal(readdirSync(inbox).filter(name => name.includes('(')).length, 0, 'something was kept twice')
} finally {
  server?.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
}
